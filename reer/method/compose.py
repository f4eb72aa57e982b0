"""Drafts put together: of each place the piece after which its passage of the answer was likeliest.

Prompts that draw a thinking passage by passage (`{part}`) give every draft a piece for each passage of the answer.
What a piece is worth shows most in its own passage, so one forward over a whole draft judges all of its pieces at
once, where a rewrite costs a forward for one. The credit is an estimate: a passage's likelihood depends on the pieces
before it, too. So what is put together is scored like any draft, and wins only by its own score.

Knows texts and numbers; knows nothing of models.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from itertools import accumulate
from statistics import fmean

from reer.method.propose import Proposal
from reer.types import Score


class Pool:
    """The drafts of one pair, and how likely each makes each passage of the answer."""

    def __init__(self, passages: Sequence[str], count: Callable[[str], int]) -> None:
        """`passages`: the answer, cut as its drafts were shown it; `count`: tokens of a text."""
        self.cuts = tuple(count(before) for before in accumulate(passages[:-1]))
        """Where passages begin, in tokens of the answer; a token that spans two may be counted to either."""
        self.scores: dict[str, Score] = {}
        """Of every draft that was scored, by its text."""
        self._drafts: dict[str, Proposal] = {}

    def add(self, drafts: Sequence[Proposal]) -> None:
        self._drafts |= {draft.text: draft for draft in drafts if draft.pieces}

    def holds(self, text: str) -> bool:
        """Whether this text is one of the drafts."""
        return text in self._drafts

    def likeliest(self) -> tuple[str, ...]:
        """Of each place the piece whose passage has the lowest NLL, in the mean of the scored drafts that hold it;
        empty where no draft has one."""
        places: list[dict[str, list[float]]] = [defaultdict(list) for _ in range(len(self.cuts) + 1)]
        for text, score in self.scores.items():
            for place, piece, nats in zip(places, self._drafts[text].pieces, score.parts, strict=True):
                if piece:
                    place[piece].append(nats)
        return tuple(min(nats, key=lambda piece: fmean(nats[piece]), default="") for nats in places)
