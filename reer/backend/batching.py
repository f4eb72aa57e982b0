"""Many small requests, few large calls: whatever waits while a model is busy becomes its next batch.

The models of one process share one worker thread: on a CPU they would only slow each other down, and on a GPU
the kernels queue anyway. A draft has a thread of its own, so that neither it nor the scorer waits for the other's
batch to end. Knows nothing of models.
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

Request = TypeVar("Request")
Result = TypeVar("Result")

WORKER = ThreadPoolExecutor(max_workers=1, thread_name_prefix="model")


class Batcher(Generic[Request, Result]):
    """Collects requests from many coroutines and runs them through one blocking function, batch by batch."""

    def __init__(
        self,
        run: Callable[[Sequence[Request]], list[Result | Exception]],
        worker: ThreadPoolExecutor = WORKER,
    ) -> None:
        """`run` answers each request with a result, or with the exception that this one request deserves."""
        self._run = run
        self._worker = worker
        self._waiting: list[tuple[Request, asyncio.Future[Result]]] = []
        self._task: asyncio.Task[None] | None = None

    async def submit(self, requests: Sequence[Request]) -> list[Result]:
        loop = asyncio.get_running_loop()
        futures: list[asyncio.Future[Result]] = [loop.create_future() for _ in requests]
        self._waiting += zip(requests, futures, strict=True)
        if self._task is None or self._task.done():
            self._task = loop.create_task(self._drain())
        return await asyncio.gather(*futures)

    async def _drain(self) -> None:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(0)  # let the other coroutines that are ready submit theirs first
        while self._waiting:
            batch, self._waiting = self._waiting, []
            try:
                results = await loop.run_in_executor(self._worker, self._run, [request for request, _ in batch])
            except Exception as error:  # handed to everyone who waits for this batch
                results = [error] * len(batch)
            for (_, future), result in zip(batch, results, strict=True):
                if future.cancelled():
                    continue
                if isinstance(result, Exception):
                    future.set_exception(result)
                else:
                    future.set_result(result)
