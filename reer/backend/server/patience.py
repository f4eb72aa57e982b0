"""How long a server is waited for: retries, the times that it names, and the errors after which asking on is no use.

The openai client would retry by itself, but not at all where a server wants more than two minutes, and an account
without money as often as a server that is busy. It is told not to, and this does it. Knows errors and headers; knows
nothing of what is asked.
"""

import asyncio
import email.utils
import math
import random
import re
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

from tqdm import tqdm

from reer.backend.server.told import name_of, told, words_of
from reer.config import OpenAIBackendConfig
from reer.errors import BackendError, ModelError

if TYPE_CHECKING:
    from openai import APIStatusError

T = TypeVar("T")

BACK_OFF, LONGEST_BACK_OFF = 0.5, 8.0
"""Seconds before the first retry, and before any."""
WORTH_TELLING = 10.0
"""Seconds of a wait that the user is told of."""
GOES_ON = "nothing is lost, and the same command goes on from here"
_NO_MONEY = re.compile(
    r"insufficient[_ ](quota|balance|funds|credits?)|credit balance|(no|out of) credits?\b|payment required|arrear|"
    r"budget (has been )?exceeded|exceeded? (your|the|its) (current )?(quota|budget)|billing_(hard_limit|not_active)|"
    r"欠费|余额不足",
    re.IGNORECASE,
)
_FOR_NOW = re.compile(r"(try again|retry|reset)\w* (in|after|at)\b|retry_?delay", re.IGNORECASE)
"""Some call the limit of a minute a quota as well."""
_FILTERED = re.compile(
    r"content[_ ]?(filter|policy|management)|data_?inspection|moderation|flagged|\bsafety\b|inappropriate content",
    re.IGNORECASE,
)


class Patience:
    """With one server: every request goes through `ask`."""

    def __init__(self, config: OpenAIBackendConfig) -> None:
        self._config = config
        self._told_until = 0.0

    async def ask(self, send: Callable[[], Awaitable[T]]) -> T:
        """What `send` returns, at the first attempt that does not fail.

        Raises:
            openai.OpenAIError: the server refused this request, or failed more often than `max_retries`.
            BackendError: it did not finish a reply in time as often.
            ModelError: every other request would be refused as well, or the server wants more than `max_wait`.
        """
        from openai import OpenAIError

        failures, waited = 0, 0.0
        while True:
            try:
                async with asyncio.timeout(self._config.timeout):
                    return await send()
            except (OpenAIError, TimeoutError) as error:
                self._refuse_hopeless(error)
                named, limited = named_wait(error), getattr(error, "status_code", None) == 429
                failures += not (named and limited)  # a limit that says when it ends is no failure
                if not _passes(error) or failures > self._config.max_retries:
                    raise self._given_up(error) from error
                waited += named or 0.0
                pause = self._named(error, named, waited) if named else _back_off(failures)
            await asyncio.sleep(pause)

    def _refuse_hopeless(self, error: Exception) -> None:
        from openai import APIStatusError

        if isinstance(error, APIStatusError) and is_hopeless(error):
            name = self._config.model_name
            raise ModelError(f"{name} cannot be asked: {told(error, self._config)}; {GOES_ON}") from error

    def _given_up(self, error: Exception) -> Exception:
        if not isinstance(error, TimeoutError):
            return error
        return BackendError(f"{self._config.model_name}: no whole reply in {self._config.timeout:g} s")

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


def say(message: str) -> None:
    """A line above the progress bars, where there are any."""
    tqdm.write(message, file=sys.stderr)


def named_wait(error: Exception) -> float | None:
    """Seconds that a server asks for, given as milliseconds, seconds or a date; None where it does not."""
    headers: Mapping[str, str] = getattr(getattr(error, "response", None), "headers", {})
    for name, unit in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        try:
            seconds = float(headers.get(name, "")) * unit
        except ValueError:
            continue
        return seconds if math.isfinite(seconds) and seconds > 0 else None
    date = email.utils.parsedate_tz(headers.get("retry-after", ""))
    ahead = email.utils.mktime_tz(date) - time.time() if date else 0.0
    return ahead if ahead > 0 else None


def _back_off(failures: int) -> float:
    longest = min(LONGEST_BACK_OFF, BACK_OFF * 2.0 ** (failures - 1))
    return longest * (1 - 0.25 * random.random())


def _passes(error: Exception) -> bool:
    """Whether the same request may well be taken the next time."""
    from openai import APIConnectionError, APIStatusError

    if isinstance(error, APIStatusError):
        wish = error.response.headers.get("x-should-retry")
        again = error.status_code in (408, 409, 429) or error.status_code >= 500
        return wish == "true" or (again and wish != "false")
    return isinstance(error, APIConnectionError | TimeoutError)


def is_hopeless(error: "APIStatusError") -> bool:
    """Whether every other request would be refused as well: no key, no money, no such model."""
    if is_filtered(error):
        return False
    return error.status_code in (401, 402, 403, 404) or (error.status_code in (400, 429) and has_no_money(error.body))


def has_no_money(body: Any) -> bool:
    """Whether the body of an error says that the account is exhausted, not that it is busy for now."""
    words = words_of(body)
    return bool(_NO_MONEY.search(words)) and not _FOR_NOW.search(words)


def is_filtered(error: "APIStatusError") -> bool:
    """Whether a filter objects to the texts of this one request."""
    return error.status_code in (400, 403, 422) and bool(_FILTERED.search(words_of(error.body)))
