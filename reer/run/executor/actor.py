"""What runs in an actor on a cluster: engines of its own, many tasks at once, and reports that are fetched in batches.

A task has an id; every report names it and its own number within it, so that nothing is counted twice or for another
task. Plain Python: Ray wraps this class (`cluster`). Knows nothing of models: what it works with is built by a
function that is given by its name.
"""

import asyncio
import logging
import os
import pkgutil
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from reer.errors import BackendError, ReerError, UserError

log = logging.getLogger(__name__)


class Work(Protocol):
    """What the named function builds."""

    def run(self, *given: Any) -> AsyncGenerator[Any]:
        """The results of one task, in order."""
        ...

    def facts(self) -> Any:
        """What is known of the engines by now."""
        ...


@dataclass(frozen=True, slots=True)
class Report:
    """A result of a task, or its end."""

    task: int
    n: int
    """How many results of this task came before."""
    result: Any = None
    ended: bool = False
    error: ReerError | None = None
    """Why it ended, if not well."""


class Actor:
    """One process of a cluster."""

    def __init__(self, build: str, given: tuple[Any, ...], folder: str) -> None:
        """`build`, MODULE:NAME of a function, makes `Work` of `given`; relative paths in it start at `folder`."""
        self._build, self._given, self._folder = build, given, folder
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._sent: dict[int, int] = {}
        self._reports: asyncio.Queue[Report] = asyncio.Queue()

    async def build(self) -> UserError | None:
        """Build the engines; what the user can mend is returned, for it is to be said as it is."""
        if Path(self._folder).is_dir():
            os.chdir(self._folder)
        try:
            self._work: Work = await asyncio.to_thread(pkgutil.resolve_name(self._build), *self._given)
        except UserError as error:
            return error
        return None

    async def facts(self) -> Any:
        return self._work.facts()

    async def begin(self, task: int, *given: Any) -> None:
        """Work on a task from now on."""
        self._sent[task] = 0
        self._tasks[task] = asyncio.create_task(self._run(task, given))
        self._tasks[task].add_done_callback(partial(self._end, task))

    async def drop(self, task: int) -> None:
        """Nobody waits for it any more."""
        if task in self._tasks:
            self._tasks[task].cancel()

    async def reports(self) -> list[Report]:
        """What was not fetched yet, as soon as there is something."""
        found = [await self._reports.get()]
        while not self._reports.empty():
            found.append(self._reports.get_nowait())
        return found

    async def _run(self, task: int, given: tuple[Any, ...]) -> None:
        async for result in self._work.run(*given):
            self._reports.put_nowait(Report(task, self._sent[task], result))
            self._sent[task] += 1

    def _end(self, task: int, run: asyncio.Task[None]) -> None:
        del self._tasks[task]
        sent = self._sent.pop(task)
        if run.cancelled():
            return
        error = run.exception()
        if error is not None and not isinstance(error, ReerError):
            log.error("a task failed", exc_info=error)
            error = BackendError(f"{type(error).__name__}: {error}")
        self._reports.put_nowait(Report(task, sent, ended=True, error=error))
