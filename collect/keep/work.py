"""Work with models on many rows, each event in the ledger, with a bar that moves by one per row."""

import asyncio
from collections.abc import Callable, Iterator

from tqdm import tqdm

from reer.run.executor.examples import Searcher, run_examples
from reer.run.ledger import Ledger
from reer.types import Event, Example

Rows = Callable[[], Iterator[Example]]
"""The same rows from their first, as often as they are asked for."""


def is_open(ledger: Ledger, row: Example) -> bool:
    """Whether it is still to be worked on; one that failed in this run has an outcome until the next."""
    return ledger.standing(row)[0] not in ("done", "failed", "quarantined")


def work_through(rows: Rows, build: Callable[[], Searcher], ledger: Ledger, concurrency: int, name: str) -> bool:
    """Do what is open, and build what does it only if there is something; says whether there was."""
    count = sum(is_open(ledger, row) for row in rows())
    if not count:
        return False
    work = build()
    with tqdm(total=count, desc=name, unit="row") as bar:

        def on_event(row: Example, event: Event | None) -> None:
            if event is None:
                bar.update()

        todo = (row for row in rows() if is_open(ledger, row))
        asyncio.run(run_examples(todo, work, ledger, concurrency, on_event))
    return True
