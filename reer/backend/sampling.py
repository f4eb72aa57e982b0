"""Draw tokens from logits: temperature and top-p, with a number per row that decides.

Inverts the cumulative distribution, so that one number in [0, 1) is one draw and no row's draw depends on its
neighbours. Knows tensors; knows nothing of models or texts.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

NUCLEUS = 256
"""Tokens sorted at first to find the nucleus on a CPU, where sorting a vocabulary takes longer than a forward."""


def uniform(seeds: Sequence[int], n: int) -> "Tensor":
    """[rows, n] numbers in [0, 1), one stream per seed."""
    import torch

    streams = (torch.Generator().manual_seed(seed) for seed in seeds)
    return torch.stack([torch.rand(n, generator=stream, dtype=torch.float64) for stream in streams])


def draw(logits: "Tensor", temperature: "Tensor", top_p: "Tensor", numbers: "Tensor") -> "Tensor":
    """[rows] tokens from logits [rows, vocabulary], by temperature (0: the likeliest), top_p and number [rows]."""
    warmth = temperature.clamp(min=1e-6)[:, None]
    probabilities = (logits.float() / warmth).softmax(-1)
    likeliest, tokens = nucleus(probabilities, top_p[:, None])
    cumulative = likeliest.double().cumsum(-1)
    target = numbers[:, None] * cumulative[:, -1:]
    place = (cumulative <= target).sum(-1, keepdim=True).clamp(max=tokens.shape[1] - 1)
    return tokens.gather(1, place.where(temperature[:, None] > 0, 0))[:, 0]


def nucleus(probabilities: "Tensor", top_p: "Tensor") -> tuple["Tensor", "Tensor"]:
    """Probabilities and tokens [rows, n], likeliest first; 0 outside the smallest set that holds top_p [rows, 1]."""
    size = probabilities.shape[-1]
    n = NUCLEUS if probabilities.device.type == "cpu" and bool((top_p < 1).all()) else size
    while True:
        likeliest, tokens = probabilities.topk(min(n, size))
        before = likeliest.cumsum(-1) - likeliest
        if n >= size or bool((before[:, -1:] >= top_p).all()):
            return likeliest.where(before < top_p, 0.0), tokens
        n *= 8
