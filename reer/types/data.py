"""Pairs, thinking, and what work costs.

Texts are `str`; token counts are in tokens of the model named beside them.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Role = Literal["system", "user", "assistant"]
Operation = Literal["rewrite", "delete", "merge"]


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a chat."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One pair: a query x and a known good answer y."""

    id: str
    query: str
    """The last user turn."""
    answer: str
    history: tuple[Message, ...] = ()
    """Turns before the query: a system turn, earlier exchanges."""
    language: str = "en"
    domain: str = ""
    source: str = ""
    licence: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Trajectory:
    """The thinking z as contiguous segments: `text` is their plain concatenation, nothing is lost."""

    segments: tuple[str, ...]

    @property
    def text(self) -> str:
        return "".join(self.segments)

    def edited(self, operation: Operation, index: int, text: str) -> "Trajectory":
        """The trajectory after one operation: `text` stands where the segment (of a merge: it and the next) stood."""
        before, after = self.segments[:index], self.segments[index + (2 if operation == "merge" else 1) :]
        if operation != "delete":
            return Trajectory((*before, text, *after))
        if before and not after:  # no white space is left hanging at the new end
            before = (*before[:-1], before[-1].rstrip())
        return Trajectory(before + after)


@dataclass(frozen=True, slots=True)
class Score:
    """Mean negative log-likelihood of an answer span."""

    nll: float
    """Mean over the span, in nats per token."""
    tokens: int
    """Tokens in the span."""
    objective: float | None = None
    """What a search minimises, where that is not `nll`: lower is better, in the unit of its kind."""
    parts: tuple[float, ...] = ()
    """NLL of each part of the span that was asked for, in nats, summed over its tokens."""

    @property
    def value(self) -> float:
        """The number that decides."""
        return self.nll if self.objective is None else self.objective

    @property
    def ppl(self) -> float:
        return math.exp(self.nll)


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a piece of work cost; adds up with `+`."""

    calls: int = 0
    """Requests sent to a model (a request for K samples is one)."""
    generated_tokens: int = 0
    prefilled_tokens: int = 0
    """Prompt tokens run through the generator."""
    scored_tokens: int = 0
    """Tokens run through the scorer."""
    reused_tokens: int = 0
    """Tokens of the input that came from cached keys and values instead: the scorer's, or a server's prompt cache."""
    draft_tokens: int = 0
    """Tokens run through the draft; what it reused is not told."""
    draft_counted: int = 0
    """The same in tokens of the scorer: times the draft's parameters over the scorer's, where both are known."""
    seconds: float = 0.0
    """Time of the model; that of a batch is shared among its requests."""

    @property
    def forward_tokens(self) -> int:
        """Tokens run through a model: generated, prefilled and scored, and the draft's in tokens of the scorer."""
        return self.generated_tokens + self.prefilled_tokens + self.scored_tokens + self.draft_counted

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(**{name: getattr(self, name) + getattr(other, name) for name in self.__slots__})
