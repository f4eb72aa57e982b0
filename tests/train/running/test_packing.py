"""Packed examples are apart: on every attention that runs here, and where they are not, training does not begin."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from reer.backend.models import load_model
from reer.config import ModelConfig, PeftConfig, SftConfig
from reer.errors import ConfigError
from train.arguments.trainer import trainer_arguments
from train.examples.work import read
from train.running.packing import TOLERANCE, PackingProbe, packed, refuse_packing, sees_neighbours
from train.running.training import build_trainer

Make = Callable[..., SftConfig]
VOCAB = 64
PACKING = {"packing": True, "max_length": 512, "per_device_train_batch_size": 1}


def collator() -> Any:
    from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

    return DataCollatorForLanguageModeling(pad_token_id=0, padding_free=True)


def tiny(kind: str, attention: str, vocab_size: int = VOCAB) -> Any:
    """Two layers with random weights, large enough that a leak moves logits by more than their spread."""
    from transformers import AutoConfig, AutoModelForCausalLM

    special = {"qwen3": {"head_dim": 16}, "gpt_oss": {"head_dim": 16, "num_local_experts": 4}, "opt": {"ffn_dim": 64}}
    config = AutoConfig.for_model(
        kind,
        vocab_size=vocab_size,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        initializer_range=0.3,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        **special.get(kind, {}),
    )
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config, attn_implementation=attention).eval().requires_grad_(False)


def forward(model: Any, **changed: Any) -> Callable[[dict[str, Any]], torch.Tensor]:
    """The model called as trl calls it, except for what is `changed` (None: left out)."""

    def call(batch: dict[str, Any]) -> torch.Tensor:
        inputs = {**batch, "use_cache": False, "labels": None, **changed}
        logits: torch.Tensor = model(**{key: value for key, value in inputs.items() if value is not None}).logits
        return logits

    return call


def rows_of(*examples: list[int]) -> list[dict[str, Any]]:
    """What trl's own packing makes of examples."""
    import datasets
    from trl import pack_dataset

    rows = [{"input_ids": ids, "labels": ids} for ids in examples]
    return list(pack_dataset(datasets.Dataset.from_list(rows), 128, "bfd"))


def test_the_probe_packs_as_trl_does() -> None:
    examples = [[7] * 24, [8] * 23, [9] * 22]
    assert rows_of(*examples) == [packed(examples)]


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("kind", ["llama", "qwen3"])
def test_neighbours_do_not_move_an_example(kind: str, attention: str) -> None:
    long, short = list(range(5, 25)), list(range(30, 42))
    other_long, other_short = [token + 1 for token in long], [token + 5 for token in short]
    call = forward(tiny(kind, attention))
    seen = call(collator()(rows_of(long, short)))[0]
    assert torch.equal(call(collator()(rows_of(other_long, short)))[0, 20:], seen[20:])
    assert torch.equal(call(collator()(rows_of(long, other_short)))[0, :20], seen[:20])
    for ids, logits in ((long, seen[:20]), (short, seen[20:])):  # and each is as if it stood alone
        torch.testing.assert_close(call({"input_ids": torch.tensor([ids])})[0], logits, atol=1e-4, rtol=0)
    assert sees_neighbours(call, collator(), VOCAB) == 0.0


@pytest.mark.slow  # compiles C++
@pytest.mark.parametrize("kind", ["llama", "qwen3"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_nor_do_they_with_flex_attention(kind: str) -> None:
    """On a CPU it has no backward pass and one length per kernel, so the probe's lengths are all there is to see."""
    assert sees_neighbours(forward(tiny(kind, "flex_attention")), collator(), VOCAB) == 0.0


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_no_gradient_flows_between_packed_examples(attention: str) -> None:
    """In training mode, with the activations computed again in the backward pass."""
    model = tiny("qwen3", attention).requires_grad_(True).train()
    model.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})
    batch = collator()([packed([[5] * 8, list(range(10, 20)), [7] * 9])])
    embedded = model.get_input_embeddings()(batch.pop("input_ids")).detach().requires_grad_(True)
    forward(model)({**batch, "inputs_embeds": embedded})[0, 8:18].logsumexp(-1).sum().backward()
    assert embedded.grad is not None
    touched = embedded.grad[0].abs().sum(-1) > 0
    assert touched.tolist() == [False] * 8 + [True] * 10 + [False] * 9


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize(
    "changed", [{"position_ids": None}, {"attention_mask": torch.ones(1, 69, dtype=torch.long)}, {"use_cache": True}]
)
def test_broken_boundaries_are_seen(changed: dict[str, Any], attention: str) -> None:
    """Positions left out, a mask of ones, a cache that is being filled: each makes one long text of the examples."""
    assert sees_neighbours(forward(tiny("qwen3", attention), **changed), collator(), VOCAB) > 100 * TOLERANCE


@pytest.mark.parametrize("kind", ["opt", "gpt_oss"])
@pytest.mark.filterwarnings("ignore")
def test_models_that_do_not_heed_positions_are_seen(kind: str) -> None:
    """As they are in transformers; when this fails, they have been mended: take them out of docs/training.md."""
    assert sees_neighbours(forward(tiny(kind, "eager")), collator(), VOCAB) > 100 * TOLERANCE


def trainer_of(config: SftConfig) -> Any:
    work = read(config)
    return build_trainer(config, work, trainer_arguments(config, work.dtype, work.amount))


@pytest.mark.parametrize(
    "peft",
    [PeftConfig(), PeftConfig(method="lora", args={"r": 2, "lora_dropout": 0.5, "target_modules": "all-linear"})],
)
def test_the_probe_changes_nothing_of_the_training(make_config: Make, peft: PeftConfig) -> None:
    losses = []
    for probed in (False, True):
        trainer = trainer_of(make_config({**PACKING, "max_steps": 3}, peft=peft))
        if not probed:
            assert trainer.pop_callback(PackingProbe)
        trainer.train()
        losses.append([row["loss"] for row in trainer.state.log_history if "loss" in row])
    assert losses[0] == losses[1]


def test_training_is_refused_where_packed_examples_see_each_other(
    make_config: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer = trainer_of(make_config(PACKING))
    collate = trainer.data_collator
    trainer.data_collator = lambda rows: {k: v for k, v in collate(rows).items() if k != "position_ids"}
    with pytest.raises(
        ConfigError, match=r"packing=true: packed examples see each other in this llama model with att"
    ):
        trainer.train()
    assert trainer.state.global_step == 0
    assert "sft:" not in capsys.readouterr().err  # no bar stands before the sentence


@pytest.mark.slow
@pytest.mark.parametrize("launch", [[], ["deepspeed=zero3", "launch.processes=2"]], ids=["one", "zero3"])
def test_the_command_refuses_a_model_that_cannot_be_packed(
    tiny_model: Path, trajectories: Path, tmp_path: Path, launch: list[str]
) -> None:
    """Also where the weights are divided over two processes and gathered for the probe."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tiny("opt", "sdpa", vocab_size=len(tokenizer)).save_pretrained(tmp_path / "opt")
    tokenizer.save_pretrained(tmp_path / "opt")
    overrides = ["trainer=demo", "++trainer.args.packing=true", f"model.path={tmp_path / 'opt'}", "model.device=cpu"]
    overrides += ["model.max_length=512", f"data.trajectories={trajectories}", f"run_dir={tmp_path / 'run'}", *launch]
    run = subprocess.run(
        [sys.executable, "-m", "train.sft", *overrides], capture_output=True, text=True, timeout=300, check=False
    )
    assert run.returncode == 1
    assert "packed examples see each other in this opt model with attention sdpa" in run.stderr.splitlines()[-1]
    assert not list((tmp_path / "run").glob("checkpoints/checkpoint-*"))


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_smollm2_packed_is_apart(dtype: str) -> None:
    model = load_model(ModelConfig(path="smollm2", dtype=dtype, device="cpu"))
    with torch.no_grad():
        assert sees_neighbours(forward(model), collator(), model.config.vocab_size) == 0.0
        assert sees_neighbours(forward(model, use_cache=True), collator(), model.config.vocab_size) > 1


def test_unpacked_training_needs_no_probe(make_config: Make) -> None:
    trainer = trainer_of(make_config())
    trainer.data_collator = None
    PackingProbe(trainer).on_train_begin(trainer.args, trainer.state, trainer.control)


@pytest.mark.parametrize("loss", ["trl", "transformers"])
def test_the_packed_loss_is_the_token_weighted_mean_of_the_examples(make_config: Make, loss: str) -> None:
    """With trl's chunked loss, and with the cross-entropy of plain transformers over whole logits."""
    apart, together = trainer_of(make_config()), trainer_of(make_config(PACKING))
    assert len(together.train_dataset) < len(apart.train_dataset)
    model = together.model.eval()
    total, tokens = 0.0, 0
    for row in apart.train_dataset:
        labels = torch.tensor(row["labels"][1:])
        logits = model(torch.tensor([row["input_ids"]])).logits[0, :-1]
        total += torch.nn.functional.cross_entropy(logits, labels, reduction="sum").item()
        tokens += int((labels != -100).sum())
    batch = together.data_collator(list(together.train_dataset))
    with torch.no_grad():
        if loss == "trl":
            found = together.compute_loss(model, dict(batch)).item()
        else:
            found = model(**batch, use_cache=False).loss.item()
    assert found == pytest.approx(total / tokens, abs=2e-5)


@pytest.mark.parametrize(
    ("args", "attention", "parallel", "sentence"),
    [
        ({}, "paged|eager", 1, "attn_implementation=paged|eager is not known to keep packed examples apart"),
        ({}, "kernels-community/mra", 1, "choose one of eager, sdpa, flex_attention"),
        ({"packing_strategy": "wrapped"}, "sdpa", 1, "packing_strategy=wrapped cuts examples"),
        ({}, "flash_attention_2", 2, "does not go with deepspeed.sequence_parallel"),
    ],
)
def test_what_cannot_be_packed_is_refused_by_name(
    make_config: Make, args: dict[str, Any], attention: str, parallel: int, sentence: str
) -> None:
    with pytest.raises(ConfigError) as refusal:
        refuse_packing(sft_config(make_config, **{"packing": True, **args}), attention, parallel)
    assert sentence in str(refusal.value)


def test_what_can_be_packed_is_not(make_config: Make) -> None:
    for attention in ("eager", "sdpa", "flex_attention", "flash_attention_3", "kernels-community/flash-attn2"):
        refuse_packing(sft_config(make_config, packing=True), attention)
    refuse_packing(sft_config(make_config, packing=False), "paged|eager", 8)


def sft_config(make_config: Make, **args: Any) -> Any:
    config = make_config(args)
    return trainer_arguments(config, "float32", read(config).amount)
