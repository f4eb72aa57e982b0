"""What the error of a request tells: whether to ask again, when, and whether anybody will ever get an answer.

Knows errors, headers and bodies; asks nothing.
"""

import email.utils
import math
import re
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from reer.backend.server.told import words_of

if TYPE_CHECKING:
    from openai import APIStatusError

GOES_ON = "nothing is lost, and the same command goes on from here"
_BUSY = (429, 503, 529)
"""What servers reply that have more to do than they can."""
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


def passes(error: Exception) -> bool:
    """Whether the same request may well be taken the next time."""
    from openai import APIConnectionError, APIStatusError

    if isinstance(error, APIStatusError):
        wish = error.response.headers.get("x-should-retry")
        again = error.status_code in (408, 409, 429) or error.status_code >= 500
        return wish == "true" or (again and wish != "false")
    return isinstance(error, APIConnectionError | TimeoutError)


def is_pressure(error: Exception) -> bool:
    """Whether it says, or looks as if, the server is asked more at once than it can."""
    return isinstance(error, TimeoutError) or getattr(error, "status_code", None) in _BUSY


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
