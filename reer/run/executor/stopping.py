"""Ctrl-C and SIGTERM: the first lets what is in flight come in for a few seconds, another one stops at once.

Stopping at once is safe: what is recorded is on its way to the disk before anything else begins.
"""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from types import FrameType
from typing import NoReturn

INTERRUPTED = 130
"""The exit code of a stage that was told to stop."""
DRAIN_SECONDS = 4.0
"""For model calls that were in flight at the first Ctrl-C. With the writing of what is finished and the end of Ray, a
process is gone within 10 seconds."""
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def listen() -> None:
    """From now on the first Ctrl-C or SIGTERM raises KeyboardInterrupt here. A signal that is ignored stays so."""
    for number in _SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _interrupt)


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    _from_now_at_once()
    raise KeyboardInterrupt


def _from_now_at_once() -> None:
    for number in _SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _at_once)


def _at_once(number: int, frame: FrameType | None) -> NoReturn:
    os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, b"\nstopped at once; the same command continues\n")
    os._exit(INTERRUPTED)


@asynccontextmanager
async def draining() -> AsyncIterator[asyncio.Event]:
    """Around work in a running loop. The event says that nothing new shall begin; soon after it the work is cancelled.

    Only where `listen` was called.

    Raises:
        KeyboardInterrupt: after the work, where it was stopped.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(None) as limit:

            def begin_to_stop() -> None:
                stop.set()
                limit.reschedule(loop.time() + DRAIN_SECONDS)

            with _first(lambda: loop.call_soon_threadsafe(begin_to_stop)):
                yield stop
    except TimeoutError:
        if not stop.is_set():
            raise
    if stop.is_set():
        raise KeyboardInterrupt


@contextmanager
def _first(heard: Callable[[], object]) -> Iterator[None]:
    """Calls `heard` instead of raising; a further signal stops at once."""

    def first(number: int, frame: FrameType | None) -> None:
        _from_now_at_once()
        heard()

    mine = [number for number in _SIGNALS if signal.getsignal(number) is _interrupt]
    for number in mine:
        signal.signal(number, first)
    try:
        yield
    finally:
        for number in mine:
            if signal.getsignal(number) is first:
                signal.signal(number, _interrupt)
