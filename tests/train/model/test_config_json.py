"""config.json says to transformers 4 what it says to transformers 5: rotary positions above all."""

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoConfig

from train.model.config_json import add_older_keys

YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 1024}
SMALL = {
    "hidden_size": 32,
    "num_attention_heads": 2,
    "num_hidden_layers": 2,
    "intermediate_size": 32,
    "vocab_size": 64,
}
MODELS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "llama": ({"rope_theta": 500000.0, "dtype": "bfloat16"}, {"rope_theta": 500000.0, "torch_dtype": "bfloat16"}),
    "qwen2": ({"rope_theta": 1e6, "rope_scaling": dict(YARN)}, {"rope_theta": 1e6, "rope_scaling": YARN}),
    "phi": ({"rope_theta": 10000.0, "partial_rotary_factor": 0.5}, {"rope_theta": 1e4, "partial_rotary_factor": 0.5}),
    "gemma3_text": (
        {"rope_theta": 1e6, "rope_local_base_freq": 10000.0, "head_dim": 16},
        {"rope_theta": 1e6, "rope_local_base_freq": 10000.0},
    ),
    "gpt2": ({}, {}),
}


@pytest.mark.parametrize("kind", MODELS)
def test_both_versions_find_their_keys(kind: str, tmp_path: Path) -> None:
    given, older = MODELS[kind]
    config = AutoConfig.for_model(kind, **SMALL, **given)
    config.save_pretrained(tmp_path)
    before = json.loads((tmp_path / "config.json").read_text())
    add_older_keys(tmp_path)
    after = json.loads((tmp_path / "config.json").read_text())
    assert {key: after.get(key) for key in older} == older
    assert {key: after[key] for key in before} == before
    again = AutoConfig.from_pretrained(tmp_path)
    assert getattr(again, "rope_parameters", None) == getattr(config, "rope_parameters", None)
    assert again.dtype == config.dtype
