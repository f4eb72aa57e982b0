"""Draw a query for a passage, and refuse it by name: what gives the passage away, repeats its prompt, or does not fit.

A draw is one event, with its text and the name of the check that refused it. Knows generators through their protocol.
"""

import json
import re
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import replace

from reer.backend.server.chat import NoJSONMode
from reer.config import AskConfig
from reer.method.guards import echo, leak
from reer.method.prompts import Prompt
from reer.text import language_of, seed_of, words
from reer.types import Asked, Event, Example, Failed, GenerateRequest, Generator, Message, Response, Usage

from .wording import Wording

FIT = {
    "type": "object",
    "properties": {"fit": {"type": "integer", "enum": [1, 2, 3, 4, 5]}},
    "required": ["fit"],
    "additionalProperties": False,
}
"""What a judge replies."""
_FIT = re.compile(r"\"?fit\"?\s*[:：]\s*\"?([1-5])\b|\A\W*([1-5])\b(?!\s*[-–/.]\s*\d)")
_TAG = re.compile(r"</?[a-zA-Z_]+\s*/?>")
_OF_A_TEXT = re.compile(
    r"\b(?:the|this) text (?:discuss|describ|highlight|mention|emphasi[sz]|tell|explor|deals|focuses|is about)"
    r"|\b(?:text|story|poem|piece) (?:that )?(?:you|was|is) (?:have )?provided|\bprovided (?:text|story|poem|piece)\b"
    r"|(?:该|这篇|此)(?:文|文章|短文|故事)(?:讲述|描述|描写|讨论|强调|提到)|所给(?:的)?(?:文|故事)",
    re.IGNORECASE,
)
"""A report of a text, where one is asked for: small models tell what they were shown."""
REASONS = (
    "no_tag", "truncated", "no_text", "refused", "failed_draw", "too_short", "tags", "prompt_residue", "echo",
    "leaked", "wrong_language", "identical", "no_verdict", "judged",
)  # fmt: skip
"""Why a drawn query is not taken, in the order of the checks."""


class Asker:
    """Queries for passages, until enough are taken or there have been enough draws."""

    def __init__(
        self, generator: Generator, wording: Callable[[str], Wording], settings: AskConfig, seed: int
    ) -> None:
        self.generator = generator
        self.wording = wording
        self.settings = settings
        self.seed = seed

    async def run(self, example: Example, recorded: Sequence[Event] = ()) -> AsyncGenerator[Event]:
        """One `Asked` per draw, from where the recorded ones end.

        Raises:
            BackendError: the generator failed for good.
        """
        drawn = [event for event in recorded if isinstance(event, Asked)]
        while (
            len(taken(drawn)) < self.settings.queries and len(drawn) < self.settings.queries * self.settings.attempts
        ):
            event = await self._draw(example, drawn)
            drawn.append(event)
            yield event

    async def _draw(self, passage: Example, before: Sequence[Asked]) -> Asked:
        wording, seed = self.wording(passage.language), seed_of(self.seed, passage.id, "query", len(before))
        opener = wording.query.opener(seed)
        [[draw]] = await self.generator.generate([self._request(wording.query, passage, opener, seed)])
        text, fault = _reply(draw, opener, wording.query.reply_tag or "task")
        fault = fault or self._fault(text, passage, wording.query, opener, [event.text for event in taken(before)])
        if fault or self.settings.min_fit is None:
            return Asked(text=text, rejected=fault, usage=draw.usage)
        fit, spent = await self._fit(wording.fit, passage, text, seed)
        fault = "no_verdict" if fit is None else "judged" if fit < self.settings.min_fit else None
        return Asked(text=text, rejected=fault, fit=fit, usage=draw.usage + spent)

    def _request(self, prompt: Prompt, passage: Example, opener: str, seed: int) -> GenerateRequest:
        sampling, tag = self.settings.sampling, prompt.reply_tag or "task"
        return GenerateRequest(
            messages=(Message("user", prompt.render(answer=passage.answer, length=about(passage.answer))),),
            seeds=(seed,),
            max_tokens=sampling.max_tokens,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            stop=(f"</{tag}>",),
            prefill=f"<{tag}>\n{opener}",
        )

    def _fault(self, text: str, passage: Example, prompt: Prompt, opener: str, before: Sequence[str]) -> str | None:
        """The first check that refuses a query, without any model."""
        if len(words(text)) < self.settings.min_words:
            return "too_short"
        if _TAG.search(text):
            return "tags"
        if prompt.talks_of_itself(text) or _OF_A_TEXT.search(text):
            return "prompt_residue"
        if _echoes(text.removeprefix(opener), prompt, self.settings):
            return "echo"
        if leaks(text, passage.answer, self.settings):
            return "leaked"
        if language_of(text) != language_of(passage.answer):
            return "wrong_language"
        return "identical" if text in before else None

    async def _fit(self, prompt: Prompt, passage: Example, query: str, seed: int) -> tuple[int | None, Usage]:
        """How well the passage answers the query, 1 to 5; None where the judge does not say."""
        request = GenerateRequest(
            messages=(Message("user", prompt.render(query=query, answer=passage.answer)),),
            seeds=(seed_of(seed, "fit"),),
            max_tokens=64,
            temperature=0.0,
            schema=FIT,
        )
        try:
            [[draw]] = await self.generator.generate([request])
        except NoJSONMode:
            [[draw]] = await self.generator.generate([replace(request, schema=None)])
        return (None if isinstance(draw, Failed) else verdict(draw.text)), draw.usage


def taken(drawn: Sequence[Asked]) -> list[Asked]:
    """The queries that passed."""
    return [event for event in drawn if event.rejected is None]


def about(text: str) -> str:
    """The length of a text in words (Chinese: characters), as a person would name it."""
    count = len(words(text))
    step = 50 if count >= 200 else 10
    return str(max(step, round(count / step) * step))


def leaks(query: str, passage: str, settings: AskConfig) -> bool:
    """Whether a query copies its passage: a run of words, or too large a share of the query's own n-grams."""
    limits = settings.leak
    run = leak.measure(query, passage, limits.ngram).longest_run
    share = leak.measure(passage, query, limits.ngram).containment
    return leak.leaks(leak.Leak(run, share), limits)


def verdict(reply: str) -> int | None:
    """The number in a judge's reply, if there is one that can be told."""
    try:
        value = json.loads(reply)
    except ValueError:
        found = _FIT.search(reply)
        return int(found.group(1) or found.group(2)) if found else None
    value = value.get("fit") if isinstance(value, dict) else value
    value = int(value) if isinstance(value, str) and value.strip() in ("1", "2", "3", "4", "5") else value
    return value if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 5 else None


def _echoes(own: str, prompt: Prompt, settings: AskConfig) -> bool:
    limits = settings.echo
    return limits.enabled and (
        echo.talks_to_asker(own) or echo.echoes(echo.measure(own, prompt.fixed, limits.ngram), limits)
    )


def _reply(draw: Response | Failed, opener: str, tag: str) -> tuple[str, str | None]:
    """The query in a reply, or all of it and why it holds none."""
    if isinstance(draw, Failed):
        return draw.reason, draw.kind if draw.kind in REASONS else "failed_draw"
    text = draw.text if draw.whole else f"<{tag}>\n{opener}{draw.text}"
    _, opened, inner = text.rpartition(f"<{tag}>")
    inner = inner.partition(f"</{tag}>")[0].strip()
    if not opened:
        return text.strip(), "no_tag"
    return inner, "truncated" if draw.finish_reason == "length" else None
