"""Linear layers laid out for a CPU: the plain ones' numbers, and the plain ones where no gain is known."""

import platform

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM

from reer.backend import parameters
from reer.backend.models import load_model
from reer.backend.packed.linear import lay_out
from reer.config import HFBackendConfig, ModelConfig

X86 = platform.machine().lower() in ("x86_64", "amd64") and torch.backends.mkldnn.is_available()
BF16 = X86 and torch.ops.mkldnn._is_mkldnn_bf16_supported()
pytestmark = pytest.mark.skipif(not X86, reason="laid out on x86 alone")


@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float32, 1e-6), pytest.param(torch.bfloat16, 0, marks=pytest.mark.skipif(not BF16, reason="no bf16"))],
)
@pytest.mark.parametrize("tokens", [(1, 1), (1, 7), (3, 40)])
def test_the_numbers_are_the_plain_models(tiny_model, dtype, tolerance, tokens):
    plain = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=dtype).eval()
    laid = load_model(ModelConfig(path=str(tiny_model), dtype=str(dtype).removeprefix("torch."), device="cpu"))
    assert all(module.weight.is_mkldnn for module in laid.modules() if isinstance(module, nn.Linear))
    ids = torch.randint(0, 300, tokens, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert (laid(ids).logits - plain(ids).logits).abs().max() <= tolerance


def test_a_bias_is_added():
    model = nn.Sequential(nn.Linear(16, 32))
    x, wanted = torch.ones(2, 16), model(torch.ones(2, 16)).detach()
    lay_out(model)
    assert model[0].weight.is_mkldnn
    torch.testing.assert_close(model(x), wanted)


def test_a_head_that_is_the_embedding_leaves_it_as_it_was(tiny_model, tmp_path):
    plain = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    plain.config.tie_word_embeddings = True
    plain.tie_weights()
    plain.save_pretrained(tmp_path)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        (tmp_path / name).write_bytes((tiny_model / name).read_bytes())
    config = ModelConfig(path=str(tmp_path), dtype="float32", device="cpu")
    tied = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    assert torch.equal(load_model(config).get_input_embeddings().weight, tied.get_input_embeddings().weight)
    assert parameters(HFBackendConfig(model=config)) == sum(weights.numel() for weights in tied.parameters())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_other_types_are_left_alone(dtype):
    model = nn.Sequential(nn.Linear(4, 4, dtype=dtype))
    lay_out(model)
    assert not model[0].weight.is_mkldnn


def test_other_processors_are_left_alone(monkeypatch):
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    model = nn.Sequential(nn.Linear(4, 4))
    lay_out(model)
    assert not model[0].weight.is_mkldnn
