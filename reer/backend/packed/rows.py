"""The rows of a running batch: a sample each, its keys and values of its own length, and the attention of a step."""

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from reer.backend.packed.attention import refuse_others
from reer.backend.packed.runs import Path
from reer.types import GenerateRequest, Response, Usage

if TYPE_CHECKING:
    from torch import Tensor

NAME = "reer_rows"
GROWTH = 128
"""Tokens by which the rows' room grows."""
ROWS = 8
"""Rows by which it grows."""


@dataclass(slots=True, eq=False)
class Row:
    """One sample being drawn."""

    request: GenerateRequest
    prompt: tuple[int, ...]
    uniform: "Tensor"
    """A random number in [0, 1) for each token to come."""
    future: "asyncio.Future[Response]"
    tokens: list[int] = field(default_factory=list)
    usage: Usage = Usage()
    error: Exception | None = None
    """Why there is no sample."""

    @property
    def reach(self) -> int:
        """Tokens it may come to have."""
        return len(self.prompt) + self.request.max_tokens


class RowCache:
    """Keys and values of the rows, [rows, heads, room, width] for each layer; a row's begin at place 0."""

    def __init__(self) -> None:
        self.layers: list[tuple[Tensor, Tensor]] = []
        self.lengths: list[int] = []

    def add(self, path: Path, copies: int) -> None:
        """New rows at the end, all of them beginning with the keys and values of a path."""
        import torch

        first, n, length = len(self.lengths), len(self.lengths) + copies, len(path)
        self._reserve(path, n, length + 1)
        for layer, buffers in enumerate(self.layers):
            for part, buffer in enumerate(buffers):
                pieces = [run.layers[layer][part][:, :tokens] for run, tokens in path.pieces]
                buffer[first:n, :, :length] = torch.cat(pieces, dim=1)
        self.lengths += [length] * copies

    def remove(self, row: int) -> None:
        """The last row takes the place of this one."""
        last = len(self.lengths) - 1
        if row != last:
            for buffers in self.layers:
                for buffer in buffers:
                    buffer[row, :, : self.lengths[last]] = buffer[last, :, : self.lengths[last]]
        self.lengths[row] = self.lengths[last]
        self.lengths.pop()
        if not self.lengths:
            self.layers = []  # nothing is held while nothing is drawn

    def grow(self) -> None:
        """Room for one more token in every row."""
        self._reserve(None, len(self.lengths), max(self.lengths) + 1)

    def _reserve(self, path: Path | None, rows: int, room: int) -> None:
        if not self.layers:
            assert path is not None
            run = path.pieces[0][0]
            self.layers = [(k.new_empty(0, k.shape[0], 0, k.shape[2]), v.new_empty(0, v.shape[0], 0, v.shape[2]))
                           for k, v in run.layers]  # fmt: skip
        have_rows, _, have_room, _ = self.layers[0][0].shape
        if rows <= have_rows and room <= have_room:
            return
        rows = -(-max(rows, have_rows) // ROWS) * ROWS
        room = -(-max(room, have_room) // GROWTH) * GROWTH
        self.layers = [tuple(_enlarged(buffer, rows, room) for buffer in buffers) for buffers in self.layers]


def _enlarged(buffer: "Tensor", rows: int, room: int) -> "Tensor":
    larger = buffer.new_zeros(rows, buffer.shape[1], room, buffer.shape[3])
    larger[: buffer.shape[0], :, : buffer.shape[2]] = buffer
    return larger


@dataclass(frozen=True, slots=True)
class Step:
    """What the attention of one step needs."""

    cache: RowCache
    places: "Tensor"
    """[rows]: where each row's new token goes."""
    visible: "Tensor"
    """[rows, 1, 1, room]: what it sees."""


def attend_rows(
    module: Any,
    query: "Tensor",
    key: "Tensor",
    value: "Tensor",
    attention_mask: None,
    scaling: float | None = None,
    rows: Step | None = None,
    **others: Any,
) -> tuple["Tensor", None]:
    """Attention of one new token per row. query [rows, heads, 1, width], key and value [rows, key heads, 1, width]."""
    import torch

    refuse_others(module, others)
    assert rows is not None
    keys, values = rows.cache.layers[module.layer_idx]
    n, heads, _, width = query.shape
    every = torch.arange(n, device=query.device)
    keys[every, :, rows.places] = key[:, :, 0]
    values[every, :, rows.places] = value[:, :, 0]
    room = rows.visible.shape[-1]
    # The query heads that share a key head are as many queries of it.
    states = torch.nn.functional.scaled_dot_product_attention(
        query.view(n, key.shape[1], -1, width),
        keys[:n, :, :room],
        values[:n, :, :room],
        attn_mask=rows.visible,
        scale=scaling,
    )
    return states.reshape(n, 1, heads, -1), None
