"""Any server that speaks the OpenAI chat protocol (OpenAI, vLLM, SGLang, gateways), as a generator and for judges.

Retries, back-off and Retry-After are the client library's. Scoring on a server is another matter
(`server_scorer.py`). The key comes from the environment and is never stored.
"""

import asyncio
import os
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from reer.backend.server.local import past_proxies
from reer.config import OpenAIBackendConfig
from reer.errors import BackendError, ConfigError, ModelError
from reer.text import encodable
from reer.types import FinishReason, GenerateRequest, Response, Usage

if TYPE_CHECKING:
    from openai.types import CompletionUsage

TOLD = 300
"""Characters of a server's complaint that are passed on."""


class OpenAIGenerator:
    """Chat completions, one request per sample where the seed matters.

    A server that knows neither the key nor the model ends the run (`ModelError`): it would refuse every request.
    """

    def __init__(self, config: OpenAIBackendConfig) -> None:
        from openai import AsyncOpenAI, DefaultAsyncHttpxClient

        self.model = config.model_name
        self._config = config
        self._slots = asyncio.Semaphore(config.concurrency)
        direct = DefaultAsyncHttpxClient(**past_proxies(config))
        self._client = AsyncOpenAI(**client_arguments(config), http_client=direct)
        self._limit = "max_tokens"
        """The server's name of the limit of a reply: newer models of OpenAI take only max_completion_tokens."""

    async def generate(self, requests: Sequence[GenerateRequest]) -> list[list[Response]]:
        """See `types.Generator`."""
        return await asyncio.gather(
            *(asyncio.gather(*(self._sample(request, seed) for seed in request.seeds)) for request in requests)
        )

    async def _sample(self, request: GenerateRequest, seed: int) -> Response:
        from openai import AuthenticationError, NotFoundError, OpenAIError
        from openai.types.chat import ChatCompletion

        async with self._slots:
            started = time.perf_counter()
            try:
                completion = await self._create(request, seed)
            except (AuthenticationError, NotFoundError) as error:  # so would every other request be
                raise ModelError(f"{self.model} cannot be asked: {told(error, self._config)}") from error
            except (OpenAIError, ValueError) as error:  # ValueError: a reply that is no JSON
                kind = NoJSONMode if request.schema and _about_json_mode(error) else BackendError
                raise kind(f"{self.model}: {told(error, self._config)}") from error
            seconds = time.perf_counter() - started
        if not isinstance(completion, ChatCompletion) or not completion.choices:
            raise BackendError(f"{self.model}: the server's reply is no chat completion")
        choice = completion.choices[0]
        if choice.message.refusal or choice.finish_reason == "content_filter":
            reason = encodable(choice.message.refusal or "content filter")
            raise Refusal(reason, _usage(completion.usage, seconds))
        finish: FinishReason = "length" if choice.finish_reason == "length" else "stop"
        text = encodable(choice.message.content or "").removeprefix(request.prefill)
        used = _usage(completion.usage, seconds)
        return Response(text=text, finish_reason=finish, usage=used, served_model=completion.model)

    async def _create(self, request: GenerateRequest, seed: int) -> Any:
        from openai import BadRequestError

        limit, newer = self._limit, "max_completion_tokens"
        try:
            return await self._client.chat.completions.create(**self._arguments(request, seed, limit))
        except BadRequestError as error:
            if limit == newer or newer not in str(error):
                raise
        completion = await self._client.chat.completions.create(**self._arguments(request, seed, newer))
        self._limit = newer
        return completion

    def _arguments(self, request: GenerateRequest, seed: int, limit: str) -> dict[str, Any]:
        messages = [{"role": m.role, "content": m.content} for m in request.messages]
        arguments: dict[str, Any] = {
            "model": self.model,
            "messages": messages,
            "temperature": request.temperature,
            limit: request.max_tokens,
            "seed": seed % 2**31,
        }
        if request.top_p < 1:  # some servers refuse a temperature and a top_p together
            arguments["top_p"] = request.top_p
        if request.stop:
            arguments["stop"] = list(request.stop)
        if request.schema:
            schema = {"name": "verdict", "strict": True, "schema": request.schema}
            arguments["response_format"] = {"type": "json_schema", "json_schema": schema}
        if request.prefill:
            messages.append({"role": "assistant", "content": request.prefill})
            # vLLM's and SGLang's way to continue a turn that was begun
            arguments["extra_body"] = {"continue_final_message": True, "add_generation_prompt": False}
        return arguments


def client_arguments(config: OpenAIBackendConfig) -> dict[str, Any]:
    """Where the server is and how patient to be with it.

    Raises:
        ConfigError: a public server and no key for it.
    """
    key = os.environ.get(config.api_key_env)
    if not key and not config.base_url and not os.environ.get("OPENAI_BASE_URL"):
        raise ConfigError(f"backend=openai needs a key in the environment variable {config.api_key_env}")
    return {
        "base_url": config.base_url,
        "api_key": key or "none",
        "timeout": config.timeout,
        "max_retries": config.max_retries,
    }


class Refusal(BackendError):
    """The model declined to answer, which is paid for like any other reply."""

    def __init__(self, reason: str, usage: Usage = Usage(calls=1)) -> None:  # noqa: B008 - it is frozen
        super().__init__(reason)
        self.usage = usage


class NoJSONMode(BackendError):
    """The server refuses requests for JSON of a given schema."""


def _about_json_mode(error: Exception) -> bool:
    """Whether a server complains of the schema it was to follow, not of anything else about the request."""
    from openai import BadRequestError, UnprocessableEntityError

    complaint = str(error).lower()
    about = any(word in complaint for word in ("response_format", "json_schema", "structured output", "guided"))
    return about and isinstance(error, BadRequestError | UnprocessableEntityError)


def _usage(used: "CompletionUsage | None", seconds: float) -> Usage:
    if used is None:
        return Usage(calls=1, seconds=seconds)
    details = used.prompt_tokens_details
    cached = (details.cached_tokens or 0) if details else 0
    return Usage(
        calls=1,
        generated_tokens=used.completion_tokens or 0,  # some gateways fill the fields with null
        prefilled_tokens=(used.prompt_tokens or 0) - cached,
        reused_tokens=cached,
        seconds=seconds,
    )


def told(error: Exception, config: OpenAIBackendConfig) -> str:
    """The error in one line, without the key that a server may have repeated in it."""
    text, key = " ".join(f"{type(error).__name__}: {error}".split()), os.environ.get(config.api_key_env)
    return (text.replace(key, f"${config.api_key_env}") if key else text)[:TOLD]
