"""Two judges behind `types.Judge`, and the step that judges stored answers.

`LikelihoodJudge` reads the level from a local model's own next-token probabilities; `OpenAIJudge` from the score
field of strict JSON. Neither ever searches for a score in text, so nothing written in an answer can become one.
A call that fails is a verdict with its status, never a score. Knows the backends only by their protocols.
"""

import asyncio
import json
import math
import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from reer.backend import build_generator, build_scorer, describe
from reer.backend.models import break_up
from reer.backend.openai import Refusal
from reer.config import JudgeConfig, LikelihoodJudgeConfig, OpenAIJudgeConfig
from reer.errors import BackendError, ConfigError, ModelError
from reer.manifest import digest, seed_of
from reer.types import (
    Criterion,
    GenerateRequest,
    Generator,
    Judge,
    JudgeRequest,
    Message,
    Rubric,
    Scorer,
    Tokenizer,
    Usage,
    Verdict,
)

from .rubric import ask_all, ask_one, material
from .store import Row, Rows, fill

LEVELS = range(6)
"""Levels a judge may name; 0 stands for "does not apply" where a criterion allows that."""
OPENINGS = (("Score: ", ""), ("Score:", " "))
"""Beginning of the judge's turn, and what a level's token begins with after it."""
_CONTROL = re.compile(r"<(?=[|｜])|<(?=/?s>)|<(?=(?:start|end)_of_turn>)|\[(?=/?INST\])")


def build_judge(config: JudgeConfig) -> Judge:
    """The judge that the config names; loads its model."""
    if isinstance(config, LikelihoodJudgeConfig):
        return LikelihoodJudge(build_scorer(config.backend), judge_name(config))
    if isinstance(config, OpenAIJudgeConfig):
        return OpenAIJudge(build_generator(config.backend), judge_name(config), config.max_tokens, config.temperature)
    raise ConfigError(f"judge.kind={config.kind} is unknown")


def judge_name(config: JudgeConfig) -> str:
    """How verdicts name their judge: its kind and its model."""
    return f"{config.kind}:{describe(config.backend)['model']}"


class LikelihoodJudge:
    """Expected level under the model's probabilities of the level tokens, one prompt per criterion.

    The prompts of one answer differ only at their end, so a scorer that reuses prefixes reads the answer once.
    """

    def __init__(self, scorer: Scorer, name: str) -> None:
        """Raises: ModelError: the tokenizer does not write the levels as one token each."""
        self.name = name
        self._scorer = scorer
        self._opening, self._options = level_tokens(scorer.tokenizer, name)

    async def judge(self, requests: Sequence[JudgeRequest], rubric: Rubric) -> list[Verdict]:
        """See `types.Judge`. Scores are real numbers between the lowest and the highest level."""
        return await asyncio.gather(*(self._verdict(request, rubric) for request in requests))

    async def _verdict(self, request: JudgeRequest, rubric: Rubric) -> Verdict:
        tokenizer = self._scorer.tokenizer
        judged = break_up(_material(request), tokenizer.special_texts)
        prompts = [
            tokenizer.chat([Message("user", judged + ask_one(criterion))]) + self._opening
            for criterion in rubric.criteria
        ]
        usage = Usage(calls=len(prompts))
        try:
            found = await self._scorer.next_token(prompts, self._options)
        except BackendError as error:
            return Verdict(status="api_error", usage=usage, detail=str(error))
        pairs = zip(rubric.criteria, found, strict=True)
        scores = {criterion.name: expected_level(logprobs, criterion) for criterion, logprobs in pairs}
        return Verdict(status="ok", scores=scores, usage=usage)


def level_tokens(tokenizer: Tokenizer, name: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Ids that open the judge's turn, and for each of `LEVELS` the one token that follows them.

    Raises:
        ModelError: no opening is followed by single, distinct tokens.
    """
    for text, gap in OPENINGS:
        opening = tokenizer.encode(text)
        written = [tokenizer.encode(f"{text}{gap}{level}") for level in LEVELS]
        options = {ids[-1] for ids in written if ids[:-1] == opening}
        if len(options) == len(LEVELS):
            return opening, tuple(ids[-1] for ids in written)
    raise ModelError(f"{name} cannot judge by likelihood: its tokenizer does not write 0 to 5 as single tokens")


def expected_level(logprobs: Sequence[float], criterion: Criterion) -> float | None:
    """Mean level under the probabilities of the levels, renormalised over the rubric's levels.

    `logprobs` are those of `LEVELS`, in nats. None: the criterion may not apply, and that is likelier than all
    levels together.
    """
    relevant = [*criterion.levels, *([0] if criterion.may_not_apply else [])]
    top = max(logprobs[level] for level in relevant)
    weights = {level: math.exp(logprobs[level] - top) for level in relevant}
    total = sum(weights[level] for level in criterion.levels)
    if weights.get(0, 0.0) > total:
        return None
    return sum(level * weights[level] for level in criterion.levels) / total


class OpenAIJudge:
    """A chat model that writes, for each criterion, its reason and then its level, as strict JSON."""

    def __init__(self, generator: Generator, name: str, max_tokens: int, temperature: float) -> None:
        self.name = name
        self._generator = generator
        self._max_tokens = max_tokens
        self._temperature = temperature

    async def judge(self, requests: Sequence[JudgeRequest], rubric: Rubric) -> list[Verdict]:
        """See `types.Judge`. Criteria are asked in an order drawn per request, since order is a position too."""
        return await asyncio.gather(*(self._verdict(request, rubric) for request in requests))

    async def _verdict(self, request: JudgeRequest, rubric: Rubric) -> Verdict:
        criteria = list(rubric.criteria)
        random.Random(request.seed).shuffle(criteria)
        call = GenerateRequest(
            messages=(Message("user", _CONTROL.sub(r"\g<0> ", _material(request)) + ask_all(criteria)),),
            seeds=(request.seed,),
            max_tokens=self._max_tokens,
            temperature=self._temperature,
            schema=verdict_schema(criteria),
        )
        try:
            [[response]] = await self._generator.generate([call])
        except Refusal as refusal:
            return Verdict(status="refused", usage=Usage(calls=1), detail=str(refusal))
        except BackendError as error:
            return Verdict(status="api_error", usage=Usage(calls=1), detail=str(error))
        if response.finish_reason == "length":
            return Verdict(status="truncated", usage=response.usage, detail=f"cut at {self._max_tokens} tokens")
        try:
            scores, reasons = read_verdict(response.text, rubric.criteria)
        except (ValueError, RecursionError) as error:
            return Verdict(status="parse_failed", usage=response.usage, detail=str(error))
        return Verdict(status="ok", scores=scores, reasons=reasons, usage=response.usage)


def verdict_schema(criteria: Sequence[Criterion]) -> dict[str, Any]:
    """Strict JSON schema of a verdict: criteria in the given order, the reason before the score."""

    def strict(properties: dict[str, Any]) -> dict[str, Any]:
        keys = list(properties)
        return {"type": "object", "properties": properties, "required": keys, "additionalProperties": False}

    def score(criterion: Criterion) -> dict[str, Any]:
        levels: list[int | None] = sorted(criterion.levels)  # type: ignore[assignment]
        if criterion.may_not_apply:
            return {"type": ["integer", "null"], "enum": [*levels, None]}
        return {"type": "integer", "enum": levels}

    return strict({c.name: strict({"reason": {"type": "string"}, "score": score(c)}) for c in criteria})


def read_verdict(text: str, criteria: Sequence[Criterion]) -> tuple[dict[str, float | None], dict[str, str]]:
    """Scores and reasons of a reply that follows the schema to the letter.

    Raises:
        ValueError: it does not; the message says where.
    """
    reply = json.loads(text, object_pairs_hook=_distinct)
    _expect_keys(reply, {criterion.name for criterion in criteria}, "the reply")
    scores: dict[str, float | None] = {}
    reasons: dict[str, str] = {}
    for criterion in criteria:
        entry = reply[criterion.name]
        _expect_keys(entry, {"reason", "score"}, criterion.name)
        score, reason = entry["score"], entry["reason"]
        absent = score is None and criterion.may_not_apply
        if not absent and (type(score) is not int or score not in criterion.levels):
            raise ValueError(f"{criterion.name}: {score!r} is no level")
        if not isinstance(reason, str):
            raise ValueError(f"{criterion.name}: the reason is no text")
        scores[criterion.name] = None if absent else float(score)
        reasons[criterion.name] = reason
    return scores, reasons


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({key for key, _ in pairs}) < len(pairs):
        raise ValueError("a key occurs twice")
    return dict(pairs)


def _expect_keys(value: Any, keys: set[str], where: str) -> None:
    if not isinstance(value, dict) or value.keys() != keys:
        raise ValueError(f"{where} is no object with the keys {', '.join(sorted(keys))}")


def _material(request: JudgeRequest) -> str:
    """The judged texts between marks that no text can hold: the mark is a hash of what it encloses."""
    mark = digest(request.seed, request.repeat, request.query, request.answer)[:12]
    return material(request.query, request.answer, mark)


async def judge_answers(
    answers: Sequence[Row],
    verdicts: Rows,
    judge: Callable[[], Judge],
    name: str,
    rubric: Rubric,
    *,
    repeats: int,
    seed: int,
    concurrency: int,
) -> None:
    """Ask for every verdict that is missing or failed before. The judge is built only if there is one to ask for."""
    stored = settled(verdicts.rows, answers, rubric, [name])
    work = [
        (answer["id"], repeat)
        for answer in answers
        if answer["answer"]
        for repeat in range(repeats)
        if stored.get((name, answer["id"], repeat), {}).get("status") != "ok"
    ]
    if not work:
        return
    asked, by_id = judge(), {answer["id"]: answer for answer in answers}

    async def one(item: tuple[str, int]) -> Row:
        answer, repeat = by_id[item[0]], item[1]
        request = JudgeRequest(
            id=answer["id"],
            query=answer["prompt"],
            answer=answer["answer"],
            repeat=repeat,
            seed=seed_of(seed, "judge", answer["id"], repeat),
        )
        [verdict] = await asked.judge([request], rubric)
        return _row(verdict, answer, name, repeat, rubric)

    await fill(verdicts, work, one, concurrency=concurrency, title="judge")


def settled(
    verdicts: Sequence[Row], answers: Sequence[Row], rubric: Rubric, judges: Sequence[str]
) -> Mapping[tuple[str, str, int], Row]:
    """What stands for each (judge, id, repeat): its first ok verdict, else its last failed attempt.

    Verdicts on other answers or by another wording of the rubric do not count.
    """
    current = {answer["id"]: judged_hash(answer) for answer in answers}
    found: dict[tuple[str, str, int], Row] = {}
    for row in verdicts:
        valid = row["rubric"] == rubric.version and current.get(row["id"]) == row["judged"] and row["judge"] in judges
        key = (row["judge"], row["id"], row["repeat"])
        if valid and found.get(key, {}).get("status") != "ok":
            found[key] = row
    return found


def judged_hash(answer: Row) -> str:
    """Ties a verdict to the very texts it was given on."""
    return digest(answer["prompt"], answer["answer"])[:16]


def _row(verdict: Verdict, answer: Row, judge: str, repeat: int, rubric: Rubric) -> Row:
    return {
        "model": answer["model"],
        "id": answer["id"],
        "benchmark": answer["benchmark"],
        "judge": judge,
        "repeat": repeat,
        "criterion": None,
        "status": verdict.status,
        "scores": dict(verdict.scores),
        "reasons": dict(verdict.reasons),
        "detail": verdict.detail,
        "usage": asdict(verdict.usage),
        "rubric": rubric.version,
        "judged": judged_hash(answer),
    }
