"""The thinkings that reference lift is measured with, and the likelihood that several of them give an answer together.

p(y|x) of a model that thinks is the mean of p(y|x, z) over its thinkings z. One z overstates -log p(y|x) on average
(Jensen), several do so less, and a model that answers without thinking is exact. Draws depend on the seed, the prompt
and their number, never on the model. Knows a generator by its protocol; knows no scorer.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from reer.backend.server.chat import sound
from reer.config import BenchmarkConfig
from reer.errors import ConfigError
from reer.layout import THINK_CLOSE, Layout
from reer.text import seed_of
from reer.types import Example, Failed, GenerateRequest, Generator, Response


@dataclass(frozen=True, slots=True, kw_only=True)
class Thought:
    """One thinking: it has an NLL, or the reason why it has none."""

    text: str = ""
    finish_reason: str | None = None
    """stop, length (cut at benchmark.thinking_tokens); None where nothing came."""
    tokens: int = 0
    """Of the thinking, by the tokenizer of the model that scores it."""
    nll: float | None = None
    """Of the answer behind it, in nats per answer token."""
    failed: str | None = None
    """empty, truncated, not_laid_out, not_scored, or the kind of a failed draw (`reer.types.FAULTS`)."""
    reason: str = ""
    """The same in words, where there are any."""

    def without(self, failed: str, reason: str) -> "Thought":
        """It cannot be used."""
        return replace(self, failed=failed, reason=reason)


def check(benchmark: BenchmarkConfig) -> None:
    """Raises: ConfigError: fewer than no thoughts."""
    if benchmark.thoughts < 0:
        raise ConfigError(f"benchmark.thoughts={benchmark.thoughts}: give 0 (it answers without thinking) or more")


def seeds_of(seed: int, example: Example, n: int) -> tuple[int, ...]:
    """One seed per thought; the first is the same however many there are."""
    return tuple(seed_of(seed, "thinking", example.id, *([k] if k else [])) for k in range(n))


async def think(
    example: Example, generator: Generator, layout: Layout, benchmark: BenchmarkConfig, seed: int
) -> list[Thought]:
    """`benchmark.thoughts` thinkings of one prompt, in one request; the reference answer is not shown.

    Raises:
        BackendError: the request failed, or every draw of it.
    """
    if not benchmark.thoughts:
        return []
    request = GenerateRequest(
        messages=layout.turns(example.query, example.history),
        seeds=seeds_of(seed, example, benchmark.thoughts),
        max_tokens=benchmark.thinking_tokens,
        temperature=benchmark.temperature,
        top_p=benchmark.top_p,
        stop=(THINK_CLOSE,),
        prefill=layout.frame.before_thinking,
    )
    [draws] = await generator.generate([request])
    if all(isinstance(draw, Failed) for draw in draws):
        sound(draws[0])
    return [_thought(draw, alone=len(draws) == 1) for draw in draws]


def _thought(draw: Response | Failed, *, alone: bool) -> Thought:
    """A single thought is used even if it was cut, as ever; of several such ones are left out."""
    if isinstance(draw, Failed):
        return Thought(failed=draw.kind, reason=draw.reason)
    found = Thought(text=draw.text.strip(), finish_reason=draw.finish_reason)
    if draw.finish_reason == "length" and not (alone and found.text):
        return found.without("truncated", "the thinking was cut at benchmark.thinking_tokens")
    return found if found.text else found.without("empty", "the thinking is empty")


def pooled_nll(nlls: Sequence[float], tokens: int) -> float:
    """-log of the mean probability of the whole answer, per token: log-mean-exp over its summed log-probabilities.

    `nlls` are means in nats per token over the same `tokens` tokens, one for each thought.
    """
    best = min(nlls)
    return best - math.log(math.fsum(_weights(nlls, tokens)) / len(nlls)) / tokens


def effective(nlls: Sequence[float], tokens: int) -> float:
    """How many thoughts carry that mean, from 1 (the best one alone) to all: (sum of weights)² / sum of squares."""
    weights = _weights(nlls, tokens)
    return math.fsum(weights) ** 2 / math.fsum(weight * weight for weight in weights)


def _weights(nlls: Sequence[float], tokens: int) -> list[float]:
    """Probabilities of the answer, as shares of the largest."""
    best = min(nlls)
    return [math.exp((best - nll) * tokens) for nll in nlls]


def facts(thoughts: Sequence[Thought], tokens: int | None) -> dict[str, Any]:
    """What a row of lift.jsonl says of its thoughts: their length, how many there are, and what became of them."""
    scored = [thought for thought in thoughts if thought.nll is not None]
    nlls = [thought.nll for thought in scored if thought.nll is not None]
    found: dict[str, Any] = {
        "thinking_tokens": sum(t.tokens for t in scored) / len(scored) if scored else None,
        "thoughts": {
            "asked": len(thoughts),
            "scored": len(scored),
            "cut": sum(thought.finish_reason == "length" for thought in thoughts),
            "failed": dict(sorted(Counter(t.failed for t in thoughts if t.failed).items())),
            "effective": effective(nlls, tokens) if nlls and tokens else None,
        },
    }
    return found | ({"samples": [_sample(thought) for thought in thoughts]} if len(thoughts) > 1 else {})


def _sample(thought: Thought) -> dict[str, Any]:
    return {
        "thinking": thought.text,
        "finish_reason": thought.finish_reason,
        "tokens": thought.tokens,
        "nll": thought.nll,
        "failed": thought.failed,
        "reason": thought.reason,
    }
