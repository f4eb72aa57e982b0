"""What the kept trajectories of a run are worth on average, with what is missing counted beside every mean."""

from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from reer.method.worth.facts import KINDS
from reer.method.worth.lexical import FORMULA

MEASURES = ("a_prob", "a_lex", "gain_over_blind", "decorative")


@dataclass(slots=True)
class Means:
    """Added up trajectory by trajectory, eight bytes each."""

    trajectories: int = 0
    values: dict[str, "array[float]"] = field(default_factory=lambda: {key: array("d") for key in MEASURES})
    blind: Counter[str] = field(default_factory=Counter)
    """Blind thinkings by what became of them: scored, or the reason why not."""
    segments: dict[str, Counter[str]] = field(default_factory=lambda: {kind: Counter() for kind in KINDS})

    def add(self, worth: Mapping[str, Any]) -> None:
        """The object `worth` of a kept trajectory."""
        self.trajectories += 1
        found = worth["decorative"] or {}
        for key, value in {**worth, "decorative": found.get("share")}.items():
            if key in self.values and value is not None:
                self.values[key].append(value)
        self.blind.update((c["rejected"] or "scored").partition(":")[0] for c in worth["blind"])
        for kind, counts in self.segments.items():
            counts.update(found.get(kind, {}))

    def summary(self) -> dict[str, Any]:
        """The object `worth` of summary.json."""
        means = {key: self._mean(values) for key, values in self.values.items()}
        means["a_lex"]["formula"] = FORMULA
        means["gain_over_blind"]["draws"] = dict(sorted(self.blind.items()))
        for kind, counts in self.segments.items():
            means["decorative"][kind] = {key: counts[key] for key in ("segments", "decorative")}
        return means

    def _mean(self, values: Sequence[float]) -> dict[str, Any]:
        missing = self.trajectories - len(values)
        return {"mean": fmean(values) if values else None, "n": len(values), "missing": missing}
