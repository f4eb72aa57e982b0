"""Token ids as runs that continue each other, with the keys and values of those that may be continued."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

Ids = tuple[int, ...]


@dataclass(slots=True, eq=False)
class Run:
    """New token ids at the end of a path; where they may be continued, with their keys and values."""

    ids: Ids
    path: "Path"
    """What stands before them."""
    continued: bool
    row: int | None = None
    """Position in the sequence of its first token whose hidden state is wanted; None: of none."""
    owner: int = 0
    """Which of the sequences it belongs to."""
    at: int = 0
    """Where it lies in the forward that computes it."""
    layers: list[tuple["Tensor", "Tensor"]] = field(default_factory=list)
    """Keys and values [heads, tokens, width] by layer."""

    def then(self) -> "Path":
        """The sequence up to its end."""
        return Path((*self.path.pieces, (self, len(self.ids))))

    def hold(self, key: "Tensor", value: "Tensor", layer: int, layers: int) -> None:
        """Copy a layer's keys and values. One piece of memory holds all layers: many small ones that stay, made
        between large ones that go, would keep the memory of the large ones from being given back."""
        if not self.layers:
            parts = (part.new_empty(layers, *part.shape) for part in (key, value))
            self.layers = list(zip(*parts, strict=True))
        for held, part in zip(self.layers[layer], (key, value), strict=True):
            held.copy_(part)


@dataclass(frozen=True, slots=True)
class Path:
    """The beginning of a sequence as pieces of runs: (run, how many of its tokens)."""

    pieces: tuple[tuple[Run, int], ...] = ()

    def __len__(self) -> int:
        return sum(length for _, length in self.pieces)

    def cut(self, length: int) -> "Path":
        """Its first `length` tokens."""
        pieces: list[tuple[Run, int]] = []
        for run, tokens in self.pieces:
            if length > 0:
                pieces.append((run, min(tokens, length)))
            length -= tokens
        return Path(tuple(pieces))
