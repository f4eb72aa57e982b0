"""What is traced on tensors without data, against arithmetic by hand and against autograd on the real thing."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, LlamaConfig, Qwen3Config

from reer.config import ModelConfig
from reer.errors import ConfigError, ModelError
from train.planning import shape
from train.planning.arithmetic import WITHOUT_TRITON

LLAMA = {
    "hidden_size": 64, "intermediate_size": 160, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "vocab_size": 300,
}  # fmt: skip
LORA = LoraConfig(task_type="CAUSAL_LM", r=4, target_modules="all-linear")
H, Q, KV, F = 64, 64, 32, 160
T = 128


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("Qwen/Qwen3-8B-Base", 8_190_735_360),
        ("Qwen/Qwen3-0.6B", 596_049_920),
        ("Qwen/Qwen2.5-32B-Instruct", 32_763_876_352),
    ],
)
def test_shipped_shapes_have_as_many_parameters_as_their_models(name: str, wanted: int) -> None:
    """As the models' safetensors index and model cards have it."""
    assert shape.count(shape.find_config(ModelConfig(path=name)), None).total == wanted


def test_every_model_of_conf_that_is_not_shipped_with_weights_is_shipped_as_a_shape() -> None:
    from omegaconf import OmegaConf

    shipped = json.loads(shape.SHAPES.read_text())
    for path in (Path(__file__).parents[3] / "conf" / "model").glob("*.yaml"):
        assert OmegaConf.load(path).path in {*shipped, "smollm2"}


def test_a_real_model_is_counted_as_it_is(tiny_model: Path) -> None:
    counted = shape.count(shape.find_config(ModelConfig(path=str(tiny_model))), None)
    real = AutoModelForCausalLM.from_pretrained(tiny_model)
    assert counted.total == counted.trainable == sum(p.numel() for p in real.parameters())
    assert counted.head == real.lm_head.weight.numel()


def test_adapters_of_qwen3_8b_by_hand() -> None:
    """r (in + out) of each linear map of a layer."""
    config = shape.find_config(ModelConfig(path="Qwen/Qwen3-8B-Base"))
    maps = [(4096, 4096), (4096, 1024), (4096, 1024), (4096, 4096), (4096, 12288), (4096, 12288), (12288, 4096)]
    counted = shape.count(config, LoraConfig(task_type="CAUSAL_LM", r=64, target_modules="all-linear"))
    assert counted.trainable == 36 * 64 * sum(a + b for a, b in maps) == 174_587_904
    assert (counted.total, counted.trains_head) == (8_190_735_360, False)


def test_a_folder_needs_no_weights(tmp_path: Path) -> None:
    LlamaConfig(**LLAMA).save_pretrained(tmp_path)
    assert shape.count(shape.find_config(ModelConfig(path=str(tmp_path))), None).layers == 3


def test_what_cannot_be_planned_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match=r"model.path=some/where: no config.json can be had; give a folder"):
        shape.find_config(ModelConfig(path="some/where"))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "qwen3_moe", "num_experts": 8}))
    with pytest.raises(ModelError, match="has num_experts=8: only dense models are planned"):
        shape.find_config(ModelConfig(path=str(tmp_path)))
    with pytest.raises(ConfigError, match=r"peft.args.target_modules: "):
        shape.count(LlamaConfig(**LLAMA), LoraConfig(task_type="CAUSAL_LM", target_modules=["q_prj"]))


def test_a_layer_of_llama_by_hand() -> None:
    """float32: two norms keep input, normalised and scaled; attention q, k, v, out, log-sum-exp; the MLP four."""
    kept = shape.trace(LlamaConfig(**LLAMA), None, (1, T), dtype="float32", checkpointing=False)
    assert kept.layer == 4 * T * (6 * H + 2 * Q + 2 * KV + 4 * F + 4 + 2)
    assert kept.forward == kept.layer


def test_a_layer_of_qwen3_keeps_its_queries_and_keys_before_and_after_their_norms() -> None:
    kept = shape.trace(Qwen3Config(**LLAMA, head_dim=16), None, (1, T), dtype="float32", checkpointing=False)
    norms = 2 * (Q + KV) + 4 + 2  # input and normalised of each, and one factor a head
    assert kept.layer == 4 * T * (6 * H + 2 * Q + 2 * KV + 4 * F + 4 + 2 + norms)


def test_under_checkpointing_a_layer_keeps_its_input_alone() -> None:
    config = LlamaConfig(**LLAMA)
    plain, saving = (shape.trace(config, None, (1, T), dtype="bfloat16", checkpointing=on) for on in (False, True))
    assert saving.layer == 2 * T * H
    assert plain.live >= saving.live > plain.layer


def test_autocast_keeps_the_weights_in_the_lower_precision_until_the_forward_ends() -> None:
    """The layers' float32 weights once more in bfloat16, while checkpointing drops everything else."""
    config = LlamaConfig(**LLAMA)
    kept = shape.trace(config, None, (1, T), dtype="float32", autocast="bfloat16")
    matrices = shape.count(config, None).matrices // 3
    assert kept.forward - kept.layer == 2 * matrices


def test_a_mask_is_quadratic_and_a_fused_kernel_linear() -> None:
    def rest(kernel: str, tokens: int) -> int:
        return shape.trace(LlamaConfig(**LLAMA), None, (1, tokens), dtype="float32", kernel=kernel).rest

    assert rest("fused", 2 * T) == pytest.approx(2 * rest("fused", T), rel=0.01)
    assert rest("masked", T) - rest("fused", T) == pytest.approx(T * T, rel=0.05)  # booleans
    scores = shape.trace(
        LlamaConfig(**LLAMA), None, (1, T), dtype="float32", checkpointing=False, kernel="eager"
    ).layer
    fused = shape.trace(LlamaConfig(**LLAMA), None, (1, T), dtype="float32", checkpointing=False).layer
    assert scores - fused > 4 * 4 * T * T  # of every head


def really_kept(model: Any, run: Callable[[], torch.Tensor]) -> int:
    """Bytes of the storages that autograd holds after a real forward, besides the parameters' own."""
    own = {p.untyped_storage().data_ptr() for p in (*model.parameters(), *model.buffers())}
    kept: dict[int, Any] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        run()
    return sum(storage.nbytes() for storage in kept.values())


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")  # peft asks for it
@pytest.mark.parametrize("adapter", [None, LORA], ids=["full", "lora"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("family", [LlamaConfig, Qwen3Config])
def test_what_is_traced_is_what_autograd_really_keeps(family: Any, dtype: str, adapter: LoraConfig | None) -> None:
    """Models with data, of two and three layers: their difference is a layer."""

    def kept(layers: int) -> int:
        config = family(**{**LLAMA, "head_dim": 16, "num_hidden_layers": layers})
        model = AutoModelForCausalLM.from_config(config, dtype=getattr(torch, dtype)).train()
        model = get_peft_model(model, LORA) if adapter else model
        base = model.get_base_model() if adapter else model
        return really_kept(model, lambda: base.model(input_ids=torch.zeros(1, T, dtype=torch.long)).last_hidden_state)

    traced = shape.trace(
        family(**{**LLAMA, "head_dim": 16}), adapter, (1, T), dtype=dtype, checkpointing=False
    )  # fmt: skip
    assert traced.layer == pytest.approx(kept(3) - kept(2), rel=0.02)


def test_trls_loss_takes_so_many_bytes_a_logit_where_there_is_no_triton() -> None:
    from torch._subclasses.fake_tensor import FakeTensorMode
    from trl.kernels.chunked_logprob import ChunkedLogProbFunction

    tokens, hidden, vocabulary = 512, 64, 32768
    with FakeTensorMode():
        head = torch.nn.Linear(hidden, vocabulary, bias=False)
        states, targets = torch.empty(tokens, hidden, requires_grad=True), torch.zeros(tokens, dtype=torch.long)
        with shape._storages(head) as storages:
            outputs = ("log_probs", "entropy", "is_top1")
            found = ChunkedLogProbFunction.apply(states, head.weight, None, targets, 1.0, 32768, None, 1.0, outputs)
            found[0].sum().backward()
    weight = 4 * hidden * vocabulary
    assert (storages.peak - weight) / (tokens * vocabulary) == pytest.approx(4 + WITHOUT_TRITON, rel=0.03)


def test_an_adapter_that_unties_makes_one_matrix_more(tiny_model: Path) -> None:
    """The embedding of the tiny model is its output layer too."""
    config = shape.find_config(ModelConfig(path=str(tiny_model)))
    linear, head = (
        shape.count(config, LoraConfig(task_type="CAUSAL_LM", r=4, target_modules="all-linear", modules_to_save=saved))
        for saved in (None, ["lm_head"])
    )
    assert head.total - linear.total == head.trainable - linear.trainable == linear.head
    assert (linear.trains_head, head.trains_head) == (False, True)
