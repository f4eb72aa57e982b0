"""Any server that speaks the OpenAI chat protocol (OpenAI, vLLM, SGLang, gateways), as a generator and for judges.

What a server can do is found out, and each kind is asked in its own way: where a begun turn is not continued, its
beginning is asked for in words, and the reply is cut and taken apart here. Scoring on a server is another matter
(`scorer.py`). The key comes from the environment and is never stored.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeGuard

from reer.backend.server import alike
from reer.backend.server.abilities import CONTINUE, is_about_json
from reer.backend.server.calls.complaints import is_filtered
from reer.backend.server.calls.servers import Server
from reer.backend.server.connection import Connection
from reer.backend.server.replies import Said, read, sample_of
from reer.backend.server.told import TOLD, client_arguments, told, words_of
from reer.config import OpenAIBackendConfig
from reer.errors import BackendError, Unanswered
from reer.text import language_of, seed_of
from reer.types import Failed, GenerateRequest, Response, Usage

__all__ = ["TOLD", "NoJSONMode", "OpenAIGenerator", "Refusal", "client_arguments", "sound", "told"]

BEGIN = {
    "en": "Begin your reply with exactly these words, and go on from there:\n{opener}",
    "zh": "请原样以下面的文字作为回复的开头，然后接着往下写：\n{opener}",
}
"""How the beginning of a reply is asked for where the turn cannot be begun."""
Draw = Response | Failed


class OpenAIGenerator:
    """Chat completions: all samples of a request at once where the server takes `n`, else one request for each.

    A server that knows neither the key nor the model ends the run (`ModelError`): it would refuse every request.
    """

    def __init__(self, config: OpenAIBackendConfig) -> None:
        """Raises: ConfigError: a public server and no key for it."""
        self.model = config.model_name
        self._config = config
        self._connection = Connection(config, check=self._check)
        self._abilities = self._connection.abilities
        self._learning = asyncio.Lock()

    async def prepare(self) -> None:
        """Find out what the server can do, if nobody has yet, and say it in one line.

        Raises:
            ModelError: it cannot be asked at all, or several servers are not alike.
        """
        async with self._learning:
            if self._abilities.continues is None:
                down = await alike.find_out(self._config)
                for server in self._connection.servers.all:
                    server.down = server.name in down

    async def _check(self, server: Server) -> None:
        await alike.look_again(server.config, self._abilities)

    async def generate(self, requests: Sequence[GenerateRequest]) -> list[list[Draw]]:
        """See `types.Generator`."""
        shared = len(self._connection.servers.all) > 1
        if shared or any(request.prefill or request.stop or len(request.seeds) > 1 for request in requests):
            await self.prepare()
        return await asyncio.gather(*(self._draws(request) for request in requests))

    async def _draws(self, request: GenerateRequest) -> list[Draw]:
        """`_drawn`, and what it means for the run. Raises: ModelError: it is one failure too many."""
        try:
            draws = await self._drawn(request)
        except Unanswered as error:
            self._connection.patience.came_back(str(error))
            raise
        faults = [draw.reason for draw in draws if _is_odd(draw)]
        self._connection.patience.came_back(faults[0] if len(faults) == len(draws) > 0 else None)
        return draws

    async def _drawn(self, request: GenerateRequest) -> list[Draw]:
        """One draw per seed. One that failed is asked for once more as it was, for a server's fault passes, and then
        with other seeds; not so a refusal."""
        draws = await self._ask(request, request.seeds)
        for turn in range(self._config.resample):
            odd = [n for n, draw in enumerate(draws) if _is_odd(draw)]
            if not odd:
                break
            seeds = [request.seeds[n] for n in odd]
            again = await self._ask(request, [seed_of(seed, "again", turn) for seed in seeds] if turn else seeds)
            for n, draw in zip(odd, again, strict=True):
                before = draws[n]
                draws[n] = replace(draw, faults=before.faults + draw.faults, usage=before.usage + draw.usage)
        return draws

    async def _ask(self, request: GenerateRequest, seeds: Sequence[int]) -> list[Draw]:
        if self._abilities.several:
            return await self._request(request, seeds)
        return [draw for [draw] in await asyncio.gather(*(self._request(request, [seed]) for seed in seeds))]

    async def _request(self, request: GenerateRequest, seeds: Sequence[int]) -> list[Draw]:
        """One request for a sample per seed; the server learns the first of them."""
        from openai import APIStatusError, OpenAIError

        try:
            reply, seconds = await self._connection.send(self._wanted(request, seeds))
        except APIStatusError as error:
            words = told(error, self._config)
            if is_filtered(error):
                return [Failed(faults=(f"refused: {words}",))] * len(seeds)
            kind = NoJSONMode if request.schema and _about_json_mode(error) else BackendError
            raise kind(f"{self.model}: {words}") from error
        except Unanswered as error:
            raise Unanswered(f"{self.model}: {error}", alone=error.alone) from error
        except OpenAIError as error:
            raise BackendError(f"{self.model}: {told(error, self._config)}") from error
        found = read(reply, self._config, seconds)[: len(seeds)]
        missing = Failed(faults=(f"no_message: {len(found)} of {len(seeds)} samples came",))
        return [self._draw(one, request) for one in found] + [missing] * (len(seeds) - len(found))

    def _draw(self, one: Said | Failed, request: GenerateRequest) -> Draw:
        if isinstance(one, Failed):
            return one
        return sample_of(one, request, continues=bool(self._abilities.continues))

    def _wanted(self, request: GenerateRequest, seeds: Sequence[int]) -> dict[str, Any]:
        """The request as the server should be asked; what it refuses of it is not known here."""
        messages = [{"role": m.role, "content": m.content} for m in request.messages]
        extra: dict[str, Any] = {"n": len(seeds)} if len(seeds) > 1 else {}
        if request.prefill and self._abilities.continues:
            messages.append({"role": "assistant", "content": request.prefill})
            extra |= CONTINUE
        elif request.prefill:
            asked = BEGIN[language_of(messages[-1]["content"])].format(opener=request.prefill)
            messages[-1]["content"] += f"\n\n{asked}"
        if request.stop and self._abilities.continues:  # elsewhere the server's own thinking might hold it
            extra["stop"] = list(request.stop)
        if request.schema:
            schema = {"name": "verdict", "strict": True, "schema": request.schema}
            extra["response_format"] = {"type": "json_schema", "json_schema": schema}
        drawn = (request.max_tokens, request.temperature, request.top_p, seeds[0])
        return self._connection.parameters(messages, *drawn) | extra


def _is_odd(draw: Draw) -> TypeGuard[Failed]:
    return isinstance(draw, Failed) and draw.kind != "refused"


class Refusal(BackendError):
    """The model declined to answer, which is paid for like any other reply."""

    def __init__(self, reason: str, usage: Usage = Usage(calls=1)) -> None:  # noqa: B008 - it is frozen
        super().__init__(reason)
        self.usage = usage


class NoJSONMode(BackendError):
    """The server refuses requests for JSON of a given schema."""


def sound(draw: Draw) -> Response:
    """A draw that is a sample.

    Raises:
        Refusal: the model or a filter declined.
        BackendError: an odd reply.
    """
    if isinstance(draw, Response):
        return draw
    if draw.kind == "refused":
        raise Refusal(draw.reason.partition(": ")[2], draw.usage)
    raise BackendError(f"the reply is no sample ({draw.reason})")


def _about_json_mode(error: Exception) -> bool:
    """Whether a server complains of the schema it was to follow, not of anything else about the request."""
    from openai import BadRequestError, UnprocessableEntityError

    return isinstance(error, BadRequestError | UnprocessableEntityError) and is_about_json(words_of(error.body))
