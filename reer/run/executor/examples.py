"""Work on many examples at once: a fixed number in flight, no barriers, one broken example stops no other.

Every event goes to the ledger before the next one is begun. Where an example is searched, here or by an actor on
another machine, the searcher knows; one that is lost on the way is begun again from its last recorded event.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import aclosing
from typing import Protocol

from reer.errors import BackendError, ExampleError, PromptError, UserError, WorkerLost
from reer.run.executor.stopping import draining
from reer.run.ledger import Ledger
from reer.types import Event, Example

log = logging.getLogger(__name__)

LOSSES = 3
"""Workers that one example may lose in a row, without an event of it in between: more may be its own fault."""
OnEvent = Callable[[Example, Event | None], None]


class Searcher(Protocol):
    """`reer.method.search.Search`, or what stands for it elsewhere."""

    def run(self, example: Example, recorded: Sequence[Event] = ()) -> AsyncGenerator[Event]:
        """The events that follow the recorded ones, in order, each once.

        Raises:
            ExampleError, BackendError: this example ends so.
            WorkerLost: whoever searched it is gone.
        """
        ...


async def run_examples(
    examples: Iterable[Example], search: Searcher, ledger: Ledger, concurrency: int, on_event: OnEvent
) -> None:
    """Search every example, from where it stands; `on_event` gets each event, and None when an example ends.

    Raises:
        UserError: a model can be asked nothing at all (a key that its server does not know, say).
        KeyboardInterrupt: it was told to stop; events that came within a few seconds are recorded.
    """
    todo = iter(examples)
    mistake: BaseException | None = None

    async def worker(stop: asyncio.Event) -> None:
        for example in todo:
            if await _run_one(example, search, ledger, on_event, stop):
                on_event(example, None)
            if stop.is_set():
                return

    try:
        async with draining() as stop, asyncio.TaskGroup() as group:
            for _ in range(concurrency):
                group.create_task(worker(stop))
    except* UserError as mistakes:
        mistake = mistakes.exceptions[0]  # every worker has met the same one
    if mistake:
        raise mistake


async def _run_one(example: Example, search: Searcher, ledger: Ledger, on_event: OnEvent, stop: asyncio.Event) -> bool:
    """Whether it came to an end; if not, it was stopped between two events and stays open."""
    try:
        await _events(example, search, ledger, on_event, stop)
    except (ExampleError, PromptError) as error:  # PromptError: a language without prompts
        ledger.finish(example.id, "quarantined", str(error))
    except BackendError as error:
        ledger.finish(example.id, "failed", str(error))
    except (RuntimeError, ValueError, ArithmeticError, LookupError, TypeError, AttributeError) as error:
        # A fault nobody foresaw costs this one example; the next run tries it again.
        log.exception("example %s", example.id)
        ledger.finish(example.id, "failed", f"{type(error).__name__}: {error}")
    else:
        if stop.is_set():
            return False
        ledger.finish(example.id, "done")
    return True


async def _events(example: Example, search: Searcher, ledger: Ledger, on_event: OnEvent, stop: asyncio.Event) -> None:
    """Record them one by one, with as many workers as it takes.

    Raises:
        WorkerLost: too many of them were lost in a row.
    """
    lost = 0
    while True:
        recorded = ledger.begin(example)
        n = len(recorded)
        try:
            async with aclosing(search.run(example, recorded)) as events:
                async for event in events:
                    ledger.commit(example.id, n, event)
                    n, lost = n + 1, 0
                    on_event(example, event)
                    if stop.is_set():
                        return
            return
        except WorkerLost as error:
            lost += 1
            log.warning("example %s goes on from event %d with another worker: %s", example.id, n, error)
            if lost >= LOSSES:
                raise
