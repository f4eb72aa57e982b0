"""What a search tries next, which candidate it takes, what it makes of its drafts, and when it has done enough.

The paper visits segments from left to right once and takes the candidate with the lowest NLL. The other orders are
ours; `accept=random` is a control that ignores the score.
"""

import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from itertools import accumulate
from statistics import fmean
from typing import get_args

from reer.config import SearchConfig
from reer.errors import ConfigError
from reer.method.objective import UNITS
from reer.method.propose import Proposal
from reer.method.state import Starts, State
from reer.text import seed_of
from reer.types import Attribution, Candidate, Operation, Score, Usage

Order = Callable[[int, int, Attribution | None], list[int]]
"""(number of segments, seed of the sweep, attribution of the sweep) -> the place of every segment, once."""


def _forward(n: int, seed: int, attribution: Attribution | None) -> list[int]:
    return list(range(n))


def _backward(n: int, seed: int, attribution: Attribution | None) -> list[int]:
    return list(range(n))[::-1]


def _random(n: int, seed: int, attribution: Attribution | None) -> list[int]:
    return random.Random(seed).sample(range(n), n)


def _attribution(n: int, seed: int, attribution: Attribution | None) -> list[int]:
    """The segment whose removal changes the objective most comes first; one that could not be scored comes last."""
    assert attribution is not None
    return sorted(range(n), key=lambda index: -(attribution.changes[index] or 0.0))


ORDERS: dict[str, Order] = {
    "forward": _forward,
    "backward": _backward,
    "random": _random,
    "attribution": _attribution,
}
EDITS: tuple[Operation, ...] = ("delete", "merge")


def check(settings: SearchConfig) -> None:
    """Raises: ConfigError: an unknown order, acceptance, start, objective or edit."""
    known: list[tuple[str, str, Sequence[str]]] = [
        ("order", settings.order, tuple(ORDERS)),
        ("accept", settings.accept, ("lower", "random")),
        ("start", settings.start, ("direct", "skeleton", "blind")),
        ("objective.kind", settings.objective.kind, tuple(UNITS)),
        *(("edits", edit, EDITS) for edit in settings.edits),
    ]
    for key, value, choices in known:
        if value not in choices:
            raise ConfigError(f"search.{key}={value} is unknown: choose one of {', '.join(choices)}")


def finished(state: State, settings: SearchConfig) -> bool:
    """Whether the search is good enough, has had all its visits, has stopped getting better, or is out of budget."""
    return (
        _good_enough(state, settings)
        or state.count >= settings.max_steps
        or (settings.patience is not None and state.rejections_in_a_row >= settings.patience)
        or (state.sweep + 1 >= settings.sweeps and not open_visits(state, settings))
        or is_spent(state.usage, _pieces(state, settings), settings)
    )


def attributes_next(state: State, settings: SearchConfig) -> bool:
    """Whether the next event tells what each segment of the coming sweep adds."""
    if settings.order != "attribution":
        return False
    return len(state.attributions) <= state.sweep + (not open_visits(state, settings))


def _pieces(state: State, settings: SearchConfig) -> list[Usage]:
    """What work like the next piece has cost; a first attribution, a score like the baseline's for each segment."""
    if not attributes_next(state, settings):
        return [step.usage for step in state.steps]
    known = [event.usage for event in state.attributions[-1:]]
    return known or [sum([state.baseline.usage] * len(state.ids), Usage())] if state.baseline else []


def _good_enough(state: State, settings: SearchConfig) -> bool:
    gain, wanted = state.relative_gain, settings.relative_threshold
    return state.value < settings.threshold or (wanted is not None and gain is not None and gain >= wanted)


def next_start(starts: Starts, settings: SearchConfig) -> State | None:
    """Whose turn it is: of the starts in the running, the one with the fewest steps; None: the search is done."""
    if _good_enough(starts.best, settings):
        return None
    able = [starts.states[n] for n in starts.alive if not finished(starts.states[n], settings)]
    return min(able, key=lambda state: len(state.steps), default=None)


def asks_worth(settings: SearchConfig) -> bool:
    """Whether final trajectories are to be measured."""
    return settings.worth.blind > 0 or settings.worth.decorative is not None


def audits(state: State, settings: SearchConfig, seed: int, example_id: str) -> bool:
    """Whether the rewrite that follows is scored whole whatever a draft says of it.

    It is every n-th of an example, and chance says which is the first, so that early steps and short searches have
    their share.
    """
    if settings.audit is None:
        return False
    rewrites = sum(step.operation == "rewrite" for step in state.every_step)
    return (rewrites + seed_of(seed, example_id, "audit")) % settings.audit == 0


def is_spent(spent: Usage, pieces: Sequence[Usage], settings: SearchConfig) -> bool:
    """Whether a budget ends nearer to here than to the end of one more piece of work (a step, a round of draws)."""

    def reached(limit: float | None, unit: str) -> bool:
        ahead = fmean(getattr(piece, unit) for piece in pieces) / 2 if pieces else 0
        return limit is not None and getattr(spent, unit) + ahead >= limit

    return reached(settings.max_tokens, "forward_tokens") or reached(settings.max_seconds, "seconds")


def open_visits(state: State, settings: SearchConfig) -> list[tuple[int, Operation]]:
    """What is left to try in this sweep: (identity of the segment, operation), from left to right."""
    operations: list[Operation] = ["rewrite", *(edit for edit in get_args(Operation) if edit in settings.edits)]
    return [
        (identity, operation)
        for identity in state.roster
        for operation in operations
        if (identity, operation) not in state.visited and _possible(identity, operation, state)
    ]


def _possible(identity: int, operation: Operation, state: State) -> bool:
    if identity not in state.ids:
        return False
    if operation == "merge":  # what stands in one paragraph with the next is one already
        segment = state.trajectory.segments[state.ids.index(identity)]
        return identity != state.ids[-1] and "\n" in segment[len(segment.rstrip()) :]
    return operation != "delete" or len(state.ids) > 1


def next_visit(state: State, settings: SearchConfig, seed: int, example: str) -> tuple[int, Operation]:
    """The place of the segment to visit, and what to do there. There must be an open visit."""
    attribution = state.attributions[state.sweep] if settings.order == "attribution" else None
    order = ORDERS[settings.order](len(state.roster), seed_of(seed, example, "order", state.sweep), attribution)
    rank = {state.roster[place]: n for n, place in enumerate(order)}
    identity, operation = min(open_visits(state, settings), key=lambda visit: rank[visit[0]])
    return state.ids.index(identity), operation


def best(candidates: Sequence[Candidate]) -> int | None:
    """Index of the lowest value; the earlier one of equals."""
    scored = [(candidate.value, n) for n, candidate in enumerate(candidates) if candidate.value is not None]
    return min(scored)[1] if scored else None


def several(candidates: Sequence[Candidate], count: int) -> list[int]:
    """Indexes of the `count` lowest values, the lowest first; of equal texts the earlier one."""
    found: dict[str, int] = {}
    for _, n in sorted((candidate.value, n) for n, candidate in enumerate(candidates) if candidate.value is not None):
        found.setdefault(candidates[n].text, n)
    return list(found.values())[:count]


def lower(candidates: Sequence[Candidate], value: float, min_gain: float) -> int | None:
    """The best candidate, if it lowers the value by more than `min_gain`; None keeps the original."""
    index = best(candidates)
    if index is None:
        return None
    found = candidates[index].value
    return index if found is not None and found < value - min_gain else None


def anyone(candidates: Sequence[Candidate], seed: int) -> int | None:
    """One of the original and the scored candidates, each with the same chance."""
    usable = [n for n, candidate in enumerate(candidates) if candidate.nll is not None]
    return random.Random(seed).choice([None, *usable])


class Pool:
    """The drafts of one pair that were drawn passage by passage, and how likely each makes each passage of the answer.

    What a piece is worth shows most in its own passage, so one forward over a whole draft judges all of its pieces at
    once, where a rewrite costs a forward for one. That is an estimate, since a passage's likelihood depends on the
    pieces before it, too: what is put together is scored like any draft, and wins only by its own score.
    """

    def __init__(self, passages: Sequence[str], count: Callable[[str], int]) -> None:
        """`passages`: the answer, cut as its drafts were shown it; `count`: tokens of a text."""
        self.cuts = tuple(count(before) for before in accumulate(passages[:-1]))
        """Where passages begin, in tokens of the answer; a token that spans two may be counted to either."""
        self.scores: dict[str, Score] = {}
        """Of every draft that was scored, by its text."""
        self.asked: set[str] = set()
        """Texts that the scorer was given, whether or not it had a number for them."""
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
