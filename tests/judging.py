"""What tests of judges share: a scripted generator, verdicts in the five dimensions, requests, stored answers."""

import json
from collections.abc import Callable, Sequence
from typing import Any

from eval.benchmarks.items import Item
from eval.benchmarks.reasoning import CRITERIA, RUBRIC
from eval.types import JudgeRequest
from reer.types import FinishReason, GenerateRequest, Response, Usage

NAMES = [criterion.name for criterion in CRITERIA]
ITEMS = [Item(id=id_, query=f"query {id_}", rubric=RUBRIC) for id_ in "abc"]


def verdict_json(score: Any = 4, **changes: Any) -> str:
    return json.dumps({name: {"reason": "because", "score": score} for name in NAMES} | changes)


def request_of(answer: str, *, query: str = "Tell me a fable.", repeat: int = 0, seed: int = 0) -> JudgeRequest:
    return JudgeRequest(
        id="a", query=query, answer=answer, rubric=RUBRIC, criteria=RUBRIC.criteria, repeat=repeat, seed=seed
    )


def answer_row(id_: str, text: str = "an answer", **changes: Any) -> dict[str, Any]:
    row = {
        "model": "m",
        "id": id_,
        "benchmark": "reasoning",
        "epoch": 0,
        "prompt": f"query {id_}",
        "thinking": "z",
        "answer": text,
        "finish_reason": "stop",
        "tokens": 5,
        "words": len(text.split()),
        "well_formed": bool(text),
        "loop": False,
    }
    return row | changes


class Scripted:
    """A generator that answers every request by one function, and remembers the requests."""

    def __init__(
        self,
        reply: Callable[[GenerateRequest], str | Exception],
        finish: FinishReason = "stop",
        usage: Usage = Usage(calls=1, generated_tokens=9),  # noqa: B008 - it is frozen
    ) -> None:
        self.reply, self.finish, self.usage = reply, finish, usage
        self.requests: list[GenerateRequest] = []

    async def generate(self, requests: Sequence[GenerateRequest]) -> list[list[Response]]:
        self.requests += requests
        return [[self._one(request)] for request in requests]

    def _one(self, request: GenerateRequest) -> Response:
        text = self.reply(request)
        if isinstance(text, Exception):
            raise text
        return Response(text=text, finish_reason=self.finish, usage=self.usage)
