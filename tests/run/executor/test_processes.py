"""The same work on batches by several processes: results in order, and an end wherever one of them ends."""

import os
import signal

import pytest

from reer.errors import UserError
from reer.run.executor import processes
from reer.run.executor.processes import BATCH, HERE, cores, in_order


class Squares:
    def __init__(self, deadly=None):
        self.deadly = deadly

    def __call__(self, numbers):
        if self.deadly in numbers:
            os.kill(os.getpid(), signal.SIGKILL)
        return os.getpid(), [n * n for n in numbers]


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(processes, "BATCH", 3)
    monkeypatch.setattr(processes, "HERE", 2)


def test_results_come_in_order_with_what_they_are_of_and_later_ones_from_other_processes():
    found = list(in_order(Squares(), (str(n) for n in range(50)), int, 2))
    assert [item for batch, _ in found for item in batch] == [str(n) for n in range(50)]
    assert [square for _, (_, squares) in found for square in squares] == [n * n for n in range(50)]
    workers = [pid for _, (pid, _) in found]
    assert set(workers[:2]) == {os.getpid()}
    assert os.getpid() not in workers[2:]


@pytest.mark.parametrize(("count", "processes_"), [(0, 2), (6, 2), (50, 1)])
def test_few_items_or_one_core_need_no_other_process(count, processes_):
    found = list(in_order(Squares(), range(count), int, processes_))
    assert {pid for _, (pid, _) in found} <= {os.getpid()}
    assert [square for _, (_, squares) in found for square in squares] == [n * n for n in range(count)]


def test_no_more_is_read_than_is_needed_to_keep_all_busy():
    read = []
    items = (read.append(n) or n for n in range(1000))
    results = in_order(Squares(), items, int, 2)
    for _ in range(3):
        next(results)
    assert len(read) == (2 + 4) * 3
    results.close()


def test_what_the_source_says_of_itself_comes_through():
    def items():
        yield from range(20)
        raise ValueError("row 21")

    with pytest.raises(ValueError, match="row 21"):
        list(in_order(Squares(), items(), int, 2))


def test_a_process_that_is_killed_is_one_sentence():
    with pytest.raises(UserError, match="a process that worked on the rows was ended from outside"):
        list(in_order(Squares(deadly=30), range(50), int, 2))


def test_there_is_a_core():
    assert cores() >= 1
    assert BATCH * HERE == 2000
