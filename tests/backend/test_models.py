"""Finding and loading models: chat templates, end of turn, and clear words for what cannot be loaded."""

import json

import pytest

from reer.backend import parameters
from reer.backend.models import cache_dir, load_model, load_tokenizer, locate
from reer.config import HFBackendConfig, ModelConfig
from reer.errors import ModelError
from reer.types import Message


def test_the_chat_prompt_is_the_models_own_template(tiny_model):
    from transformers import AutoTokenizer

    plain = AutoTokenizer.from_pretrained(tiny_model)
    turns = [{"role": "user", "content": "Hello"}]
    expected = plain.apply_chat_template(turns, add_generation_prompt=True, return_dict=True)["input_ids"]
    tokenizer = load_tokenizer(ModelConfig(path=str(tiny_model)))
    assert tokenizer.chat([Message("user", "Hello")]) == tuple(expected)
    assert tokenizer.end_of_turn == plain.convert_tokens_to_ids("<|im_end|>")


@pytest.fixture
def copy(tiny_model, tmp_path):
    import shutil

    return shutil.copytree(tiny_model, tmp_path / "copy")


def test_a_template_that_opens_the_think_block_is_left_to_the_layout(copy):
    template = copy / "chat_template.jinja"
    text = template.read_text()
    template.write_text(text.replace("assistant\n{% endif %}", "assistant\n<think>\n{% endif %}"))
    assert template.read_text() != text
    tokenizer = load_tokenizer(ModelConfig(path=str(copy)))
    assert tokenizer.hf.decode(tokenizer.chat([Message("user", "Hi")])).endswith("assistant\n")


def test_a_base_models_end_of_turn_is_the_templates_not_its_eos(copy):
    path = copy / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"eos_token": "<|endoftext|>"}))
    tokenizer = load_tokenizer(ModelConfig(path=str(copy)))
    assert tokenizer.hf.eos_token == "<|endoftext|>"
    assert tokenizer.hf.decode([tokenizer.end_of_turn]) == "<|im_end|>"


def test_a_model_without_a_chat_template_is_refused(copy):
    (copy / "chat_template.jinja").unlink()
    with pytest.raises(ModelError, match="has no chat template"):
        load_tokenizer(ModelConfig(path=str(copy)))


def test_a_model_that_is_not_there_is_one_sentence(tmp_path):
    for load in (load_tokenizer, load_model):
        with pytest.raises(ModelError, match="nowhere cannot be loaded") as caught:
            load(ModelConfig(path=str(tmp_path / "nowhere")))
        assert "\n" not in str(caught.value)


def test_roles_with_the_same_model_share_it(tiny_model):
    config = ModelConfig(path=str(tiny_model), dtype="float32", max_length=99)
    assert load_model(config) is load_model(ModelConfig(path=str(tiny_model), dtype="float32"))


@pytest.mark.slow
def test_smollm2_is_converted_once_and_whole():
    """The packaged GGUF, as safetensors in the cache folder: the demo's model."""
    config = ModelConfig(path="smollm2", dtype="float32")
    path = locate(config)
    assert path == str(cache_dir() / "smollm2")
    assert locate(config) == path
    assert parameters(HFBackendConfig(model=config)) == 134_515_008
    tokenizer = load_tokenizer(config)
    assert tokenizer.hf.decode([tokenizer.end_of_turn]) == "<|im_end|>"
    text = tokenizer.hf.decode(tokenizer.chat([Message("user", "Hi")]))
    assert text.endswith("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n")
