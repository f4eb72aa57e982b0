"""What models are asked and what they say, and the protocols of those who ask them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, Protocol

from .data import Message, Score, Usage

FinishReason = Literal["stop", "length"]
ObjectiveKind = Literal["mean_nll", "mean_prob"]


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
    kind: ObjectiveKind = "mean_nll"
    """What the objective is made of: the mean NLL of its tokens, or 1 - their mean probability."""
    cuts: tuple[int, ...] = ()
    """Where further parts of the span begin, in tokens from its start, if the NLL of each is wanted."""

    @property
    def has_objective(self) -> bool:
        """Whether something else than the raw mean is minimised."""
        return self.skip > 0 or self.clip is not None or self.kind != "mean_nll"

    def __post_init__(self) -> None:
        assert 0 < self.start < self.end <= len(self.ids), (self.start, self.end, len(self.ids))


def score_of(nlls: Sequence[float], request: ScoreRequest) -> Score:
    """The score of a span from the NLL of each of its tokens, in nats.

    The objective `mean_prob` is 1 - the mean probability of a token, between 0 and 1: the mean probability is the
    reward of RLPR (arXiv 2506.18254), and here lower is better.
    """
    clip = math.inf if request.clip is None else request.clip
    counted = [min(nll, clip) for nll in nlls[request.skip :]]
    if request.kind == "mean_prob":
        counted = [-math.expm1(-nll) for nll in counted]
    objective = math.fsum(counted) / len(counted) if request.has_objective else None
    bounds = (0, *request.cuts, len(nlls)) if request.cuts else ()
    parts = tuple(math.fsum(nlls[begin:end]) for begin, end in pairwise(bounds))
    return Score(math.fsum(nlls) / len(nlls), len(nlls), objective, parts)


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
