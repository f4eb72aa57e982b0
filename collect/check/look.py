"""One look at the words of rows: which filter refuses them, what they hold that they may not, and their signatures."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from reer.types import Example

from .grams import Hashes, hashes_of, shingles

Hit = TypeVar("Hit")


@dataclass(frozen=True, slots=True)
class Verdict(Generic[Hit]):
    """Both None: the row goes on."""

    refused: str | None = None
    """The filter that refuses it."""
    hit: Hit | None = None
    """What it holds that it may not."""


@dataclass(frozen=True, slots=True)
class Look(Generic[Hit]):
    """Callables that can be sent to another process."""

    refused: Callable[[Example], str | None]
    find: Callable[[Hashes], Hit | None]
    sign: Callable[[Sequence[Hashes]], NDArray[np.uint64]]
    """Signatures of sets of runs."""
    signs: bool
    """Whether anybody wants them."""

    def __call__(self, rows: Sequence[Example]) -> tuple[list[Verdict[Hit]], NDArray[np.uint64]]:
        """A verdict on each row, and the signatures of those that go on, in order."""
        verdicts, sets = [], []
        for row in rows:
            verdict: Verdict[Hit] = Verdict(self.refused(row))
            if verdict.refused is None:
                query, answer = hashes_of(row.query), hashes_of(row.answer)
                verdict = Verdict(hit=self.find(query) or self.find(answer))
                if verdict.hit is None and self.signs:
                    sets.append(shingles(np.concatenate([query, answer])))
            verdicts.append(verdict)
        return verdicts, self.sign(sets)


def bare(row: Example) -> Example:
    """The row with no more than the filters look at: what else it brought may be no thing to send."""
    return replace(row, history=(), extra={"score": row.extra["score"]} if "score" in row.extra else {})
