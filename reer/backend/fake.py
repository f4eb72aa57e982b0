"""No model at all: deterministic replies and scores, chosen by config (`experiment=fake`).

For trying out the machinery, for tests of everything around a model, and for finding faults: the same seed gives
the same bytes on every machine. A score falls with the share of the answer's words that stand before it, so that
a search has something to find.
"""

import asyncio
import functools
import json
import math
import random
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from reer.backend.server.chat import Refusal
from reer.config import FakeBackendConfig
from reer.errors import BackendError, DataError
from reer.text import digest, seed_of, words
from reer.types import FinishReason, GenerateRequest, Message, Response, Score, Scored, ScoreRequest, Usage

_END = 256
_OPENINGS = ("I will begin with", "Then I want", "Wait, maybe I should show", "Next I bring in", "I will end on")


class FakeTokenizer:
    """UTF-8 bytes, and one token that ends a turn."""

    special_texts = ("<|end|>",)
    end_of_turn = _END

    def encode(self, text: str) -> tuple[int, ...]:
        return tuple(text.encode())

    def chat(self, messages: Sequence[Message]) -> tuple[int, ...]:
        turns = [(*f"{m.role}: {m.content}".encode(), _END) for m in messages]
        return (*(token for turn in turns for token in turn), *b"assistant: ")


class FakeGenerator:
    """Scripted replies where one fits the prompt, else first-person sentences made of the prompt's own words."""

    def __init__(self, config: FakeBackendConfig) -> None:
        self.latency, self.faults = config.latency, config.faults
        self.script = _read_script(Path(config.replies)) if config.replies else []

    async def generate(self, requests: Sequence[GenerateRequest]) -> list[list[Response]]:
        """See `types.Generator`."""
        await asyncio.sleep(self.latency)
        return [[self._reply(request, n) for n in range(len(request.seeds))] for request in requests]

    def _reply(self, request: GenerateRequest, n: int) -> Response:
        prompt = "\n".join(message.content for message in request.messages)
        if request.schema is not None and (fault := self._fault(request.seeds[n])):
            return fault
        texts = next((texts for when, texts in self.script if when in prompt), None)
        text = texts[request.seeds[n] % len(texts)] if texts else _made_up(prompt, request, request.seeds[n])
        usage = Usage(
            calls=int(n == 0),
            generated_tokens=len(words(text)),
            prefilled_tokens=len(_words(prompt)) if n == 0 else 0,
        )
        cut = min((at for stop in request.stop if (at := text.find(stop)) >= 0), default=None)
        return Response(text=text[:cut], finish_reason="stop", usage=usage)

    def _fault(self, seed: int) -> Response | None:
        """One of four faults, for the share of seeds that the config gives to each."""
        kind = random.Random(f"fault {seed}").random() // self.faults if self.faults else math.inf
        if kind == 1:
            raise Refusal("the fake backend was told to refuse")
        if kind == 2:
            raise BackendError("the fake backend was told to fail")
        if kind in (0, 3):
            finish: FinishReason = "stop" if kind == 0 else "length"
            return Response(text="Score: 5", finish_reason=finish, usage=Usage(calls=1, generated_tokens=2))
        return None


class FakeScorer:
    """NLL between 1 and 3 nats per token: lower where more of the answer's words stand before it, plus a hash."""

    def __init__(self, config: FakeBackendConfig) -> None:
        self.latency = config.latency
        self.tokenizer = FakeTokenizer()
        self.max_length = 1_000_000

    async def score(self, requests: Sequence[ScoreRequest]) -> list[Scored]:
        """See `types.Scorer`."""
        await asyncio.sleep(self.latency)
        return [self._score(request) for request in requests]

    async def next_token(self, prompts: Sequence[tuple[int, ...]], options: Sequence[int]) -> list[tuple[float, ...]]:
        """See `types.Scorer`."""
        await asyncio.sleep(self.latency)
        return [tuple(-0.1 - seed_of(prompt, option) % 1000 / 250 for option in options) for prompt in prompts]

    def _score(self, request: ScoreRequest) -> Scored:
        before, answer = _text(request.ids[: request.start]), _text(request.ids[request.start : request.end])
        wanted = _distinct_words(answer)
        known = len(wanted.intersection(words(before))) / max(1, len(wanted))
        noise = int(digest(before, answer)[:8], 16) / 2**32
        tokens = request.end - request.start
        nll = 2.8 - 1.6 * known + 0.2 * noise
        clipped = nll * (request.clip or 3.0) / 3.0
        objective = -math.expm1(-clipped) if request.kind == "mean_prob" else clipped
        parts = tuple(nll * (end - begin) for begin, end in pairwise((0, *request.cuts, tokens)) if request.cuts)
        score = Score(nll, tokens, objective if request.has_objective else None, parts)
        return Scored(score, Usage(calls=1, scored_tokens=request.end))


def _text(ids: tuple[int, ...]) -> str:
    """The text of some ids, without the ends of turns."""
    parts, start = [], 0
    for _ in range(ids.count(_END)):
        end = ids.index(_END, start)
        parts.append(bytes(ids[start:end]))
        start = end + 1
    return b"".join([*parts, bytes(ids[start:])]).decode(errors="replace")


@functools.lru_cache(maxsize=256)
def _distinct_words(text: str) -> frozenset[str]:
    return frozenset(words(text))


@functools.lru_cache(maxsize=4)
def _words(prompt: str) -> list[str]:
    return words(prompt)


@functools.lru_cache(maxsize=256)
def _vocabulary(prompt: str) -> list[str]:
    return sorted({word for word in _words(prompt) if len(word) > 4}) or ["nothing"]


def _made_up(prompt: str, request: GenerateRequest, seed: int) -> str:
    """Sentences of a plan made of the prompt's words, in the form that the request expects."""
    draw = random.Random(seed)
    vocabulary = _vocabulary(prompt)

    def sentence() -> str:
        return f"{draw.choice(_OPENINGS)} {' and '.join(draw.choices(vocabulary, k=draw.randint(3, 8)))}."

    if request.schema is not None:
        return json.dumps(_conforming(request.schema, draw, sentence))
    if "</refine>" in request.stop:
        return f"<analyze>{sentence()}</analyze>\n<refine>\n{sentence()} {sentence()}\n</refine>"
    if "</task>" in request.stop:
        return f" {sentence()} {sentence()}\n</task>"
    if "</skeleton>" in request.stop:
        return f"<skeleton>\n1. {sentence()}\n2. {sentence()}\n</skeleton>"
    plan = "\n\n".join(sentence() for _ in range(draw.randint(4, 7)))
    if request.stop or request.prefill:
        return f" {plan}\n</think>"
    free = draw.random() < 0.2  # some replies lack the think block, as a real model's do
    return sentence() if free else f"<think>\n{plan}\n</think>\n\n{sentence()} {sentence()}"


def _conforming(schema: Mapping[str, Any], draw: random.Random, sentence: Callable[[], str]) -> Any:
    """A value that follows a JSON schema made of objects, enumerations and texts."""
    if "enum" in schema:
        return draw.choice(schema["enum"])
    if schema["type"] == "object":
        return {key: _conforming(part, draw, sentence) for key, part in schema["properties"].items()}
    return sentence()


def _read_script(path: Path) -> list[tuple[str, list[str]]]:
    try:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        return [(r["when"], [r["reply"]] if isinstance(r["reply"], str) else list(r["reply"])) for r in rows]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f'{path}: not a file of rows {{"when": ..., "reply": ...}} ({error})') from error
