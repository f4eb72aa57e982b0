"""Which rows of many are taken: halves by length, a cap, general rows by ratio. All by seed and id, not by order.

Works on marks of a few bytes; knows no texts.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import NamedTuple

from .rules import Rules


class Mark(NamedTuple):
    """What a draw knows of a row."""

    rank: int
    """By seed and id: of n rows those of the lowest ranks are drawn, so a larger n keeps the smaller one's."""
    position: int
    """Among the rows of its file."""
    length: int
    language: str


@dataclass(slots=True)
class Drawn:
    """Positions of the rows that are taken, and why others are not."""

    trajectories: set[int] = field(default_factory=set)
    general: set[int] = field(default_factory=set)
    reasons: dict[int, str] = field(default_factory=dict)
    """Of trajectories that were there, by position."""
    wanted: int | None = None
    """General rows that the ratio asks for; None: all."""


def draw(trajectories: Sequence[Mark], general: Sequence[Mark], rules: Rules) -> Drawn:
    """Take of what is there."""
    mix, drawn = rules.mix, Drawn()
    own = _half(trajectories, mix.length, drawn) if mix.length else list(trajectories)
    ratio = mix.general.ratio
    if rules.has_general and ratio is None:
        return _together(own, general, mix.rows, drawn)
    share = 1 + (ratio or 0.0)
    kept = own if mix.rows is None else _lowest(own, max(1, round(mix.rows / share)))
    _say(own, kept, "more than mix.rows", drawn)
    drawn.trajectories = {mark.position for mark in kept}
    if rules.has_general:
        drawn.wanted = round((ratio or 0.0) * len(kept))
        room = drawn.wanted if mix.rows is None else min(drawn.wanted, mix.rows - len(kept))
        drawn.general = {mark.position for mark in _lowest(general, room)}
    return drawn


def _together(own: list[Mark], general: Sequence[Mark], rows: int | None, drawn: Drawn) -> Drawn:
    """Without a ratio: all that there is, or a sample of both as if they were one file."""
    both = [(mark, True) for mark in own] + [(mark, False) for mark in general]
    if rows is not None:
        both = sorted(both)[:rows]
    drawn.trajectories = {mark.position for mark, is_own in both if is_own}
    drawn.general = {mark.position for mark, is_own in both if not is_own}
    _say(own, [mark for mark, is_own in both if is_own], "more than mix.rows", drawn)
    return drawn


def _half(marks: Sequence[Mark], length: str, drawn: Drawn) -> list[Mark]:
    """Those above or below the median length of their language, as many as there are on the scarcer side."""
    by_language: dict[str, list[Mark]] = defaultdict(list)
    for mark in marks:
        by_language[mark.language].append(mark)
    kept: list[Mark] = []
    for there in by_language.values():
        middle = median(mark.length for mark in there)
        sides = {
            "long": [mark for mark in there if mark.length > middle],
            "short": [mark for mark in there if mark.length < middle],
        }
        chosen = _lowest(sides[length], min(map(len, sides.values())))
        _say(there, sides[length], f"its thinking is not {length} (mix.length)", drawn)
        _say(sides[length], chosen, "more than the other half has (mix.length)", drawn)
        kept += chosen
    return kept


def _lowest(marks: Sequence[Mark], count: int) -> list[Mark]:
    return sorted(marks)[:count]


def _say(there: Sequence[Mark], kept: Sequence[Mark], reason: str, drawn: Drawn) -> None:
    gone = {mark.position for mark in there} - {mark.position for mark in kept}
    drawn.reasons |= dict.fromkeys(gone, reason)
