"""What one final trajectory is worth, from its recorded scores and texts. NLLs are means in nats per answer token.

    A_prob = (NLL(y|x) - NLL(y|x,z)) / NLL(y|x), at least 0 and at most 1 (arXiv 2602.14469)
    gain over blind = mean over blind thinkings of NLL(y|x,z_blind), minus NLL(y|x,z)
    decorative: a segment whose removal changes the NLL by less than a given number of nats

Everything a model had to be asked for stands in the event `Worth`; the rest is arithmetic, done whenever the files are
written. Knows events; knows nothing of models or files.
"""

from collections.abc import Sequence
from dataclasses import asdict
from statistics import fmean
from typing import Any

from reer.method.guards.filters import explores
from reer.method.state import State
from reer.method.worth.lexical import Frequencies, a_lex
from reer.types import Candidate, Example

KINDS = ("reflecting", "plain")
"""Of segments: with a reflection marker ("wait", "maybe", 也许: those of the filter `exploring_end`), and without."""


def worth_of(example: Example, state: State, frequencies: Frequencies, epsilon: float | None) -> dict[str, Any]:
    """The object `worth` of a trajectory; null for what was not measured or has no value."""
    assert state.baseline is not None
    blind, removals = (state.worth.blind, state.worth.removals) if state.worth else ((), None)
    return {
        "a_prob": a_prob(state.baseline.nll, state.nll),
        "a_lex": a_lex(example, state.trajectory.text, frequencies),
        "gain_over_blind": gain_over(blind, state.nll),
        "blind": [_blind_row(candidate) for candidate in blind],
        "decorative": decorative(state.trajectory.segments, removals, epsilon),
    }


def a_prob(none: float, final: float) -> float:
    """Share of the answer's NLL that thinking takes away; of nothing, nothing is taken."""
    return min(1.0, max(0.0, (none - final) / none)) if none > 0 else 0.0


def gain_over(blind: Sequence[Candidate], final: float) -> float | None:
    """Nats by which y is likelier than after thinking that has not seen it; None where no such thinking was scored."""
    nlls = [candidate.nll for candidate in blind if candidate.nll is not None]
    return fmean(nlls) - final if nlls else None


def decorative(
    segments: Sequence[str], removals: Sequence[float | None] | None, epsilon: float | None
) -> dict[str, Any] | None:
    """How many segments add nothing, with and without reflection markers; None where that was not measured."""
    if removals is None or epsilon is None:
        return None
    counts = {kind: {"segments": 0, "decorative": 0} for kind in KINDS}
    for segment, change in zip(segments, removals, strict=True):
        if change is not None:
            kind = counts["reflecting" if explores(segment) else "plain"]
            kind["segments"] += 1
            kind["decorative"] += abs(change) < epsilon
    scored, idle = (sum(kind[key] for kind in counts.values()) for key in ("segments", "decorative"))
    share = idle / scored if scored else None
    return {"epsilon": epsilon, "share": share, **counts, "removals": list(removals)}


def _blind_row(candidate: Candidate) -> dict[str, Any]:
    return {key: value for key, value in asdict(candidate).items() if key in ("text", "nll", "rejected")}
