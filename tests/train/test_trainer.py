"""The trainer and the saved model: what is supervised, what changes, what is written."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from reer.backend.models import load_tokenizer
from reer.config import PeftConfig, SftConfig
from reer.layout import Layout
from train.arguments.trainer import trainer_arguments
from train.examples.data import prepare, to_rows
from train.examples.work import read
from train.model import complete_model, save_trained
from train.running.training import build_trainer
from train.sft import run

Make = Callable[..., SftConfig]
LORA = PeftConfig(method="lora", args={"r": 4, "lora_alpha": 8, "target_modules": "all-linear"})


def trainer_of(config: SftConfig) -> Any:
    work = read(config)
    return build_trainer(config, work, trainer_arguments(config, work.dtype, work.amount))


def weights(model: Any) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in model.named_parameters()}


def test_the_trainer_supervises_exactly_the_mask(make_config: Make) -> None:
    config = make_config()
    trainer = trainer_of(config)
    layout = Layout("think", load_tokenizer(config.model))
    rows = to_rows(prepare(Path(config.data.trajectories), layout, 512).examples, layout.tokenizer.end_of_turn)
    batch = trainer.data_collator([trainer.train_dataset[n] for n in range(len(rows))])
    for row, ids, labels in zip(rows, batch["input_ids"].tolist(), batch["labels"].tolist(), strict=True):
        length = len(row["input_ids"])
        wanted = [i if m else -100 for i, m in zip(row["input_ids"], row["completion_mask"], strict=True)]
        assert ids[:length] == row["input_ids"]
        assert labels == wanted + [-100] * (len(labels) - length)


def test_the_loss_is_the_mean_over_supervised_tokens(make_config: Make, tiny_model: Path) -> None:
    """Against plain transformers: cross-entropy of the labels under the untrained model."""
    from transformers import AutoModelForCausalLM

    config = make_config({"max_steps": 1, "per_device_train_batch_size": 4, "learning_rate": 0.0})
    trainer = trainer_of(config)
    trainer.train()
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    total, tokens = 0.0, 0
    for row in trainer.train_dataset:
        labels = torch.tensor(row["labels"][1:])
        logits = model(torch.tensor([row["input_ids"]])).logits[0, :-1]
        total += torch.nn.functional.cross_entropy(logits, labels, reduction="sum").item()
        tokens += int((labels != -100).sum())
    assert trainer.state.log_history[0]["loss"] == pytest.approx(total / tokens, abs=1e-4)


def test_every_weight_changes(make_config: Make) -> None:
    trainer = trainer_of(make_config())
    before = weights(trainer.model)
    trainer.train()
    after = weights(trainer.model)
    assert [name for name in before if torch.equal(before[name], after[name])] == []


def test_lora_changes_its_adapters_and_nothing_else(make_config: Make) -> None:
    trainer = trainer_of(make_config(peft=LORA))
    before = weights(trainer.model)
    trainable = {name for name, value in trainer.model.named_parameters() if value.requires_grad}
    trainer.train()
    after = weights(trainer.model)
    assert trainable == {name for name in before if "lora_" in name}
    assert {name for name in before if not torch.equal(before[name], after[name])} == trainable


@pytest.mark.parametrize("peft", [PeftConfig(), LORA], ids=["full", "lora"])
def test_the_saved_folder_is_the_trained_model_and_stops(make_config: Make, peft: PeftConfig, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

    config = make_config(peft=peft)
    trainer = trainer_of(config)
    trainer.train()
    ids = torch.tensor([trainer.train_dataset[0]["input_ids"]])
    with torch.no_grad():
        trained = trainer.model.eval()(ids).logits
    tokenizer = load_tokenizer(config.model)
    save_trained(trainer, tmp_path / "trained", "float32")
    complete_model(config, tmp_path / "trained", tokenizer, tmp_path / "model", "float32")
    reloaded = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    assert reloaded.dtype == torch.float32
    torch.testing.assert_close(reloaded(ids).logits, trained, atol=1e-5, rtol=0)
    assert tokenizer.end_of_turn in GenerationConfig.from_pretrained(tmp_path / "model").eos_token_id
    assert AutoTokenizer.from_pretrained(tmp_path / "model").chat_template == tokenizer.hf.chat_template
    with torch.no_grad():  # make the end of turn the likeliest token everywhere: generation ends after one
        reloaded.lm_head.weight = torch.nn.Parameter(torch.zeros_like(reloaded.lm_head.weight))
        reloaded.lm_head.bias = torch.nn.Parameter(torch.eye(len(tokenizer.hf))[tokenizer.end_of_turn])
        written = reloaded.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=5, do_sample=False)
    assert written[0, ids.shape[1] :].tolist() == [tokenizer.end_of_turn]


def test_full_fine_tuning_in_bfloat16_keeps_float32_weights(make_config: Make, tmp_path: Path) -> None:
    """Updates at lr 1e-6 are far below what bfloat16 weights could take up."""
    config = make_config({"learning_rate": 1e-6})
    config.model.dtype = "bfloat16"
    trainer = trainer_of(config)
    assert trainer.args.bf16
    before = weights(trainer.model)
    trainer.train()
    after = weights(trainer.model)
    assert {value.dtype for value in after.values()} == {torch.float32}
    assert not any(torch.equal(before[name], after[name]) for name in before)
    assert run(config) == 0
    config_json = json.loads((tmp_path / "run" / "model" / "config.json").read_text())
    assert config_json["dtype"] == "bfloat16"
