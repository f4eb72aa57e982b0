"""What a model's folder says of itself: its precision, and settings of generation that no request asked for."""

import asyncio
import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from reer.backend.hf import HFGenerator
from reer.backend.models import ends, load_model, load_tokenizer, prompt_ids, resolve_dtype
from reer.backend.packed.generator import ContinuousGenerator
from reer.config import ModelConfig, SamplesConfig
from reer.layout import Layout
from reer.text import seed_of
from reer.types import GenerateRequest, Message
from train.running.callbacks import Samples

HIDDEN = {"repetition_penalty": 1.5, "top_k": 1, "temperature": 0.1, "min_new_tokens": 30, "no_repeat_ngram_size": 2}


@pytest.fixture
def copy(tiny_model, tmp_path):
    return shutil.copytree(tiny_model, tmp_path / "copy")


def says(folder, content):
    text = content if isinstance(content, str) else json.dumps(content)
    (folder / "generation_config.json").write_text(text)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_all_ways_to_generate_draw_the_same_whatever_the_models_file_says(copy, tiny_model, caplog, temperature):
    says(copy, HIDDEN | {"eos_token_id": 2})
    config = ModelConfig(path=str(copy), dtype="float32", device="cpu")
    tokenizer, model = load_tokenizer(config), load_model(config)
    drawn = seed_of(3, "sample", 0)
    asked = GenerateRequest(
        messages=(Message("user", "Rain."),), seeds=(drawn,), max_tokens=40, temperature=temperature, top_p=0.95
    )
    plain = load_model(ModelConfig(path=str(tiny_model), dtype="float32", device="cpu"))
    [[wanted]] = asyncio.run(HFGenerator(plain, tokenizer, max_length=512).generate([asked]))
    for engine in (HFGenerator, ContinuousGenerator):
        [[found]] = asyncio.run(engine(model, tokenizer, max_length=512).generate([asked]))
        assert found.text == wanted.text
    samples = Samples(
        copy / "samples.jsonl", [], Layout("think", tokenizer), SamplesConfig(temperature=temperature, top_p=0.95,
                                                                              max_new_tokens=40), None,
    )  # fmt: skip
    written, ended = samples._one(model, prompt_ids(tokenizer, asked), drawn)
    assert written == wanted.text
    assert ended == (wanted.finish_reason == "stop")
    said = [record.message for record in caplog.records if "generation_config.json" in record.message]
    assert len(said) == 1
    assert "repetition_penalty=1.5, temperature=0.1, top_k=1, which is left out" in said[0]


UNLOADABLE = [[1], {"num_return_sequences": 2}, {"cache_implementation": "nonsense"}, "{", ""]


@pytest.mark.parametrize("content", UNLOADABLE, ids=str)
def test_a_file_that_transformers_cannot_load_stops_nothing(copy, content):
    says(copy, content)
    model = load_model(ModelConfig(path=str(copy), dtype="float32", device="cpu"))
    assert model.generation_config.to_diff_dict().keys() <= {"transformers_version"}


def test_every_end_of_turn_counts_the_models_own_among_them(copy):
    says(copy, {"eos_token_id": [0, 2, -1, "x"], "pad_token_id": -1})
    config = ModelConfig(path=str(copy), dtype="float32", device="cpu")
    settings = load_model(config).generation_config
    assert ends(load_tokenizer(config), settings) == [0, 2]
    assert settings.pad_token_id is None


def rewrite(folder, **dtypes):
    """Store the weights in other precisions, by the end of their names, and take the precision out of config.json."""
    weights = load_file(folder / "model.safetensors")
    changed = {
        name: value.to(next((kind for end, kind in dtypes.items() if name.split(".")[-2] == end), torch.bfloat16))
        for name, value in weights.items()
    }
    save_file(changed, folder / "model.safetensors", {"format": "pt"})
    path = folder / "config.json"
    told = json.loads(path.read_text())
    path.write_text(json.dumps({key: value for key, value in told.items() if key not in ("dtype", "torch_dtype")}))


NORMS = {"input_layernorm": torch.float32, "norm": torch.float32}


@pytest.mark.parametrize("dtypes", [{}, NORMS], ids=["all", "most"])
def test_auto_is_how_most_weights_are_stored_where_config_json_is_silent(copy, dtypes):
    rewrite(copy, **dtypes)
    config = ModelConfig(path=str(copy), device="cpu")
    assert resolve_dtype(config) == "bfloat16"  # of training
    model = load_model(config)  # of the engines
    assert {value.dtype for value in model.parameters()} == {torch.bfloat16}


def test_auto_is_what_config_json_says_where_it_does(copy):
    rewrite(copy)
    path = copy / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"dtype": "float32"}))
    config = ModelConfig(path=str(copy), device="cpu")
    assert resolve_dtype(config) == "float32"
    assert load_model(config).dtype == torch.float32


def test_auto_of_weights_in_several_files(copy):
    rewrite(copy)
    weights = load_file(copy / "model.safetensors")
    (copy / "model.safetensors").unlink()
    names = sorted(weights)
    parts = {"model-00001-of-00002.safetensors": names[:5], "model-00002-of-00002.safetensors": names[5:]}
    for file, own in parts.items():
        save_file({name: weights[name] for name in own}, copy / file, {"format": "pt"})
    index = {"metadata": {}, "weight_map": {name: file for file, own in parts.items() for name in own}}
    (copy / "model.safetensors.index.json").write_text(json.dumps(index))
    assert resolve_dtype(ModelConfig(path=str(copy))) == "bfloat16"
