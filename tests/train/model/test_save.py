"""Base models whose generation_config.json cannot be saved again: no training is lost to it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM, GenerationConfig

from reer.backend.models import load_tokenizer
from reer.config import PeftConfig, SftConfig
from train.sft import run

Make = Callable[..., SftConfig]
EVERY_STEP = {"save_strategy": "steps", "save_steps": 1}
LORA = PeftConfig(method="lora", args={"r": 4, "lora_alpha": 8, "target_modules": "all-linear"})
UNSAVABLE: list[dict[str, Any]] = [
    {"bos_token_id": 1, "eos_token_id": 2, "temperature": 0.9, "top_p": 0.6},
    {"eos_token_id": 2, "early_stopping": True, "num_return_sequences": 3},
]


@pytest.fixture
def base(tiny_model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_model, tmp_path / "base"))


@pytest.mark.parametrize("peft", [PeftConfig(), LORA], ids=["full", "lora"])
@pytest.mark.parametrize("content", UNSAVABLE, ids=["sampling without do_sample", "beams of none"])
def test_such_a_base_model_is_trained_and_its_settings_are_told_once(
    make_config: Make, base: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, content: Any, peft: PeftConfig
) -> None:
    (base / "generation_config.json").write_text(json.dumps(content))
    config = make_config(EVERY_STEP, peft=peft, held_out=1)
    config.model.path = str(base)
    assert run(config) == 0
    assert (tmp_path / "run" / "checkpoints" / "checkpoint-2").is_dir()
    said = [record.message for record in caplog.records if "generation_config.json says" in record.message]
    assert len(said) == 1
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "run" / "model")
    model.save_pretrained(tmp_path / "again")  # as whoever trains on does
    settings = GenerationConfig.from_pretrained(tmp_path / "again").to_diff_dict()
    settings.pop("transformers_version")
    assert settings == {"bos_token_id": 1, "eos_token_id": [2], "pad_token_id": 0}


def test_a_run_whose_end_had_failed_so_is_finished_by_the_same_command(
    make_config: Make, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As an older version left it: training.json, weights/ with the settings in it, no model/."""
    (base / "generation_config.json").write_text(json.dumps(UNSAVABLE[0]))
    config = make_config()
    config.model.path = str(base)

    def fails(*rest: Any) -> None:
        raise ValueError("GenerationConfig is invalid")

    with monkeypatch.context() as patch:
        patch.setattr("train.model.complete_model", fails)
        with pytest.raises(ValueError, match="invalid"):
            run(config)
    run_dir = tmp_path / "run"
    shutil.copy(base / "generation_config.json", run_dir / "weights")
    assert not (run_dir / "model").exists()
    monkeypatch.setattr("train.running.training.train", fails)
    assert run(config) == 0
    assert not (run_dir / "weights").exists()
    settings = GenerationConfig.from_pretrained(run_dir / "model")
    assert (settings.temperature, settings.eos_token_id) == (None, [2])


def test_a_model_without_a_token_to_pad_with_pads_with_the_end_of_turn(
    make_config: Make, base: Path, tmp_path: Path
) -> None:
    for name in ("tokenizer_config.json", "config.json", "generation_config.json"):
        told = json.loads((base / name).read_text())
        kept = {key: value for key, value in told.items() if key not in ("pad_token", "pad_token_id")}
        (base / name).write_text(json.dumps(kept | ({"temperature": 0.5} if name.startswith("gen") else {})))
    config = make_config(EVERY_STEP)
    config.model.path = str(base)
    assert load_tokenizer(config.model).hf.pad_token is None
    assert run(config) == 0
    assert GenerationConfig.from_pretrained(tmp_path / "run" / "model").pad_token_id == 2


@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`")
def test_adapters_alone_are_measured_and_generate_like_a_model(make_config: Make, tmp_path: Path) -> None:
    """`peft.merge=false`, on a base model whose one matrix the adapters have made two."""
    args = {**LORA.args, "modules_to_save": ["lm_head"]}
    found = []
    for merge in (False, True):
        config = make_config(held_out=2, peft=PeftConfig(method="lora", args=args, merge=merge))
        config.run_dir = str(tmp_path / f"run-{merge}")
        assert run(config) == 0
        found.append(json.loads((tmp_path / f"run-{merge}" / "summary.json").read_text())["held_out"])
    assert found[0] == pytest.approx(found[1], abs=1e-5)
