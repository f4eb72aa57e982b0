"""Which segment a search visits next, and which candidate it takes. Pure functions of what has happened so far.

The paper visits segments from left to right once and takes the candidate with the lowest NLL. The other orders are
ours; `accept=random` is a control that ignores the score.
"""

import random
from collections.abc import Callable, Sequence

from reer.errors import ConfigError
from reer.manifest import seed_of
from reer.types import Attribution, Candidate

Order = Callable[[int, int, Attribution | None], list[int]]
"""(number of segments, seed of the sweep, attribution of the sweep) -> every segment once."""


def _forward(n: int, seed: int, attribution: Attribution | None) -> list[int]:
    return list(range(n))


def _backward(n: int, seed: int, attribution: Attribution | None) -> list[int]:
    return list(range(n))[::-1]


def _random(n: int, seed: int, attribution: Attribution | None) -> list[int]:
    return random.Random(seed).sample(range(n), n)


def _attribution(n: int, seed: int, attribution: Attribution | None) -> list[int]:
    """The segment whose removal changes the NLL of y most comes first; one that could not be scored comes last."""
    assert attribution is not None
    return sorted(range(n), key=lambda index: -(attribution.changes[index] or 0.0))


ORDERS: dict[str, Order] = {
    "forward": _forward,
    "backward": _backward,
    "random": _random,
    "attribution": _attribution,
}


def check(order: str, accept: str) -> None:
    """Raises: ConfigError: an unknown order or acceptance."""
    if order not in ORDERS:
        raise ConfigError(f"search.order={order} is unknown: choose one of {', '.join(ORDERS)}")
    if accept not in ("lower", "random"):
        raise ConfigError(f"search.accept={accept} is unknown: choose lower or random")


def segment_at(order: str, step: int, n: int, seed: int, example: str, attributions: Sequence[Attribution]) -> int:
    """The segment that step number `step` (from 0) visits; every sweep visits each of the `n` segments once."""
    sweep, place = divmod(step, n)
    attribution = attributions[sweep] if order == "attribution" else None
    return ORDERS[order](n, seed_of(seed, example, "order", sweep), attribution)[place]


def best(candidates: Sequence[Candidate]) -> int | None:
    """Index of the lowest NLL; the earlier one of equals."""
    scored = [(candidate.nll, n) for n, candidate in enumerate(candidates) if candidate.nll is not None]
    return min(scored)[1] if scored else None


def lower(candidates: Sequence[Candidate], nll: float, min_gain: float) -> int | None:
    """The best candidate, if it lowers the NLL by more than `min_gain`; None keeps the original."""
    index = best(candidates)
    if index is None:
        return None
    found = candidates[index].nll
    return index if found is not None and found < nll - min_gain else None


def anyone(candidates: Sequence[Candidate], seed: int) -> int | None:
    """One of the original and the scored candidates, each with the same chance."""
    usable = [n for n, candidate in enumerate(candidates) if candidate.nll is not None]
    return random.Random(seed).choice([None, *usable])
