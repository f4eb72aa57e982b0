"""A judge that writes: reasons and scores as strict JSON, from any chat model behind the `Generator` protocol.

The score is read from the schema's own field alone, and never searched for in text, so nothing written in an answer
can become one. A call that fails is a verdict with its status, never a score. Its twin, which writes nothing, is in
`likelihood.py`; which calls are made is up to `ask.py`.
"""

import json
import os
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from reer.backend import build_generator, build_scorer, describe
from reer.backend.server.chat import NoJSONMode, Refusal, client_arguments
from reer.config import (
    FakeBackendConfig,
    JudgeConfig,
    LikelihoodJudgeConfig,
    ModelJudgeConfig,
    OpenAIBackendConfig,
    OpenAIJudgeConfig,
    PanelConfig,
)
from reer.errors import BackendError, ConfigError, ModelError
from reer.text import encodable
from reer.types import Failed, GenerateRequest, Generator, Message, Response, Usage

from ..answering.engines import weights_of
from ..benchmarks.rubric import ask_all, material
from ..types import Criterion, Judge, JudgeRequest, JudgeStatus, Verdict
from .budget import refuse_cap_without_price
from .likelihood import LikelihoodJudge
from .replies import Replies

_TAGS = "s|bos|eos|pad|unk|sop|eop|start_of_turn|end_of_turn|think|tool_call|tool_response"
_BRACKETS = "INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS|[gs]?MASK"
_CONTROL = re.compile(rf"<(?=[|｜]|/?(?:{_TAGS})>|\w+[|｜]>|reserved_\d+>)|\[(?=[|｜]|/?(?:{_BRACKETS})\])")
"""Where control tokens begin, in the families that docs/evaluation.md names: no server tells which are its own."""


def judges_of(config: JudgeConfig) -> dict[str, ModelJudgeConfig]:
    """Every judge that the config asks for, by the name that verdicts give it: its kind and its model.

    Raises:
        ConfigError: there is none, two go by one name, or what one is given does not fit together.
    """
    members = dict(config.judges) if isinstance(config, PanelConfig) else {"": config}
    if not members:
        raise ConfigError("judge=panel has no judges: +judge@judge.judges.NAME=openai adds one")
    found: dict[str, ModelJudgeConfig] = {}
    for key, member in members.items():
        if not isinstance(member, ModelJudgeConfig):
            raise ConfigError(f"judge.judges.{key}: a panel holds single judges")
        name = f"{member.kind}:{describe(member.backend)['model']}"
        if name in found:
            raise ConfigError(f"judge.judges.{key}: two judges of the panel are {name}")
        refuse_cap_without_price(name, member)
        if member.baseline and not Path(member.baseline).is_file():
            raise ConfigError(f"judge.baseline={member.baseline}: no such file (anchors.jsonl of an earlier run)")
        found[name] = member
    return found


def refuse_missing_keys(judges: Mapping[str, ModelJudgeConfig]) -> None:
    """Raises: ConfigError: the server of a judge takes a key, and there is none in the environment."""
    for judge in judges.values():
        if isinstance(judge.backend, OpenAIBackendConfig):
            client_arguments(judge.backend)


def build_judge(config: ModelJudgeConfig, name: str) -> Judge:
    """The judge that the config names; loads its model.

    Raises:
        ConfigError: there is no such kind.
        ModelError: the model cannot judge.
    """
    if isinstance(config, LikelihoodJudgeConfig):
        return LikelihoodJudge(build_scorer(config.backend), name)
    if isinstance(config, OpenAIJudgeConfig):
        remembers = config.cache and not isinstance(config.backend, FakeBackendConfig)
        replies = Replies.open(_identity(config, name)) if remembers else None
        backend = config.backend
        if isinstance(backend, OpenAIBackendConfig):
            backend = replace(backend, resample=0)  # judge.attempts says how often, and caps count every call
        return OpenAIJudge(build_generator(backend), name, config.max_tokens, config.temperature, replies)
    raise ConfigError(f"judge.kind={config.kind} is unknown")


def _identity(config: OpenAIJudgeConfig, name: str) -> str:
    """What tells this judge's replies from those of another: the model, and where it is served."""
    backend = config.backend
    if not isinstance(backend, OpenAIBackendConfig):
        return " ".join([name, *weights_of(backend)])
    return f"{name} {backend.base_url or os.environ.get('OPENAI_BASE_URL') or 'api.openai.com'}"


class OpenAIJudge:
    """A chat model that writes, for each criterion, its reason and then its score, as strict JSON."""

    def __init__(
        self, generator: Generator, name: str, max_tokens: int, temperature: float, replies: Replies | None = None
    ) -> None:
        """`replies`: what it said before, which is not asked again."""
        self.name = name
        self._generator = generator
        self._max_tokens = max_tokens
        self._temperature = temperature
        self._replies = replies

    async def judge(self, request: JudgeRequest) -> Verdict:
        """See `types.Judge`. Criteria are asked in an order drawn per request, since order is a position too."""
        criteria = list(request.criteria)
        random.Random(request.seed).shuffle(criteria)
        call = GenerateRequest(
            messages=(Message("user", shown(request) + ask_all(criteria, request.rubric.guidance)),),
            seeds=(request.seed,),
            max_tokens=self._max_tokens,
            temperature=self._temperature,
            schema=verdict_schema(criteria),
        )
        key = self._replies.key(call, request.repeat, request.rubric.version) if self._replies else b""
        if self._replies and (text := self._replies.get(key)) is not None:
            return _read(Response(text=text, finish_reason="stop"), request, cached=True)
        verdict, text = await self._ask(call, request)
        if self._replies and verdict.status == "ok":
            self._replies.put(key, text)
        return verdict

    async def _ask(self, call: GenerateRequest, request: JudgeRequest) -> tuple[Verdict, str]:
        try:
            [[response]] = await self._generator.generate([call])
            if isinstance(response, Failed):
                return _failed(response), ""
        except Refusal as refusal:
            return Verdict(status="refused", usage=refusal.usage, detail=str(refusal)), ""
        except NoJSONMode as error:
            raise ModelError(f"{self.name} cannot judge: its server has no JSON mode ({error})") from error
        except BackendError as error:
            return Verdict(status="api_error", usage=Usage(calls=1), detail=str(error)), ""
        if response.finish_reason == "length":
            verdict = Verdict(status="truncated", usage=response.usage, detail=f"cut at {self._max_tokens} tokens")
        else:
            verdict = _read(response, request)
        return replace(verdict, served_model=response.served_model), response.text


def _failed(draw: Failed) -> Verdict:
    """An odd reply: one that says nothing is as unusable as one that says something else."""
    status: JudgeStatus = "refused" if draw.kind == "refused" else "api_error"
    if draw.kind == "no_text":
        status = "parse_failed"
    return Verdict(status=status, usage=draw.usage, detail=draw.reason.removeprefix("refused: "))


def _read(response: Response, request: JudgeRequest, *, cached: bool = False) -> Verdict:
    try:
        scores, reasons = read_verdict(response.text, request.criteria)
    except (ValueError, RecursionError) as error:
        return Verdict(status="parse_failed", usage=response.usage, detail=str(error))
    return Verdict(status="ok", scores=scores, reasons=reasons, usage=response.usage, cached=cached)


def shown(request: JudgeRequest) -> str:
    """The judged texts between marks that no text can hold: a mark is a hash of what it encloses.

    Tokens by which chat templates end a turn are broken up.
    """
    return _CONTROL.sub(r"\g<0> ", material(request.query, request.answer))


def verdict_schema(criteria: Sequence[Criterion]) -> dict[str, Any]:
    """Strict JSON schema of a verdict: criteria in the given order, the reason before the score.

    A single criterion needs no name: the object holds its reason and score.
    """
    parts = {
        criterion.name: _strict({"reason": {"type": "string"}, "score": _score(criterion)}) for criterion in criteria
    }
    return parts[criteria[0].name] if len(criteria) == 1 else _strict(parts)


def _strict(properties: dict[str, Any]) -> dict[str, Any]:
    keys = list(properties)
    return {"type": "object", "properties": properties, "required": keys, "additionalProperties": False}


def _score(criterion: Criterion) -> dict[str, Any]:
    whole = all(score.is_integer() for score in criterion.scale)
    kind, values = ("integer", list(map(int, criterion.scale))) if whole else ("number", list(criterion.scale))
    if criterion.may_not_apply:
        return {"type": [kind, "null"], "enum": [*values, None]}
    return {"type": kind, "enum": values}


def read_verdict(text: str, criteria: Sequence[Criterion]) -> tuple[dict[str, float | None], dict[str, str]]:
    """Scores and reasons of a reply that follows the schema to the letter.

    Raises:
        ValueError: it does not; the message says where.
    """
    reply = json.loads(text, object_pairs_hook=_distinct)
    if len(criteria) == 1:
        reply = {criteria[0].name: reply}
    _expect_keys(reply, {criterion.name for criterion in criteria}, "the reply")
    scores: dict[str, float | None] = {}
    reasons: dict[str, str] = {}
    for criterion in criteria:
        scores[criterion.name], reasons[criterion.name] = _entry(reply[criterion.name], criterion)
    return scores, reasons


def _entry(entry: Any, criterion: Criterion) -> tuple[float | None, str]:
    _expect_keys(entry, {"reason", "score"}, criterion.name)
    if list(entry) != ["reason", "score"]:
        raise ValueError(f"{criterion.name}: the score stands before the reason")
    score, reason = entry["score"], entry["reason"]
    if not isinstance(reason, str):
        raise ValueError(f"{criterion.name}: the reason is no text")
    if score is None and criterion.may_not_apply:
        return None, encodable(reason)
    if type(score) not in (int, float) or score not in criterion.scale:
        raise ValueError(f"{criterion.name}: {score!r} is no score of the scale")
    return float(score), encodable(reason)


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({key for key, _ in pairs}) < len(pairs):
        raise ValueError("a key occurs twice")
    return dict(pairs)


def _expect_keys(value: Any, keys: set[str], where: str) -> None:
    if not isinstance(value, Mapping) or value.keys() != keys:
        raise ValueError(f"{where} is no object with the keys {', '.join(sorted(keys))}")
