"""The nouns of judging, and the protocol of a judge. The others are those of `reer.types`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from reer.types import Usage


@dataclass(frozen=True, slots=True)
class Anchor:
    """What an answer looks like that belongs on one level of a scale, or on a band of levels."""

    low: float
    high: float
    text: str

    @property
    def label(self) -> str:
        return f"{self.low:g}" if self.low == self.high else f"{self.low:g}-{self.high:g}"

    @property
    def middle(self) -> float:
        return (self.low + self.high) / 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Criterion:
    """One dimension of a rubric."""

    name: str
    title: str
    question: str
    """What is asked of the judge."""
    scale: tuple[float, ...]
    """The scores that may be given, ascending."""
    anchors: tuple[Anchor, ...]
    """Behavioural anchors, ascending; together they cover the scale."""
    weight: float = 1.0
    may_not_apply: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Rubric:
    """What a judge is asked about one answer, and how its scores become one."""

    name: str
    version: str
    """Hash of every text a judge reads besides query and answer, so that verdicts of different wordings never mix."""
    criteria: tuple[Criterion, ...]
    guidance: str = ""
    """What a judge should bear in mind."""
    one_call: bool = True
    """Whether one call covers all criteria, or one call each."""
    factor: float = 1.0
    offset: float = 0.0
    """Of an answer: factor * (weighted mean of its scores) + offset."""

    def points(self, score: float) -> float:
        """A score of a criterion on the scale of the answer's score."""
        return self.factor * score + self.offset


JudgeStatus = Literal["ok", "parse_failed", "refused", "truncated", "api_error"]


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeRequest:
    """One answer to be judged once, by the given criteria of its rubric."""

    id: str
    query: str
    answer: str
    rubric: Rubric
    criteria: tuple[Criterion, ...]
    repeat: int = 0
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One attempt of a judge. Scores exist only when `status` is ok; None means: does not apply."""

    status: JudgeStatus
    scores: Mapping[str, float | None] = field(default_factory=dict)
    reasons: Mapping[str, str] = field(default_factory=dict)
    usage: Usage = Usage()
    cached: bool = False
    """Remembered from an earlier run: no call was made."""
    detail: str = ""
    """Why there is no score, in words."""
    served_model: str | None = None
    """See `Response`; None of a remembered reply."""


class Judge(Protocol):
    @property
    def name(self) -> str: ...

    async def judge(self, request: JudgeRequest) -> Verdict:
        """The verdict on one answer. A failed call is a verdict with its status, never an exception or a score.

        Raises:
            UserError: this judge can never give one (a server without JSON mode, say).
        """
