"""Work on many examples at once, here: a fixed number in flight, no barriers, one broken example stops no other.

Every event goes to the ledger before the next one is begun. Knows nothing of models.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Protocol

from reer.errors import BackendError, ExampleError, PromptError, UserError
from reer.run.ledger import Ledger
from reer.types import Event, Example

log = logging.getLogger(__name__)


class Work(Protocol):
    """What is done with one example: a search, say."""

    def run(self, example: Example, recorded: Sequence[Event]) -> AsyncIterator[Event]:
        """What happens, one event after the other, from where the recorded events end."""


async def run_examples(
    examples: Iterable[Example],
    search: Work,
    ledger: Ledger,
    concurrency: int,
    on_event: Callable[[Example, Event | None], None],
) -> None:
    """Work on every example, from where it stands; `on_event` gets each event, and None when an example ends.

    Raises:
        UserError: a model can be asked nothing at all (a key that its server does not know, say).
    """
    todo = iter(examples)
    mistake: BaseException | None = None

    async def worker() -> None:
        for example in todo:
            await _run_one(example, search, ledger, on_event)
            on_event(example, None)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(concurrency):
                group.create_task(worker())
    except* UserError as mistakes:
        mistake = mistakes.exceptions[0]  # every worker has met the same one
    if mistake:
        raise mistake


async def _run_one(
    example: Example, search: Work, ledger: Ledger, on_event: Callable[[Example, Event | None], None]
) -> None:
    recorded = ledger.begin(example)
    n = len(recorded)
    try:
        async for event in search.run(example, recorded):
            ledger.commit(example.id, n, event)
            n += 1
            on_event(example, event)
    except (ExampleError, PromptError) as error:  # PromptError: a language without prompts
        ledger.finish(example.id, "quarantined", str(error))
    except BackendError as error:
        ledger.finish(example.id, "failed", str(error))
    except (RuntimeError, ValueError, ArithmeticError, LookupError, TypeError, AttributeError) as error:
        # A fault nobody foresaw costs this one example; the next run tries it again.
        log.exception("example %s", example.id)
        ledger.finish(example.id, "failed", f"{type(error).__name__}: {error}")
    else:
        ledger.finish(example.id, "done")
