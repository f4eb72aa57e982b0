"""One client of a server: sends what the server takes, waits as long as is sensible, and finds out what it can do.

Knows requests and replies as JSON; what is asked, and what the replies mean, is up to others.
"""

import asyncio
import functools
import time
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any

from reer.backend.server.abilities import CONTINUE, ENGINE, LIMIT, abilities_of
from reer.backend.server.local import past_proxies
from reer.backend.server.patience import GOES_ON, Patience, has_no_money, is_filtered, say
from reer.backend.server.replies import Said, read
from reer.backend.server.told import client_arguments, scrubbed, told
from reer.config import OpenAIBackendConfig
from reer.errors import BackendError, ModelError

if TYPE_CHECKING:
    from openai import APIStatusError

Reply = tuple[object, float]
"""What the server sent, as JSON has it (a plain text where it is none), and the seconds it took."""

ATTEMPTS = 3
"""Of a probe whose reply is odd."""
LENGTH = 128
"""Tokens of a probe's reply at most."""
INVENT = "Invent a name for a ship, and say in one short sentence what it carries."
COPY, BEGUN, NEXT = "Copy this line: alpha bravo charlie delta echo foxtrot", "alpha bravo charlie", " delta"
"""Continued, the turn goes on with a blank; no new turn begins with one."""


class Connection:
    """Requests to one server, at most `concurrency` at once."""

    def __init__(self, config: OpenAIBackendConfig) -> None:
        """Raises: ConfigError: a public server and no key for it."""
        from openai import AsyncOpenAI, DefaultAsyncHttpxClient

        self.abilities = abilities_of(config)
        self._config = config
        direct = DefaultAsyncHttpxClient(**past_proxies(config))
        self._client = AsyncOpenAI(**client_arguments(config) | {"max_retries": 0}, http_client=direct)
        self._patience = Patience(config)
        self._slots = asyncio.Semaphore(config.concurrency)

    async def __aenter__(self) -> "Connection":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.close()

    async def send(self, wanted: Mapping[str, Any]) -> Reply:
        """The reply to a request; what the server refuses of it is left out, now and from now on.

        Raises: as `Patience.ask`.
        """
        from openai import BadRequestError, UnprocessableEntityError

        refused: dict[str, str] = {}
        first: APIStatusError | None = None
        while True:
            body = self.abilities.fit(wanted, refused)
            try:
                reply = await self.exactly(body)
            except (BadRequestError, UnprocessableEntityError) as error:
                first = first or error
                names = [] if is_filtered(error) else self.abilities.suspects(error, body)
                if not names:
                    raise first from error
                refused |= dict.fromkeys(names, told(error, self._config))
            else:
                self.abilities.learn(body, refused)
                return reply

    async def exactly(self, body: Mapping[str, Any]) -> Reply:
        """The reply to this very request. Raises: as `Patience.ask`."""
        async with self._slots:
            return await self._patience.ask(functools.partial(self._post, body))

    async def _post(self, body: Mapping[str, Any]) -> Reply:
        started = time.perf_counter()
        try:
            reply: object = await self._client.post("/chat/completions", body=dict(body), cast_to=object)
        except ValueError as error:  # called JSON by the server, and none
            reply = f"{error}"
        if isinstance(reply, dict) and not reply.get("choices") and has_no_money(reply):
            words = scrubbed(str(reply), self._config)
            raise ModelError(f"{self._config.model_name} cannot be asked: {words}; {GOES_ON}")
        return reply, time.perf_counter() - started

    async def find_out(self) -> None:
        """What the server can do, from a few tiny requests; says it in one line.

        Raises:
            ModelError: it cannot be asked at all.
        """
        from openai import APIStatusError, OpenAIError

        try:
            self.abilities.several = await self._takes_n()
            self.abilities.continues = await self._continues()
        except APIStatusError as error:
            if error.status_code >= 500:
                raise ModelError(f"{self.abilities.name} cannot be asked: {told(error, self._config)}") from error
            self.abilities.continues = False  # what is wrong with a request so small, the real ones will tell
        except (OpenAIError, BackendError) as error:
            raise ModelError(f"{self.abilities.name} cannot be asked: {told(error, self._config)}") from error
        say(self.abilities.sentence)

    async def _takes_n(self) -> bool:
        """Whether a request for two samples gets two. Where both begin with the same seed they are one: no use."""
        asked = self.parameters([{"role": "user", "content": INVENT}], LENGTH, 0.7, 0.95, 1) | {"n": 2}
        samples = await self._texts(asked)
        if len(samples) < 2:
            return False
        if len(set(samples)) == 1 and samples[0]:
            del asked["seed"]
            return len(set(await self._texts(asked))) == 1  # a server that always says the same
        return True

    async def _continues(self) -> bool:
        """Whether a begun turn is continued, as far as a model shows it that can copy a line; vLLM also tells
        otherwise: its two parameters exclude each other."""
        from openai import BadRequestError

        turns = [{"role": "user", "content": COPY}, {"role": "assistant", "content": BEGUN}]
        asked = self.parameters(turns, LENGTH, 0.0, 1.0, 1) | CONTINUE
        if any(text.startswith(NEXT) for text in await self._texts(asked)):
            return True
        if CONTINUE.keys() & self.abilities.left_out.keys():
            return False
        try:
            await self.exactly(self.abilities.fit(asked | {"add_generation_prompt": True}))
        except BadRequestError:
            return True
        return False

    async def _texts(self, asked: Mapping[str, Any]) -> list[str]:
        """What a probe brings; nothing where every attempt at it brings an odd reply."""
        for _ in range(ATTEMPTS):
            reply, _seconds = await self.send(asked)
            said = [one for one in read(reply, self._config) if isinstance(one, Said)]
            if said:
                return [one.content or one.reasoning for one in said]
        return []

    def parameters(
        self, messages: list[dict[str, str]], max_tokens: int, temperature: float, top_p: float, seed: int
    ) -> dict[str, Any]:
        """What every request says: all that decides how a token is drawn."""
        drawn = {"temperature": temperature, "top_p": top_p, "seed": seed % 2**31, **ENGINE}
        return {"model": self._config.model_name, "messages": messages, LIMIT: max_tokens, **drawn}
