"""The day that chat templates are told (`strftime_now`): that of the experiment, whichever day it is by now.

One for the whole process, as a stage settles it: the prompts of scorer, generator and judge name the same day.
"""

from datetime import date, datetime, time

_settled: list[date] = []


def settle(day: date) -> None:
    """From now on it is this day."""
    _settled[:] = [day]


def strftime(form: str) -> str:
    """What transformers gives templates as `strftime_now`: of the settled day at midnight, or of this moment."""
    now = datetime.combine(_settled[0], time()) if _settled else datetime.now()
    return now.strftime(form)
