"""The shape of a model without its weights: its config, its parameters counted, what autograd keeps of a layer.

Parameters are counted on torch's meta device. What a layer keeps is traced on fake tensors, which have a shape and no
data: forward and backward of the same model with one and with two layers, every storage counted while it lives. So it
holds for any decoder that transformers knows, under adapters, autocast and gradient checkpointing alike. Attention is
taken to be a fused kernel (flash, memory-efficient) that keeps no matrix of scores.
Knows nothing of GPUs, ZeRO and time.
"""

import copy
import json
import warnings
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reer.backend.models import locate
from reer.config import ModelConfig
from reer.errors import ConfigError, ModelError

from ..model.tied import untie_for
from .arithmetic import Kept, Parameters

if TYPE_CHECKING:
    from peft import LoraConfig
    from transformers import PretrainedConfig, PreTrainedModel

SHAPES = Path(__file__).with_name("shapes.json")
"""The config of the models that conf/model names, as their own config.json has it, so that no hub is needed."""
_TRACED: dict[tuple[object, ...], Kept] = {}
"""What was traced before in this process: the same layer is asked for under many ways to divide the model."""


def find_config(model: ModelConfig) -> "PretrainedConfig":
    """The model's config: shipped, of its folder, or of the hub.

    Raises:
        ModelError: it cannot be had, or the model has experts, which are not counted here.
    """
    from transformers import AutoConfig

    shipped = json.loads(SHAPES.read_text(encoding="utf-8"))
    if model.path in shipped:
        config = AutoConfig.for_model(**shipped[model.path])
    else:
        try:
            config = AutoConfig.from_pretrained(locate(model), revision=model.revision)
        except (OSError, ValueError) as error:
            raise ModelError(
                f"model.path={model.path}: no config.json can be had; give a folder that holds one (weights are not "
                f"needed), or one of {', '.join(shipped)}"
            ) from error
    if experts := next((key for key in ("num_experts", "num_local_experts") if getattr(config, key, None)), None):
        raise ModelError(
            f"model.path={model.path} has {experts}={getattr(config, experts)}: only dense models are planned"
        )
    return config


def skeleton(config: "PretrainedConfig", adapter: "LoraConfig | None", dtype: str = "float32") -> "PreTrainedModel":
    """The model on the meta device, with its adapters: shapes without storage.

    Raises:
        ConfigError: the model has no such LoRA target, or an adapter on a tied matrix cannot be trained or merged.
    """
    import torch
    from peft import get_peft_model
    from transformers import AutoModelForCausalLM

    with torch.device("meta"), _quiet():
        model = AutoModelForCausalLM.from_config(config, dtype=getattr(torch, dtype))
        if adapter is None:
            return model
        untie_for(model, adapter)
        try:
            return get_peft_model(model, copy.deepcopy(adapter))
        except ValueError as error:
            raise ConfigError(f"peft.args.target_modules: {str(error).partition('. ')[0].rstrip('.')}") from error


def count(config: "PretrainedConfig", adapter: "LoraConfig | None") -> Parameters:
    """Exact counts of every kind of parameter."""
    from torch.nn import Linear

    base = skeleton(config, None)
    whole = skeleton(config, adapter) if adapter else base
    head = base.get_output_embeddings().weight
    linear = [m.weight.numel() for m in base.modules() if isinstance(m, Linear) and m.weight is not head]
    own = [sum(p.numel() for p in module.parameters(recurse=False)) for module in base.modules()]
    text = config.get_text_config()
    width = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    trainable = sum(p.numel() for p in whole.parameters() if p.requires_grad)
    return Parameters(
        total=sum(p.numel() for p in whole.parameters()) - (trainable if adapter else 0),  # untied, there are more
        trainable=trainable,
        layers=text.num_hidden_layers,
        matrices=sum(linear),
        head=head.numel(),
        largest=max(own),
        attention=text.num_attention_heads * width,
        hidden=text.hidden_size,
        trains_head=whole.get_output_embeddings().weight.requires_grad,
    )


def trace(
    config: "PretrainedConfig",
    adapter: "LoraConfig | None",
    size: tuple[int, int],
    *,
    dtype: str,
    autocast: str | None = None,
    checkpointing: bool = True,
    kernel: str = "fused",
) -> Kept:
    """Bytes that autograd keeps of a batch of `size` (sequences, tokens of each), weights held in `dtype`.

    `autocast`: the precision of the arithmetic where it is another. `kernel`: fused (no scores, no mask), masked
    (fused, with a mask of length x length that keeps packed examples or padding apart) or eager (all scores).
    """
    how = (size, dtype, autocast, checkpointing)
    key = (config.to_json_string(), str(adapter), kernel, how)
    if key not in _TRACED:
        one, two = (_trace(_shallow(config, layers, kernel), adapter, *how) for layers in (1, 2))
        layer = two[1] - one[1]
        _TRACED[key] = Kept(layer=layer, forward=two[0] - one[0], rest=one[1] - layer, live=one[2])
    return _TRACED[key]


def _trace(
    config: "PretrainedConfig",
    adapter: "LoraConfig | None",
    size: tuple[int, int],
    dtype: str,
    autocast: str | None,
    checkpointing: bool,
) -> tuple[int, int, int]:
    """(end of the forward, after it, worst moment of the backward), in bytes besides weights and gradients."""
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode

    model = skeleton(config, adapter, dtype).train()
    backbone = (model.get_base_model() if adapter else model).base_model
    with FakeTensorMode(), _quiet():
        _materialise(model)
        if checkpointing:
            if adapter:
                model.enable_input_require_grads()
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        ids = torch.zeros(size, dtype=torch.long)
        with _storages(model) as storages:
            lower = getattr(torch, autocast or "bfloat16")
            with torch.autocast("cpu", lower, enabled=autocast is not None):
                output = backbone(input_ids=ids, use_cache=False).last_hidden_state
                forward = storages.now
            after = storages.peak = storages.now
            output.backward(torch.empty_like(output))
        return forward, after, storages.peak


def _shallow(config: "PretrainedConfig", layers: int, kernel: str) -> "PretrainedConfig":
    """The same model with fewer layers and next to no vocabulary, and the kernel asked for."""
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register("fused", _attention)
    AttentionMaskInterface.register("fused", lambda *args, **kwargs: None)
    AttentionInterface.register("masked", _attention)
    AttentionMaskInterface.register("masked", AttentionMaskInterface()["sdpa"])
    small = copy.deepcopy(config)
    text = small.get_text_config()
    text.num_hidden_layers, text.vocab_size, text.pad_token_id = layers, 16, None
    if getattr(text, "layer_types", None):
        text.layer_types = text.layer_types[:layers]
    small._attn_implementation = kernel
    return small


def _attention(module: Any, query: Any, key: Any, value: Any, mask: Any, **named: Any) -> tuple[Any, None]:
    """torch's own, as transformers calls it: under a mask, keys and values are copied to every head that uses them."""
    from torch.nn.functional import scaled_dot_product_attention

    groups, scale = query.shape[1] // key.shape[1], named.get("scaling")
    if mask is not None and groups > 1:
        key, value, groups = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1), 1
    mixed = scaled_dot_product_attention(
        query, key, value, attn_mask=mask, is_causal=mask is None, scale=scale, enable_gqa=groups > 1
    )
    return mixed.transpose(1, 2).contiguous(), None


def _materialise(model: Any) -> None:
    """Fake storage for every meta tensor, inside FakeTensorMode; gradients are dropped as soon as they are whole."""
    import torch

    for module in model.modules():
        for name, old in list(module._parameters.items()):
            if old is not None:
                new = torch.nn.Parameter(torch.empty(old.shape, dtype=old.dtype), requires_grad=old.requires_grad)
                module._parameters[name] = new
                if new.requires_grad:
                    new.register_post_accumulate_grad_hook(lambda parameter: setattr(parameter, "grad", None))
        for name, old in list(module._buffers.items()):
            if old is not None:
                module._buffers[name] = torch.empty(old.shape, dtype=old.dtype)


@contextmanager
def _storages(model: Any) -> "Iterator[Storages]":
    """Count every storage that an operation makes, besides the model's own, for as long as anything holds it."""
    from torch import Tensor
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves

    count = Storages([tensor.untyped_storage() for tensor in (*model.parameters(), *model.buffers())])

    class Watch(TorchDispatchMode):  # type: ignore[misc]
        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            made = function(*args, **(kwargs or {}))
            for tensor in tree_leaves(made):
                if isinstance(tensor, Tensor):
                    count.add(tensor.untyped_storage())
            return made

    with Watch():
        yield count


class Storages:
    """Bytes alive now, and the most there were since `peak` was set last."""

    def __init__(self, known: list[Any]) -> None:
        self.now = self.peak = 0
        self.alive = {storage._cdata: 0 for storage in known}

    def add(self, storage: Any) -> None:
        key = storage._cdata
        if key not in self.alive:
            self.alive[key] = storage.nbytes()
            self.now += self.alive[key]
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self.drop, key)

    def drop(self, key: int) -> None:
        self.now -= self.alive.pop(key)


@contextmanager
def _quiet() -> Iterator[None]:
    """transformers renamed gradient checkpointing; trl and peft use the name of old, and so does this module."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r".*gradient_checkpointing.* is deprecated", FutureWarning)
        yield
