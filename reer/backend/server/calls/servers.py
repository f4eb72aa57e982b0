"""Servers of one model, and which of them gets the next request: the one with most room that is not down.

Of several, one that does not answer rests for a while, is then looked at once more, and takes part again if it serves
what the others serve. A server that is alone never rests: its requests wait and ask again (`patience.py`). Knows no
request and no reply.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager

from reer.backend.server.calls.complaints import is_pressure, named_wait, passes
from reer.backend.server.calls.local import past_proxies
from reer.backend.server.calls.slots import Slots
from reer.backend.server.told import address_of, apart, client_arguments, say, told
from reer.config import OpenAIBackendConfig
from reer.errors import BackendError, ModelError

REST, LONGEST_REST = 5.0, 120.0
"""Seconds that a server rests when it is found down, and at most when it is so again and again."""
IN_A_ROW = 3
"""Failed requests after which one that still replies counts as down; where it cannot be reached, one does."""


class Server:
    """One address, and how it does."""

    def __init__(self, config: OpenAIBackendConfig) -> None:
        """`config`: with one address alone. Raises: ConfigError: a public server and no key for it."""
        from openai import AsyncOpenAI, DefaultAsyncHttpxClient

        self.config = config
        self.name = address_of(config)
        http = DefaultAsyncHttpxClient(**past_proxies(config))
        self.client: AsyncOpenAI = AsyncOpenAI(**client_arguments(config), http_client=http)
        self.slots = Slots(config.concurrency)
        self.down = False
        self.barred = False
        """It serves something else than the others."""
        self.rests_until = float("-inf")
        self.failed = 0
        """Requests in a row."""
        self._rest = REST

    def is_up(self, now: float) -> bool:
        return not self.barred and now >= self.rests_until

    @property
    def free(self) -> int:
        """One that was down is tried by one request before it gets any other."""
        return (1 - self.slots.taken) if self.down else self.slots.free

    def lay_down(self, now: float, why: str) -> None:
        """Let it rest, twice as long as the last time."""
        say(f"{self.name} is down ({why}): the others do its work, and it is tried again in {self._rest:.0f} s")
        self.down, self.rests_until = True, now + self._rest
        self._rest = min(LONGEST_REST, self._rest * 2)

    def get_up(self) -> None:
        if self.down:
            say(f"{self.name} is back")
        self.down, self.failed, self._rest = False, 0, REST


class Servers:
    """All addresses of a config."""

    def __init__(self, config: OpenAIBackendConfig, check: Callable[[Server], Awaitable[None]] | None = None) -> None:
        """`check` looks at a server that was down before it gets any work, and raises BackendError where it does not
        answer, ModelError where it serves something else than the others."""
        self.all = [Server(one) for one in apart(config)]
        self._check = check
        self._waiting: deque[tuple[asyncio.Future[Server], Collection[Server]]] = deque()

    async def close(self) -> None:
        for server in self.all:
            await server.client.close()

    def has_other(self, tried: Collection[Server]) -> bool:
        """Whether one that is up has not been tried."""
        now = time.monotonic()
        return any(server.is_up(now) and server not in tried for server in self.all)

    @asynccontextmanager
    async def one(self, tried: Collection[Server] = ()) -> AsyncIterator[Server]:
        """A server with room, waited for if need be, rather one that this request has not tried; what is raised
        while it is used is what the server did."""
        from openai import OpenAIError

        server = await self._checked(tried)
        begun = time.monotonic()
        try:
            yield server
        except (OpenAIError, TimeoutError) as error:
            self._failed(server, error, begun)
            raise
        else:
            server.slots.answered()
            server.get_up()
        finally:
            self._leave(server)

    async def _checked(self, tried: Collection[Server]) -> Server:
        """A server with room that is known to be like the others."""
        while True:
            server = await self._take(tried)
            if not (server.down and self._check):
                return server
            try:
                await self._check(server)
                return server
            except ModelError as error:
                server.barred = True
                self._leave(server)
                if all(one.barred for one in self.all):
                    raise
                say(f"{error}; it is left out")
            except BackendError as error:
                if not self.has_other([server]):
                    return server  # it will not answer either, and that is for its request to tell
                server.lay_down(time.monotonic(), str(error))
                self._leave(server)
            except asyncio.CancelledError:
                self._leave(server)
                raise

    def _leave(self, server: Server) -> None:
        server.slots.taken -= 1
        self._hand_on()

    def _failed(self, server: Server, error: Exception, begun: float) -> None:
        from openai import APIConnectionError

        if not passes(error):  # the request's own fault: the server answers
            server.get_up()
            return
        if is_pressure(error):
            server.slots.pressed(begun)
        server.failed += 1
        now = time.monotonic()
        if not server.is_up(now) or not self.has_other([server]):
            return
        if server.down or isinstance(error, APIConnectionError) or server.failed >= IN_A_ROW:
            server.lay_down(now, told(error, server.config))
        elif wait := named_wait(error):
            server.rests_until = now + wait

    async def _take(self, tried: Collection[Server]) -> Server:
        if not self._waiting and (server := self._pick(tried)):
            server.slots.taken += 1
            return server
        place: asyncio.Future[Server] = asyncio.get_running_loop().create_future()
        self._waiting.append((place, tried))
        try:
            return await place
        except asyncio.CancelledError:
            if not place.cancelled():  # it was given one at the very moment
                self._leave(place.result())
            raise

    def _hand_on(self) -> None:
        """Give what is free to those who wait, first come first served."""
        while self._waiting:
            place, tried = self._waiting[0]
            server = None if place.done() else self._pick(tried)
            if server is None and not place.done():
                return
            self._waiting.popleft()
            if server is not None:
                server.slots.taken += 1
                place.set_result(server)

    def _pick(self, tried: Collection[Server]) -> Server | None:
        """The one with most room; one that was down goes first, with one request. Where all are down, any may be
        back."""
        now = time.monotonic()
        up = [one for one in self.all if one.is_up(now)] or [one for one in self.all if not one.barred]
        rather = [one for one in up if one not in tried] or up
        roomy = [one for one in rather if one.free > 0]
        return max(roomy, key=lambda one: (one.down, one.free), default=None)
