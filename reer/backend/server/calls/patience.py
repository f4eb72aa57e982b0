"""How long an answer is waited for: deadlines, retries, the times that servers name, and when the run has to end.

The openai client would retry by itself, but not at all where a server wants more than two minutes, and an account
without money as often as a server that is busy; its timeout is one of each read, so that a body that drips passes any.
It is told to do neither, and this does it. Knows errors; knows nothing of what is asked.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import TypeVar

from reer.backend.server.calls.complaints import GOES_ON, is_hopeless, named_wait, passes
from reer.backend.server.calls.servers import Server, Servers
from reer.backend.server.told import name_of, say, told
from reer.config import OpenAIBackendConfig
from reer.errors import ModelError, Unanswered

T = TypeVar("T")

BACK_OFF, LONGEST_BACK_OFF = 0.5, 30.0
"""Seconds within which the first retry comes, and any."""
SLOW = 3
"""Attempts at one request that may end by its deadline: it would cost hours to find out more often."""
WORTH_TELLING = 10.0
"""Seconds of a wait that the user is told of."""


class Patience:
    """With the servers of a config: every request goes through `ask`."""

    def __init__(self, config: OpenAIBackendConfig, servers: Servers) -> None:
        self._config = config
        self._servers = servers
        self._told_until = 0.0
        self._failed = 0
        self._answered = float("-inf")

    async def ask(self, send: Callable[[Server], Awaitable[T]]) -> T:
        """What `send` returns, at the first attempt that does not fail.

        Another server that is up is asked at once, for nothing; when all were, that is one failure.

        Raises:
            openai.OpenAIError: the server refused this request.
            Unanswered: it failed more often than `max_retries`, or was not answered in time.
            ModelError: every other request would be refused as well, or the server wants more than `max_wait`.
        """
        from openai import OpenAIError

        failures, slow, waited, failed = 0, 0, 0.0, float("inf")
        tried: list[Server] = []
        while True:
            try:
                async with self._servers.one(tried) as server:
                    tried.append(server)
                    async with asyncio.timeout(self._config.timeout):
                        reply = await send(server)
                self._answered = time.monotonic()
                return reply
            except (OpenAIError, TimeoutError) as error:
                self._refuse_hopeless(error)
                if not passes(error):
                    raise
                slow += isinstance(error, TimeoutError)
                if slow < SLOW and self._servers.has_other(tried):
                    continue
                tried.clear()
                named, limited = named_wait(error), getattr(error, "status_code", None) == 429
                failures += not (named and limited)  # a limit that says when it ends is no failure
                if failures > self._config.max_retries or slow >= SLOW:
                    raise self._given_up(error, failed) from error
                failed = min(failed, time.monotonic())
                waited += named or 0.0
                pause = self._named(error, named, waited) if named else _back_off(failures)
            await asyncio.sleep(pause)

    def came_back(self, fault: str | None) -> None:
        """Tell how one request of the work ended, with all its retries; None: well.

        Raises:
            ModelError: so many in a row have failed that the next ones would as well.
        """
        self._failed = 0 if fault is None else self._failed + 1
        if self._failed >= self._config.max_failures:
            raise ModelError(
                f"{name_of(self._config)}: {self._failed} requests in a row have failed, the last one for: {fault}; "
                f"{GOES_ON}"
            )

    def _refuse_hopeless(self, error: Exception) -> None:
        from openai import APIStatusError

        if isinstance(error, APIStatusError) and is_hopeless(error):
            name = self._config.model_name
            raise ModelError(f"{name} cannot be asked: {told(error, self._config)}; {GOES_ON}") from error

    def _given_up(self, error: Exception, failed: float) -> Unanswered:
        """`failed`: when it did so first. A server that has answered others since then is not down."""
        late = f"no whole reply in {self._config.timeout:g} s"
        words = late if isinstance(error, TimeoutError) else told(error, self._config)
        return Unanswered(words, alone=self._answered > failed)

    def _named(self, error: Exception, pause: float, waited: float) -> float:
        """The wait that the server names, told to the user once where many requests meet it."""
        if waited > self._config.max_wait:
            raise ModelError(
                f"{self._config.model_name} wants to be left alone for {waited:.0f} s, which is more than "
                f"max_wait={self._config.max_wait:g} ({told(error, self._config)}); {GOES_ON}"
            ) from error
        until = time.time() + pause
        if pause >= WORTH_TELLING and until > self._told_until + 1:
            self._told_until = until
            clock = datetime.fromtimestamp(until).strftime("%H:%M:%S")
            say(f"{name_of(self._config)}: waiting {pause:.0f} s, until {clock} ({told(error, self._config)})")
        return pause


def _back_off(failures: int) -> float:
    """Anything up to the bound ("full jitter"), so that requests that failed together do not come back together."""
    return random.uniform(0, min(LONGEST_BACK_OFF, BACK_OFF * 2.0 ** (failures - 1)))
