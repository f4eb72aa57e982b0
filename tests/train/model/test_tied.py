"""Adapters on the embedding or the output layer of a model in which they are one matrix."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from reer.backend.models import load_tokenizer
from reer.config import PeftConfig, SftConfig
from reer.errors import ConfigError
from train.arguments.trainer import trainer_arguments
from train.examples.work import read
from train.model import complete_model, save_trained
from train.running.training import build_trainer

Make = Callable[..., SftConfig]
BOTH = ["embed_tokens", "lm_head"]
ADAPTERS: dict[str, dict[str, Any]] = {
    "all-linear": {"target_modules": "all-linear"},
    "embedding as a target": {"target_modules": ["q_proj", "embed_tokens"]},
    "embedding by a pattern": {"target_modules": r".*(q_proj|embed_tokens)"},
    "head saved": {"target_modules": "all-linear", "modules_to_save": ["lm_head"]},
    "embedding saved": {"target_modules": "all-linear", "modules_to_save": ["embed_tokens"]},
    "both saved": {"target_modules": "all-linear", "modules_to_save": BOTH},
    "both saved, kept tied": {"target_modules": "all-linear", "modules_to_save": BOTH, "ensure_weight_tying": True},
}
STAY_TIED = {"all-linear", "both saved, kept tied"}


@pytest.fixture(scope="module")
def untied(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = Path(shutil.copytree(tiny_model, tmp_path_factory.mktemp("untied") / "model"))
    model = AutoModelForCausalLM.from_pretrained(folder)
    torch.manual_seed(1)
    model.lm_head.weight = torch.nn.Parameter(0.02 * torch.randn_like(model.lm_head.weight))
    model.config.tie_word_embeddings = False
    model.save_pretrained(folder)
    return folder


def adapters(given: dict[str, Any], *, merge: bool = True) -> PeftConfig:
    return PeftConfig(method="lora", args={"r": 4, "lora_alpha": 8, **given}, merge=merge)


def changed(folder: Path, base: Path) -> set[str]:
    """Which of the two matrices are others than the base model's."""
    after, before = (AutoModelForCausalLM.from_pretrained(path) for path in (folder, base))
    ends = {"embed_tokens": "get_input_embeddings", "lm_head": "get_output_embeddings"}
    pairs = {name: [getattr(model, get)().weight for model in (after, before)] for name, get in ends.items()}
    return {name for name, (new, old) in pairs.items() if not torch.equal(new, old)}


@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`")  # of plain loading: the adapter is right
@pytest.mark.parametrize(
    ("name", "tied"),
    [(name, True) for name in ADAPTERS] + [(name, False) for name in ADAPTERS if "kept tied" not in name],
)
def test_merged_and_alone_are_what_was_trained(
    make_config: Make, untied: Path, tmp_path: Path, name: str, tied: bool
) -> None:
    config = make_config({"max_steps": 3, "learning_rate": 0.05}, peft=adapters(ADAPTERS[name]))
    if not tied:
        config.model.path = str(untied)
    work = read(config)
    trainer = build_trainer(config, work, trainer_arguments(config, work.dtype, work.amount))
    trainer.train()
    ids = torch.tensor([trainer.train_dataset[0]["input_ids"]])
    with torch.no_grad():
        trained = trainer.model.eval()(ids).logits
        plain = AutoModelForCausalLM.from_pretrained(config.model.path)(ids).logits
    assert (trained - plain).abs().max() > 0.1
    save_trained(trainer, tmp_path / "trained", "float32")
    for merge in (True, False):
        config.peft.merge = merge
        complete_model(config, tmp_path / "trained", load_tokenizer(config.model), tmp_path / "model", "float32")
        with torch.no_grad():
            found = AutoModelForCausalLM.from_pretrained(tmp_path / "model").eval()(ids).logits
        torch.testing.assert_close(found, trained, atol=2e-5, rtol=0)
        if merge:
            changes = {part for part in ("embed_tokens", "lm_head") if part in str(ADAPTERS[name])}
            assert changed(tmp_path / "model", Path(config.model.path)) >= changes
            told = json.loads((tmp_path / "model" / "config.json").read_text())
            assert told["tie_word_embeddings"] is (tied and name in STAY_TIED)


REFUSED = {
    "target_modules names lm_head, the output layer, whose adapter trl's loss": {
        "target_modules": ["q_proj", "lm_head"]
    },
    "target_modules names lm_head, the": {"target_modules": r".*(q_proj|lm_head)"},
    "ensure_weight_tying=true with model.embed_tokens among target_modules": {
        "target_modules": ["q_proj", "embed_tokens"],
        "ensure_weight_tying": True,
    },
    "trainable_token_indices: this model's embedding and output layer are one matrix": {
        "target_modules": "all-linear",
        "trainable_token_indices": [5, 6],
    },
}


@pytest.mark.parametrize("sentence", REFUSED)
def test_what_cannot_be_trained_or_merged_is_refused_before_training(make_config: Make, sentence: str) -> None:
    config = make_config(peft=adapters(REFUSED[sentence]))
    work = read(config)
    with pytest.raises(ConfigError, match=sentence):
        build_trainer(config, work, trainer_arguments(config, work.dtype, work.amount))
