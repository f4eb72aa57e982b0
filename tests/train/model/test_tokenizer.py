"""The saved tokenizer: read by transformers 4 too, and with the ids of training."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from reer.backend.models import load_tokenizer
from reer.config import ModelConfig, SftConfig
from reer.errors import ModelError
from train.model import check_saving
from train.model import tokenizer as module
from train.sft import run

Make = Callable[..., SftConfig]
ONLY_5 = {"backend", "is_local", "local_files_only", "extra_special_tokens"}


@pytest.fixture
def copy(tiny_model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_model, tmp_path / "copy"))


def settings(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    return found


def test_what_a_run_saves_holds_nothing_that_only_transformers_5_reads(make_config: Make, tmp_path: Path) -> None:
    config = make_config()
    assert run(config) == 0
    folder = tmp_path / "run" / "model"
    told = settings(folder)
    assert told["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert not told.keys() & ONLY_5
    assert told["chat_template"] == (folder / "chat_template.jinja").read_text(encoding="utf-8")
    assert (told["eos_token"], told["pad_token"]) == ("<|im_end|>", "<|endoftext|>")
    generation = json.loads((folder / "generation_config.json").read_text())
    assert {key: generation.get(key) for key in ("eos_token_id", "pad_token_id", "bos_token_id")} == {
        "eos_token_id": [2], "pad_token_id": 0, "bos_token_id": 1,
    }  # fmt: skip


def test_more_special_tokens_stand_where_both_versions_look(copy: Path, tmp_path: Path) -> None:
    """Under transformers 5's own key a list makes transformers 4 raise: it wants a dict there."""
    base = AutoTokenizer.from_pretrained(copy)
    base.add_special_tokens({"additional_special_tokens": ["<|tool|>", "<|im_start|>"]})
    assert module.save_tokenizer(base, tmp_path / "saved") is None
    told = settings(tmp_path / "saved")
    assert told["additional_special_tokens"] == ["<|tool|>", "<|im_start|>"]
    assert not told.keys() & ONLY_5
    again = AutoTokenizer.from_pretrained(tmp_path / "saved")
    assert again.extra_special_tokens == base.extra_special_tokens
    assert again.encode("a<|tool|>b") == base.encode("a<|tool|>b")


def test_several_templates_stand_in_the_settings_too(copy: Path, tmp_path: Path) -> None:
    base = AutoTokenizer.from_pretrained(copy)
    base.chat_template = {"default": base.chat_template, "tool_use": "{{ 'x' }}"}
    module.save_tokenizer(base, tmp_path / "saved")
    told = settings(tmp_path / "saved")["chat_template"]
    assert {row["name"]: row["template"] for row in told} == base.chat_template
    assert AutoTokenizer.from_pretrained(tmp_path / "saved").chat_template == base.chat_template


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_own_rules_of_the_tokenizer_survive(copy: Path, tmp_path: Path, kind: str) -> None:
    """transformers 5 takes the rules of some classes, GPT-2's among them, for those of the file."""
    from tokenizers import normalizers, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    base = PreTrainedTokenizerFast.from_pretrained(copy)
    base.backend_tokenizer.normalizer = normalizers.NFC()
    base.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    saved = tmp_path / "saved"
    saved.mkdir()
    (saved / "config.json").write_text(json.dumps({"model_type": kind}))
    assert module.save_tokenizer(base, saved) is None
    again = AutoTokenizer.from_pretrained(saved)
    for text in ("cafe\u0301 1234", "\u1112\u1161\u11ab 77"):
        assert again.encode(text) == base.encode(text)


def test_a_tokenizer_that_would_change_by_saving_is_refused_before_training(copy: Path, make_config: Make) -> None:
    """Of model type qwen2, transformers 5 reads no rules from the file, under whatever class it is saved."""
    from tokenizers import pre_tokenizers

    config = ModelConfig(path=str(copy))
    tokenizer = load_tokenizer(config)
    check_saving(config, tokenizer)
    path = copy / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"model_type": "qwen2"}))
    tokenizer.hf.backend_tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    with pytest.raises(ModelError, match="its tokenizer, saved and read again, gives other ids, as for '"):
        check_saving(config, tokenizer)


def test_a_sentencepiece_file_rides_along(copy: Path, make_config: Make, tmp_path: Path) -> None:
    (copy / "tokenizer.model").write_bytes(b"as it was")
    config = make_config()
    config.model.path = str(copy)
    assert run(config) == 0
    assert (tmp_path / "run" / "model" / "tokenizer.model").read_bytes() == b"as it was"
