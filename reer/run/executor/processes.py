"""The same work on batch after batch of rows, by several processes of this machine; the results come in order.

For work that takes Python's own time. A few rows are worked on here: a process takes a second to begin.
"""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import chain, islice
from typing import Any, TypeVar

from reer.errors import UserError

T = TypeVar("T")
S = TypeVar("S")
R = TypeVar("R")
BATCH = 100
HERE = 20
"""Batches before there are other processes."""
MOST = 4
"""Processes; more wait for the one that hands out rows."""


def cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_order(
    work: Callable[[Sequence[S]], R], items: Iterable[T], sent: Callable[[T], S], processes: int
) -> Iterator[tuple[Sequence[T], R]]:
    """Batches of items with what `work` makes of them. What is `sent` of an item, and results, are fit for pickle.

    No more batches are held than twice as many as there are processes.

    Raises:
        UserError: a process was ended from outside.
    """
    rest = iter(items)
    batches = iter(lambda: list(islice(rest, BATCH)), [])
    for batch in batches if processes < 2 else islice(batches, HERE):
        yield batch, work([*map(sent, batch)])
    if (first := next(batches, None)) is None:
        return
    processes = min(processes, MOST)
    waiting: deque[tuple[Sequence[T], Future[R]]] = deque()
    with _pool(work, processes) as pool:
        for batch in chain([first], batches):
            waiting.append((batch, pool.submit(_worked, [*map(sent, batch)])))
            if len(waiting) == 2 * processes:
                yield _next(waiting)
        while waiting:
            yield _next(waiting)


def _next(waiting: deque[tuple[Sequence[T], Future[R]]]) -> tuple[Sequence[T], R]:
    batch, future = waiting.popleft()
    return batch, future.result()


@contextmanager
def _pool(work: Callable[[Any], Any], processes: int) -> Iterator[ProcessPoolExecutor]:
    """Processes that begin anew: a fork of one with threads, as torch and rensa have them, may hang."""
    pool = ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), _begin, (work,))
    try:
        yield pool
    except BrokenProcessPool as error:
        raise UserError(
            "a process that worked on the rows was ended from outside, as for want of memory; on one core "
            "(taskset -c 0) there are no others"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


_work: Callable[[Any], Any]
"""Of a process that `_begin` began."""


def _begin(work: Callable[[Any], Any]) -> None:
    """Ctrl-C is for the process that handed out the rows, and none goes on without it."""
    global _work
    _work = work
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(multiprocessing.parent_process(),), daemon=True).start()


def _end_with(parent: Any) -> None:
    parent.join()
    os._exit(1)


def _worked(batch: Sequence[Any]) -> Any:
    return _work(batch)
