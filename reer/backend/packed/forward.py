"""Many sequences through one forward without padding, each common beginning once: exact, on CPU and CUDA.

Sequences become runs of token ids. A run continues a path of earlier runs (of this forward, of one before, or kept
from an earlier call) and attends to them and to itself. Everything but attention sees one long sequence; attention
goes run by run, so nothing is padded and nothing masked is computed. Plugged into transformers as an attention
implementation of its own, which gets the runs as a keyword of the forward.

Knows token ids, keys and values; knows nothing of scores or texts.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count, pairwise
from typing import TYPE_CHECKING

from reer.backend.packed.attention import NAME, attend_runs, attention, register
from reer.backend.packed.runs import Ids, Path, Run

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

AHEAD = 256
"""Tokens kept past what a sequence shares: the edited segment, with which the next step's sequences will begin."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A sequence whose hidden states are wanted, from position `first` on."""

    ids: Ids
    first: int
    whole: bool = False
    """Whether it will be continued, so that all its keys and values are needed."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Hidden states [tokens, width] of one sequence from a position on."""

    owner: int
    first: int
    states: "Tensor"
    path: Path
    """The sequence up to the last of them."""


class Kept:
    """Beginnings of sequences whose keys and values stay for later calls; the least recently used go first."""

    def __init__(self, limit: int) -> None:
        """`limit` in tokens."""
        self.limit = limit
        self._sorted: list[Ids] = []
        self._paths: dict[Ids, Path] = {}
        self._used: dict[Ids, int] = {}
        self._clock = count()

    def longest(self, ids: Ids) -> Path:
        """The longest beginning of `ids` that is held; in sorted order it is a neighbour's."""
        at = bisect_left(self._sorted, ids)
        lengths = [(common(ids, near), near) for near in self._sorted[max(0, at - 1) : at + 1]]
        length, best = max(lengths, default=(0, ()))
        if not length:
            return Path()
        self._used[best] = next(self._clock)
        return self._paths[best].cut(length)

    def add(self, ids: Ids, path: Path) -> None:
        if ids not in self._paths:
            self._sorted.insert(bisect_left(self._sorted, ids), ids)
        self._paths[ids] = path
        self._used[ids] = next(self._clock)

    def trim(self) -> None:
        """Drop what exceeds the limit."""
        while self._paths and self.tokens > self.limit:
            oldest = min(self._used, key=self._used.__getitem__)
            self._sorted.remove(oldest)
            del self._paths[oldest], self._used[oldest]

    def clear(self) -> None:
        self._sorted.clear()
        self._paths.clear()
        self._used.clear()

    @property
    def tokens(self) -> int:
        """Tokens held; a run that several paths share counts once."""
        return sum({id(run): len(run.ids) for path in self._paths.values() for run, _ in path.pieces}.values())


class PackedForward:
    """The body of a causal language model, run over many sequences at once."""

    def __init__(self, model: "PreTrainedModel", budget: int, kept_tokens: int) -> None:
        """`budget`: new tokens of one forward; `kept_tokens`: tokens whose keys and values stay for later calls."""
        register(NAME, attend_runs)
        self.model = model
        self.budget = budget
        self.kept = Kept(kept_tokens)
        self.reused: list[int] = []
        """Of the latest call, by sequence: tokens that were not computed anew."""

    def hidden(self, wanted: Sequence[Wanted]) -> Iterator[list[Rows]]:
        """The wanted hidden states, forward by forward. Sequences that begin alike should be neighbours."""
        self.reused = []
        for batch in self._batches(self._plan(wanted)):
            states = self._forward(batch)
            yield [
                Rows(run.owner, run.row, states[run.at : run.at + len(run.ids)][run.row - len(run.path) :], run.then())
                for run in batch
                if run.row is not None
            ]
            self.kept.trim()

    def _plan(self, wanted: Sequence[Wanted]) -> Iterator[Run]:
        """Every sequence as runs that continue what it shares with its neighbour or with what is kept."""
        before: Ids = ()
        path_before = Path()
        for n, (ids, first, whole) in enumerate((w.ids, w.first, w.whole) for w in wanted):
            path = self.kept.longest(ids[:first])
            if (shared := common(ids[:first], before)) > len(path):
                path = path_before.cut(shared)
            self.reused.append(len(path))
            following = wanted[n + 1].ids if n + 1 < len(wanted) else ()
            keep = min(first, max(common(ids, following), len(path) + AHEAD))
            bounds = [len(path), max(keep, len(path)), len(ids)]
            yield from (runs := self._runs(n, ids, first, bounds, path, whole))
            before = ids[:keep]
            path_before = path if not runs else runs[-1].then().cut(keep)
            self.kept.add(before, path_before)

    def _runs(self, owner: int, ids: Ids, first: int, bounds: Sequence[int], path: Path, whole: bool) -> list[Run]:
        """Runs between the bounds (reused | kept | the rest), none longer than the budget.

        What is wanted begins inside a run: only what is continued has to hold its keys and values.
        """
        runs: list[Run] = []
        for begin, end in pairwise(bounds):
            for at in range(begin, end, self.budget):
                piece = ids[at : min(end, at + self.budget)]
                after = at + len(piece)
                row = max(at, first) if after > first else None
                runs.append(Run(piece, path, continued=whole or after < bounds[-1], row=row, owner=owner))
                path = runs[-1].then()
        return runs

    def _batches(self, runs: Iterable[Run]) -> Iterator[list[Run]]:
        batch: list[Run] = []
        size = 0
        for run in runs:
            if batch and size + len(run.ids) > self.budget:
                yield batch
                batch, size = [], 0
            run.at = size
            batch.append(run)
            size += len(run.ids)
        if batch:
            yield batch

    def _forward(self, batch: Sequence[Run]) -> "Tensor":
        """Hidden states [tokens, width] of the runs, one after the other."""
        import torch

        device = self.model.device
        ids = torch.tensor([[token for run in batch for token in run.ids]], device=device)
        places = torch.cat([torch.arange(len(run.path), len(run.path) + len(run.ids)) for run in batch])
        body = self.model.base_model
        with attention(body, NAME), torch.inference_mode():
            output = body(input_ids=ids, position_ids=places[None].to(device), use_cache=False, packed=batch)
        return output.last_hidden_state[0]


def common(a: Sequence[int], b: Sequence[int]) -> int:
    """Length of the common beginning."""
    return next((n for n, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
