"""Requests in flight: fewer where a server shows that they are too many, more again when it answers."""

import asyncio
import itertools
import threading

import pytest
from chat_server import asking, completion, generator_of, running, says, told

from reer.backend.server.calls import patience, slots
from reer.backend.server.calls.slots import Slots


@pytest.fixture
def clock(monkeypatch):
    """One second passes with every look at it."""
    monkeypatch.setattr(slots.time, "monotonic", itertools.count().__next__)


def test_a_cut_leaves_seven_of_ten_and_a_round_of_answers_gives_one_more(clock):
    room = Slots(16)
    room.pressed(begun=5)
    assert room.limit == pytest.approx(11.2)
    for _ in range(12):
        room.answered()
    assert room.limit == pytest.approx(12.2, abs=0.1)
    for _ in range(400):
        room.answered()
    assert room.limit == 16, "never above what is allowed"


def test_requests_that_were_in_flight_at_a_cut_do_not_cut_again(clock):
    room = Slots(16)
    for _ in range(16):
        room.pressed(begun=-1)
    assert room.limit == pytest.approx(11.2)
    for begun in range(100, 200, 2):
        room.pressed(begun)
    assert room.limit == 1, "one request at least"


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_gets_no_more_at_once_than_it_takes(monkeypatch, status):
    monkeypatch.setattr(patience, "BACK_OFF", 0.02)
    monkeypatch.setattr(slots, "COOL", 0.02)
    lock, running_now, most = threading.Lock(), 0, [0]

    def answer(body):
        nonlocal running_now
        with lock:
            running_now += 1
            full = running_now > 4
            most[0] = max(most[0], running_now)
        try:
            threading.Event().wait(0.02)
            return told(status, "too many at once") if full else completion(says("Rain."))
        finally:
            with lock:
                running_now -= 1

    with running() as server:
        server.instead = answer
        generator = generator_of(server, max_retries=20, concurrency=16)
        draws = asyncio.run(generator.generate([asking(n) for n in range(160)]))
        [one] = generator._connection.servers.all
    assert {draw.text for [draw] in draws} == {"Rain."}
    assert most[0] <= 16
    assert one.slots.limit < 16
    assert one.slots.taken == 0
