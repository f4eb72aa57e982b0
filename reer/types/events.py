"""The events of a search, in the order they happen, and those of collecting: a run is their sum.

The ledger keeps them. NLLs are in nats per answer token.
"""

from dataclasses import dataclass
from typing import Literal

from .data import Operation, Usage

Whole = Literal["audit", "too_long", "not_taken", "failed"]
"""Why a search with a draft scored all that was proposed (docs/files.md)."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One proposal and what became of it: it has a score, or the reason why it was never scored."""

    text: str
    nll: float | None
    rejected: str | None = None
    objective: float | None = None
    """What the search minimises, where that is not `nll`."""
    draft: float | None = None
    """The same number by the draft, where one was asked. It ranks and never decides."""

    @property
    def value(self) -> float | None:
        """The number that decides."""
        return self.nll if self.objective is None else self.objective


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """Event 1 of a search: the answer without any thinking."""

    nll: float
    answer_tokens: int
    objective: float | None = None
    """As of `Score`; None also in runs from before it was kept."""
    usage: Usage


@dataclass(frozen=True, slots=True)
class Start:
    """A first trajectory that is refined beside the best one."""

    kept: int
    """Its index among the candidates."""
    segments: tuple[str, ...]
    nll: float
    objective: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class First:
    """Event 2 of a search: the first trajectories drawn, and the one the sweep starts from."""

    candidates: tuple[Candidate, ...]
    kept: int
    segments: tuple[str, ...]
    nll: float
    objective: float | None = None
    others: tuple[Start, ...] = ()
    """With several starts: the second best, the third ..."""
    whole: Whole | None = None
    usage: Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One refinement: candidates for one segment, and which of them was kept (None: the original)."""

    sweep: int = 0
    segment: int
    operation: Operation
    before: str
    candidates: tuple[Candidate, ...]
    kept: int | None
    nll: float
    """Of the whole answer after this step."""
    objective: float | None = None
    start: int = 0
    """Which first trajectory it refines; 0 is the best."""
    whole: Whole | None = None
    usage: Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribution:
    """Before a sweep ordered by it: how much the NLL of y changes when each segment is taken out."""

    sweep: int = 0
    changes: tuple[float | None, ...]
    """Absolute change in nats per answer token; None where it could not be scored."""
    start: int = 0
    usage: Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class Worth:
    """The last event of a search, where it is asked for: what was measured of the final trajectory."""

    blind: tuple[Candidate, ...] = ()
    """Whole trajectories by somebody who has not seen y."""
    removals: tuple[float | None, ...] | None = None
    """NLL of y without each final segment minus with it, in nats per answer token; None where it could not be
    scored, or as a whole where it was not asked for."""
    usage: Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One draw of a query for a passage that has none, and what its checks said."""

    text: str
    rejected: str | None = None
    """Name of the check that refused it."""
    fit: int | None = None
    """How well the passage answers it, 1 to 5; None where nobody was asked."""
    usage: Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class Weighed:
    """A passage under its own query and under another passage's."""

    other: str
    """That one's query."""
    nll: float
    """Under its own, in nats per token."""
    nll_other: float
    usage: Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class Tagged:
    """The category of a pair, by a model."""

    domain: str
    """Empty: its reply named none."""
    reply: str = ""
    """The beginning of a reply that named none; empty where one did, and of rows that a former version asked about."""
    usage: Usage


Event = Baseline | First | Attribution | Step | Worth | Asked | Weighed | Tagged
