"""The nouns of the project and the protocols between its parts.

Knows nothing but the standard library: every other module may import this one.
Texts are `str`; token counts are in tokens of the model named beside them; NLL is in nats per answer token.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

FORMAT_VERSION = 1

FinishReason = Literal["stop", "length"]
Role = Literal["system", "user", "assistant"]
Operation = Literal["rewrite", "delete", "merge"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One pair: a query x and a known good answer y."""

    id: str
    query: str
    """The last user turn."""
    answer: str
    history: "tuple[Message, ...]" = ()
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
    """What a search minimises, in nats per token, where that is not `nll`."""

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
    seconds: float = 0.0
    """Time of the model; that of a batch is shared among its requests."""

    @property
    def forward_tokens(self) -> int:
        """Tokens run through a model: generated, prefilled and scored."""
        return self.generated_tokens + self.prefilled_tokens + self.scored_tokens

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            calls=self.calls + other.calls,
            generated_tokens=self.generated_tokens + other.generated_tokens,
            prefilled_tokens=self.prefilled_tokens + other.prefilled_tokens,
            scored_tokens=self.scored_tokens + other.scored_tokens,
            reused_tokens=self.reused_tokens + other.reused_tokens,
            seconds=self.seconds + other.seconds,
        )


@dataclass(frozen=True, slots=True)
class Candidate:
    """One proposal and what became of it: it has a score, or the reason why it was never scored."""

    text: str
    nll: float | None
    rejected: str | None = None
    objective: float | None = None
    """What the search minimises, where that is not `nll`."""

    @property
    def value(self) -> float | None:
        """The number that decides."""
        return self.nll if self.objective is None else self.objective


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """Event 1 of a search: the answer without any thinking."""

    nll: float
    answer_tokens: int
    usage: Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class First:
    """Event 2 of a search: the first trajectories drawn, and the one the sweep starts from."""

    candidates: tuple[Candidate, ...]
    kept: int
    segments: tuple[str, ...]
    nll: float
    objective: float | None = None
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
    usage: Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribution:
    """Before a sweep ordered by it: how much the NLL of y changes when each segment is taken out."""

    sweep: int = 0
    changes: tuple[float | None, ...]
    """Absolute change in nats per answer token; None where it could not be scored."""
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


Event = Baseline | First | Attribution | Step | Worth


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a chat."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateRequest:
    """Draw one sample per seed from a chat prompt."""

    messages: tuple[Message, ...]
    seeds: tuple[int, ...]
    max_tokens: int
    temperature: float = 1.0
    """0 takes the most likely token at every position."""
    top_p: float = 1.0
    stop: tuple[str, ...] = ()
    """The text ends before the first of these."""
    prefill: str = ""
    """Beginning of the assistant's turn; not repeated in the response."""
    schema: Mapping[str, Any] | None = None
    """JSON schema the reply must follow (servers that support it)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """One sample."""

    text: str
    finish_reason: FinishReason
    usage: Usage = Usage()
    served_model: str | None = None
    """What the server calls the model that wrote it: behind an alias stands one of a certain date."""
    whole: bool = False
    """It is not the prefill's continuation but a turn of its own: this server can only be asked for it in words."""
    faults: tuple[str, ...] = ()
    """Draws of this sample that failed before: the kind of each and, after a colon, the server's words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """A draw without a text: an odd reply, a refusal. It is no sample; the next draw may be one."""

    faults: tuple[str, ...]
    """As of `Response`; the last one is why there is none."""
    usage: Usage = Usage()

    @property
    def kind(self) -> str:
        return self.reason.partition(":")[0]

    @property
    def reason(self) -> str:
        return self.faults[-1]


FAULTS = ("no_message", "no_json", "no_text", "error_reply", "broken_off", "refused")
"""Kinds of failed draws: a reply without a message, no JSON at all, a message without a text, an error told as a
success, a text that the server broke off, and a refusal by the model or by a filter."""


@dataclass(frozen=True, slots=True)
class ScoreRequest:
    """Score `ids[start:]` given `ids[:start]`, up to `end` (exclusive)."""

    ids: tuple[int, ...]
    start: int
    end: int
    skip: int = 0
    """The objective leaves out so many tokens at the beginning of the span."""
    clip: float | None = None
    """The objective counts no token with more nats than this."""

    @property
    def has_objective(self) -> bool:
        """Whether something else than the raw mean is minimised."""
        return self.skip > 0 or self.clip is not None

    def __post_init__(self) -> None:
        assert 0 < self.start < self.end <= len(self.ids), (self.start, self.end, len(self.ids))


def score_of(nlls: Sequence[float], request: ScoreRequest) -> Score:
    """The score of a span from the NLL of each of its tokens, in nats."""
    clip = math.inf if request.clip is None else request.clip
    counted = [min(nll, clip) for nll in nlls[request.skip :]]
    objective = math.fsum(counted) / len(counted) if request.has_objective else None
    return Score(math.fsum(nlls) / len(nlls), len(nlls), objective)


@dataclass(frozen=True, slots=True)
class Scored:
    """A score and what it cost. Several requests of one call may share the cost of their common prefix."""

    score: Score
    usage: Usage


class Tokenizer(Protocol):
    """What the layout needs of a tokenizer. All ids are Python ints."""

    @property
    def special_texts(self) -> tuple[str, ...]:
        """Texts that the model reads as control tokens; they must not occur in data."""

    @property
    def end_of_turn(self) -> int:
        """The token that ends an assistant turn in the chat template."""

    def encode(self, text: str) -> tuple[int, ...]:
        """Ids of a part of a text: no token is added, nor a blank."""

    def chat(self, messages: Sequence[Message]) -> tuple[int, ...]:
        """Ids of the model's own template over these turns, open for the assistant's turn, with no think block."""


class Generator(Protocol):
    """Draws texts. Requests of many examples may be in flight at once."""

    async def generate(self, requests: Sequence[GenerateRequest]) -> Sequence[Sequence[Response | Failed]]:
        """One list per request, one draw per seed: a sample, or why this draw has none.

        Raises:
            BackendError: a request failed for good.
            UserError: so would every other one.
        """


class Scorer(Protocol):
    """Scores given token ids; never sees texts, so the layout alone decides what is scored."""

    @property
    def tokenizer(self) -> Tokenizer: ...

    @property
    def max_length(self) -> int:
        """Longest sequence it takes, in tokens."""

    async def score(self, requests: Sequence[ScoreRequest]) -> list[Scored]:
        """Exact mean NLL of each request's span.

        Raises:
            BackendError: the model gave no finite number.
        """

    async def next_token(self, prompts: Sequence[tuple[int, ...]], options: Sequence[int]) -> list[tuple[float, ...]]:
        """Log-probabilities of `options` as the token after each prompt, in nats, not renormalised."""
