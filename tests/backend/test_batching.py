"""Small requests become large batches, and each gets its own answer or its own error."""

import asyncio

import pytest

from reer.backend.batching import Batcher


def test_requests_that_wait_together_run_together_and_answers_find_their_askers():
    batches = []

    def run(requests):
        batches.append(len(requests))
        return [r * 10 for r in requests]

    async def ask():
        batcher = Batcher(run)
        return await asyncio.gather(*(batcher.submit([n, n + 100]) for n in range(20)))

    assert asyncio.run(ask()) == [[n * 10, n * 10 + 1000] for n in range(20)]
    assert batches == [40]


def test_one_failure_is_one_askers():
    def run(requests):
        return [ValueError(str(r)) if r == 2 else r for r in requests]

    async def ask():
        batcher = Batcher(run)
        return await asyncio.gather(*(batcher.submit([n]) for n in range(4)), return_exceptions=True)

    results = asyncio.run(ask())
    assert [results[0], results[1], results[3]] == [[0], [1], [3]]
    assert isinstance(results[2], ValueError)


def test_a_broken_batch_fails_for_everyone_in_it_and_the_next_one_runs():
    calls = []

    def run(requests):
        calls.append(requests)
        if len(calls) == 1:
            raise MemoryError("too large")
        return requests

    async def ask():
        batcher = Batcher(run)
        with pytest.raises(MemoryError):
            await batcher.submit([1])
        return await batcher.submit([2])

    assert asyncio.run(ask()) == [2]


def test_an_asker_that_gave_up_stops_nobody():
    async def ask():
        batcher = Batcher(lambda requests: requests)
        gone = asyncio.create_task(batcher.submit([1]))
        here = asyncio.create_task(batcher.submit([2]))
        await asyncio.sleep(0)
        gone.cancel()
        return await here

    assert asyncio.run(ask()) == [2]
