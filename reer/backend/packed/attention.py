"""Attention of packed runs, plugged into transformers as one of its own: each run sees its path and itself.

Also the proof that a model can be run so: its numbers beside those of a plain forward. Knows keys, values and runs;
knows nothing of requests.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from reer.backend.packed.runs import Ids, Run
from reer.errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

NAME = "reer_packed"
PROBE = "The rain came at dusk, and nobody ran. She put the kettle on and waited for the others to come home."
TOLERANCE = {"float32": 1e-4, "bfloat16": 0.05, "float16": 0.005}
"""Largest divergence from a plain forward's next token, in nats. A wrong mask gives 1 and more, rounding 1e-7 and (in
bfloat16) 0.003; of the least likely tokens it changes the log-probability by 0.5, which says nothing."""

CPU_FLASH = "_scaled_dot_product_flash_attention_for_cpu"
"""The ATen operator behind attention on a CPU; unlike the public function it tells the weights' sum, too."""


class DoesNotFit(ModelError):
    """A model that does more than this way of running it knows of."""


def check_fit(model: "PreTrainedModel", ids: Ids, states: "Tensor") -> None:
    """Compare the hidden states [tokens, width] of the last positions of `ids` with a plain forward.

    Raises:
        DoesNotFit: what they say of the next tokens differs.
    """
    import torch

    with torch.inference_mode():
        plain = model(torch.tensor([ids], device=model.device)).logits[0, -len(states) :].float().log_softmax(-1)
        found = model.get_output_embeddings()(states).float().log_softmax(-1)
    worst = (plain.exp() * (plain - found)).sum(-1).max().item()
    if not worst <= TOLERANCE[str(model.dtype).removeprefix("torch.")]:
        raise DoesNotFit(f"{type(model).__name__} cannot be run packed: it is {worst:.2g} nats off a plain forward")


def register(name: str, attend: Callable[..., Any]) -> None:
    """Let transformers know an attention that makes its own masks."""
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register(name, attend)
    AttentionMaskInterface.register(name, lambda *args, **kwargs: None)


@contextmanager
def attention(body: Any, name: str) -> Iterator[None]:
    """Another attention for one forward; other parts of the program may share the model."""
    before = body.config._attn_implementation
    body.config._attn_implementation = name
    try:
        yield
    finally:
        body.config._attn_implementation = before


def attend_runs(
    module: Any,
    query: "Tensor",
    key: "Tensor",
    value: "Tensor",
    attention_mask: None,
    scaling: float | None = None,
    packed: Sequence[Run] = (),
    **others: Any,
) -> tuple["Tensor", None]:
    """Attention of packed runs. query [1, heads, tokens, width], key and value [1, key heads, tokens, width]."""
    refuse_others(module, others)
    output = query.new_empty(query.shape[2], query.shape[1], value.shape[3])
    for run in packed:
        if run.continued:
            own = slice(run.at, run.at + len(run.ids))
            run.hold(key[0, :, own], value[0, :, own], module.layer_idx, module.config.num_hidden_layers)
    for run in packed:
        own = slice(run.at, run.at + len(run.ids))
        output[own] = _attend_run(query[:, :, own], key[:, :, own], value[:, :, own], run, module.layer_idx, scaling)
    return output[None], None


def refuse_others(module: Any, others: dict[str, Any]) -> None:
    """Raises: DoesNotFit: this attention is more than causal."""
    if any(others.get(name) is not None for name in ("sliding_window", "softcap", "s_aux")):
        raise DoesNotFit(f"{type(module).__name__} cannot be run packed: it attends in another way")


def _attend_run(
    query: "Tensor", key: "Tensor", value: "Tensor", run: Run, layer: int, scaling: float | None
) -> "Tensor":
    """[tokens, heads, width] of one run, which sees its path and, causally, itself."""
    import torch
    from torch.nn.attention.bias import causal_lower_right

    scaled_dot_product = torch.nn.functional.scaled_dot_product_attention
    groups = query.shape[1] // key.shape[1]
    own = key, value
    if not run.path.pieces:
        states = scaled_dot_product(query, *_repeated(own, groups), is_causal=True, scale=scaling)
    else:
        pieces = [(before.layers[layer], length) for before, length in run.path.pieces]
        path = tuple(torch.cat([held[part][None, :, :n] for held, n in pieces], dim=2) for part in (0, 1))
        if query.device.type == "cpu" and hasattr(torch.ops.aten, CPU_FLASH):
            states = _in_two_parts(query, path, own, scaling)
        else:
            both = [torch.cat(parts, dim=2) for parts in zip(path, own, strict=True)]
            mask = causal_lower_right(query.shape[2], both[0].shape[2]) if query.shape[2] > 1 else None
            states = scaled_dot_product(query, *_repeated(both, groups), attn_mask=mask, scale=scaling)
    return states[0].transpose(0, 1)


def _repeated(keys_and_values: Sequence["Tensor"], groups: int) -> list["Tensor"]:
    return [part.repeat_interleave(groups, dim=1) for part in keys_and_values]


def _in_two_parts(
    query: "Tensor", path: Sequence["Tensor"], own: Sequence["Tensor"], scaling: float | None
) -> "Tensor":
    """Attention to the path and, causally, to what is new, joined by how much each of them weighs.

    On a CPU, torch has no kernel for a causal mask that is longer than wide: it would make one, and compute what it
    hides. Neither part needs a mask.
    """
    import torch

    flash = getattr(torch.ops.aten, CPU_FLASH)
    heads = own[0].shape[1]
    # [query heads of a key head, key heads, tokens, width]: keys and values are not copied for each of them
    query = query[0].unflatten(0, (heads, -1)).transpose(0, 1)
    path, own = ([part.expand(len(query), -1, -1, -1) for part in parts] for parts in (path, own))
    before, weight_before = flash(query, *path, is_causal=False, scale=scaling)
    new, weight_new = flash(query, *own, is_causal=True, scale=scaling)
    share = torch.sigmoid(weight_before - weight_new).unsqueeze(-1)
    joined = torch.lerp(new.float(), before.float(), share.float()).to(query.dtype)
    return joined.transpose(0, 1).flatten(0, 1)[None]
