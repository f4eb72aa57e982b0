"""Examples in flight: workers that are lost, and the first Ctrl-C."""

import asyncio
import os
import signal
from collections import Counter

import pytest

from reer.errors import WorkerLost
from reer.run.executor.examples import LOSSES, run_examples
from reer.run.executor.stopping import listen
from reer.run.ledger import Ledger
from reer.types import Baseline, Usage


def event(n):
    return Baseline(nll=float(n), answer_tokens=1, usage=Usage())


class Searcher:
    """Four events each; what is to happen before one of them is asked of `before`."""

    def __init__(self, before=lambda example, n, attempt: None):
        self.before, self.attempts, self.given = before, Counter(), []

    async def run(self, example, recorded=()):
        self.attempts[example.id] += 1
        self.given.append((example.id, len(recorded)))
        for n in range(len(recorded), 4):
            self.before(example.id, n, self.attempts[example.id])
            await asyncio.sleep(0.01)
            yield event(n)


@pytest.fixture
def ledger(tmp_path):
    ledger = Ledger(tmp_path / "ledger.db")
    yield ledger
    ledger.close()


@pytest.fixture
def listening():
    """As a stage listens to signals."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    listen()
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def run(pairs, searcher, ledger, concurrency=2):
    heard = []
    asyncio.run(run_examples(pairs, searcher, ledger, concurrency, lambda example, event: heard.append(event)))
    return heard


def test_an_example_whose_worker_is_lost_goes_on_from_its_last_event(pairs, ledger):
    def before(example, n, attempt):
        if example == "e1" and (n, attempt) in ((2, 1), (3, 2)):
            raise WorkerLost("the node is gone")

    searcher = Searcher(before)
    run(pairs, searcher, ledger)
    assert [ledger.events(pair.id) for pair in pairs] == [[event(n) for n in range(4)]] * 4
    assert {ledger.standing(pair) for pair in pairs} == {("done", "")}
    assert [given for given in searcher.given if given[0] == "e1"] == [("e1", 0), ("e1", 2), ("e1", 3)]


def test_an_example_that_loses_one_worker_after_the_other_fails_and_the_rest_goes_on(pairs, ledger):
    def before(example, n, attempt):
        if (example, n) == ("e1", 2):
            raise WorkerLost("an actor died")

    searcher = Searcher(before)
    run(pairs, searcher, ledger)
    assert [ledger.standing(pair) for pair in pairs] == [
        ("done", ""), ("failed", "an actor died"), ("done", ""), ("done", ""),
    ]  # fmt: skip
    assert searcher.attempts["e1"] == LOSSES
    assert len(ledger.events("e1")) == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_at_the_first_signal_the_events_in_flight_are_recorded_and_no_others(pairs, ledger, listening, number):
    def before(example, n, attempt):
        if (example, n) == ("e1", 1):
            os.kill(os.getpid(), number)

    searcher = Searcher(before)
    with pytest.raises(KeyboardInterrupt):
        run(pairs, searcher, ledger)
    assert searcher.given == [("e0", 0), ("e1", 0)]
    assert [len(ledger.events(pair.id)) for pair in pairs[:2]] == [2, 2]
    assert [ledger.standing(pair)[0] for pair in pairs] == ["open", "open", "new", "new"]
    run(pairs, Searcher(), ledger)
    assert {ledger.standing(pair) for pair in pairs} == {("done", "")}
