"""What servers reply, taken apart: a text, thinking beside it, or the kind of failure. Nothing odd gets any further.

`read` takes the JSON apart as many servers fill it; `sample_of` makes of it what was asked for. Knows no client.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from reer.backend.server.told import scrubbed
from reer.config import OpenAIBackendConfig
from reer.layout import THINK_CLOSE, THINK_OPEN
from reer.text import encodable
from reer.types import Failed, FinishReason, GenerateRequest, Response, Usage

_STOPS = {"stop", "eos", "eos_token", "end_turn", "stop_sequence", "complete", "none", ""}
_CUTS = {"length", "max_tokens", "model_length", "max_output_tokens", "repetition", "model_context_window_exceeded"}
_FILTERS = {
    "content_filter", "safety", "prohibited_content", "blocklist", "recitation", "spii", "sensitive", "refusal",
}  # fmt: skip
"""Reasons why a text ended, as servers call them; any other (abort, error, tool_calls ...) broke it off."""
_BESIDE = ("reasoning", "reasoning_content", "thinking")
"""Where servers put the thinking that they take out of a text."""


@dataclass(frozen=True, slots=True)
class Said:
    """What one choice of a reply says."""

    content: str
    reasoning: str
    finish: FinishReason
    usage: Usage
    model: str | None


def read(reply: object, config: OpenAIBackendConfig, seconds: float = 0.0) -> list[Said | Failed]:
    """One entry per choice of a reply, at least one; what the whole reply used stands with the first.

    An odd reply is a failed draw, whatever it is.
    """
    if not isinstance(reply, dict):
        return [_failed("no_json", str(reply), Usage(calls=1, seconds=seconds), config)]
    usage, choices = _usage(reply.get("usage"), seconds), reply.get("choices")
    if not isinstance(choices, list) or not choices:
        kind = "error_reply" if reply.get("error") else "no_message"
        return [_failed(kind, str(reply.get("error") or reply), usage, config)]
    model = reply.get("model")
    return [
        _choice(choice, usage if n == 0 else Usage(), model if isinstance(model, str) else None, config)
        for n, choice in enumerate(choices)
    ]


def _choice(choice: object, usage: Usage, model: str | None, config: OpenAIBackendConfig) -> Said | Failed:
    if not isinstance(choice, dict):
        return _failed("no_message", str(choice), usage, config)
    why, message = str(choice.get("finish_reason")).lower(), choice.get("message")
    there: Mapping[str, Any] = message if isinstance(message, dict) else {}
    refusal = _text(there.get("refusal"), "refusal")
    if refusal or why in _FILTERS:
        return _failed("refused", refusal or why, usage, config)
    if why not in _STOPS | _CUTS:
        return _failed("broken_off", why, usage, config)
    if not there:
        return _failed("no_message", str(choice), usage, config)
    content, reasoning = there.get("content"), _reasoning(there)
    if content is None and not reasoning and why in _STOPS:
        return _failed("no_text", str(there), usage, config)
    return Said(_text(content, "text"), reasoning, "length" if why in _CUTS else "stop", usage, model)


def _reasoning(message: Mapping[str, Any]) -> str:
    beside = (_text(message.get(field), "text", "thinking") for field in _BESIDE)
    within = message.get("content")
    parts = _text(within, "thinking", "reasoning") if isinstance(within, list) else ""
    return next(filter(None, beside), parts)


def _text(value: object, *kinds: str) -> str:
    """A text, or the joined parts of these kinds."""
    if isinstance(value, str):
        return encodable(value)
    if not isinstance(value, list):
        return ""
    return "".join(_part(part, kinds) for part in value)


def _part(part: object, kinds: tuple[str, ...]) -> str:
    if isinstance(part, str):
        return encodable(part) if "text" in kinds else ""
    if not isinstance(part, dict) or part.get("type", "text") not in kinds:
        return ""
    return next((_text(part[key], "text") for key in (*kinds, "text") if part.get(key)), "")


def _failed(kind: str, words: str, usage: Usage, config: OpenAIBackendConfig) -> Failed:
    return Failed(faults=(f"{kind}: {encodable(scrubbed(words, config))}",), usage=usage)


def _usage(used: object, seconds: float) -> Usage:
    """Some gateways leave the fields out, or fill them with null."""
    if not isinstance(used, dict):
        return Usage(calls=1, seconds=seconds)
    details, prompt = used.get("prompt_tokens_details"), _count(used.get("prompt_tokens"))
    cached = _count(details.get("cached_tokens")) if isinstance(details, dict) else 0
    return Usage(
        calls=1,
        generated_tokens=_count(used.get("completion_tokens")),
        prefilled_tokens=max(0, prompt - cached),
        reused_tokens=cached,
        seconds=seconds,
    )


def _count(value: object) -> int:
    return int(value) if isinstance(value, int | float) and math.isfinite(value) else 0


def sample_of(said: Said, request: GenerateRequest, *, continues: bool) -> Response:
    """The sample that a request asked for."""
    plain = Response(text=said.content, finish_reason=said.finish, usage=said.usage, served_model=said.model)
    if request.schema is not None:
        return plain
    if not request.prefill and not request.stop:
        return replace(plain, text=with_thinking(said.content, said.reasoning))
    if request.prefill and continues:
        # a parser of thinking takes what continues a think block for thinking, up to its end
        text = f"{said.reasoning}{THINK_CLOSE}{said.content}" if said.reasoning and said.content else ""
        text = (text or said.reasoning or said.content).removeprefix(request.prefill)
        return _cut(replace(plain, text=text), request.stop)
    return _whole(said, plain, request)


def _whole(said: Said, plain: Response, request: GenerateRequest) -> Response:
    """The sample in a turn of the server's own beginning, which may have thought before it."""
    if request.prefill.startswith(THINK_OPEN):
        text, closed = thinking_in(said, request.prefill.removeprefix(THINK_OPEN).strip())
        return replace(plain, text=text, finish_reason="stop" if closed else said.finish, whole=True)
    text = without_thinking(said.content or said.reasoning).lstrip()
    return _cut(replace(plain, text=text, whole=True), request.stop)


def thinking_in(said: Said, opener: str) -> tuple[str, bool]:
    """The thinking that was asked for, and whether its end was seen.

    It is the last think block, or what begins as it should; else what the server took out of the text for thinking,
    or the whole text.
    """
    before, opened, block = said.content.rpartition(THINK_OPEN)
    inner, closed, after = (block if opened else said.content).partition(THINK_CLOSE)
    for text in (after, said.content):
        if opener and text.lstrip().startswith(opener):
            return text.partition(THINK_CLOSE)[0], THINK_CLOSE in text
    if opened or closed:
        return inner, bool(closed)
    return (said.reasoning, bool(said.content)) if said.reasoning else (said.content, False)


def without_thinking(text: str) -> str:
    """A text without the think block that it begins with; one that never ends leaves nothing."""
    if not text.lstrip().startswith(THINK_OPEN):
        return text
    return text.partition(THINK_CLOSE)[2]


def with_thinking(content: str, reasoning: str) -> str:
    """A reply as the model wrote it, where a server has put the thinking beside it; without an answer it is open."""
    if not reasoning or content.lstrip().startswith(THINK_OPEN):
        return content
    block = f"{THINK_OPEN}\n{reasoning.strip()}"
    return f"{block}\n{THINK_CLOSE}\n\n{content.lstrip()}" if content.strip() else block


def _cut(sample: Response, stops: tuple[str, ...]) -> Response:
    """The sample up to the first of the texts that end it, which not every server looks for."""
    ends = [at for stop in stops if (at := sample.text.find(stop)) >= 0]
    return replace(sample, text=sample.text[: min(ends)], finish_reason="stop") if ends else sample
