"""One client of a server, or of several that serve the same: sends what they take, and finds out what they can do.

Knows requests and replies as JSON; what is asked, and what the replies mean, is up to others.
"""

import functools
import time
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any

from reer.backend.server.abilities import CONTINUE, ENGINE, LIMIT, Abilities, abilities_of
from reer.backend.server.calls.complaints import GOES_ON, has_no_money, is_filtered
from reer.backend.server.calls.patience import Patience
from reer.backend.server.calls.servers import Server, Servers
from reer.backend.server.replies import Said, read
from reer.backend.server.told import scrubbed, told
from reer.config import OpenAIBackendConfig
from reer.errors import ModelError

if TYPE_CHECKING:
    from openai import APIStatusError

Reply = tuple[object, float]
"""What the server sent, as JSON has it (a plain text where it is none), and the seconds it took."""

CHAT = "{}/chat/completions".format
ATTEMPTS = 3
"""Of a probe whose reply is odd."""
LENGTH = 128
"""Tokens of a probe's reply at most."""
INVENT = "Invent a name for a ship, and say in one short sentence what it carries."
COPY, BEGUN, NEXT = "Copy this line: alpha bravo charlie delta echo foxtrot", "alpha bravo charlie", " delta"
"""Continued, the turn goes on with a blank; no new turn begins with one."""


class Connection:
    """Requests to the servers of a config."""

    def __init__(
        self,
        config: OpenAIBackendConfig,
        abilities: Abilities | None = None,
        check: Callable[[Server], Awaitable[None]] | None = None,
    ) -> None:
        """`check`: see `Servers`. Raises: ConfigError: a public server and no key for it."""
        self.abilities = abilities or abilities_of(config)
        self.servers = Servers(config, check)
        self.patience = Patience(config, self.servers)
        self._config = config

    async def __aenter__(self) -> "Connection":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.servers.close()

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

    async def exactly(self, body: Mapping[str, Any], path: Callable[[str], str] = CHAT) -> Reply:
        """The reply to this very request, at this path of a server's address. Raises: as `Patience.ask`."""
        return await self.patience.ask(functools.partial(self._post, body, path))

    async def _post(self, body: Mapping[str, Any], path: Callable[[str], str], server: Server) -> Reply:
        started = time.perf_counter()
        url = path(str(server.client.base_url).rstrip("/"))
        try:
            reply: object = await server.client.post(url, body=dict(body), cast_to=object)
        except ValueError as error:  # called JSON by the server, and none
            reply = f"{error}"
        if isinstance(reply, dict) and not reply.get("choices") and has_no_money(reply):
            words = scrubbed(str(reply), self._config)
            raise ModelError(f"{self._config.model_name} cannot be asked: {words}; {GOES_ON}")
        return reply, time.perf_counter() - started

    async def find_out(self) -> None:
        """What the server can do, from a few tiny requests.

        Raises:
            Unanswered: it does not answer.
            ModelError: it cannot be asked at all.
        """
        from openai import APIStatusError, OpenAIError

        try:
            self.abilities.several = await self._takes_n()
            self.abilities.continues = await self._continues()
        except OpenAIError as error:
            if not isinstance(error, APIStatusError) or error.status_code >= 500:
                raise ModelError(f"{self.abilities.name} cannot be asked: {told(error, self._config)}") from error
            self.abilities.continues = False  # what is wrong with a request so small, the real ones will tell

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
