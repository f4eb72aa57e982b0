"""Killed at every write there is, a stage goes on to the same bytes: nothing lost, nothing done twice."""

import contextlib
import functools
import json
import shutil
import signal
import sqlite3
from collections import Counter

import pytest
from killing import Stages

SYNTHESIZE = ("data.limit=12", "executor.concurrency=4", "run_dir=run")
EVALUATE = ("benchmark.limit=6", "executor.concurrency=4", "run_dir=run")


@pytest.fixture(scope="module")
def stages():
    with Stages() as running:
        yield running


def events(folder):
    """What the ledger holds, read from a copy: looking must not mend what a kill left."""
    copy = folder / "looked-at"
    shutil.copytree(folder / "run", copy)
    with contextlib.closing(sqlite3.connect(copy / "ledger.db")) as db:
        found = set(db.execute("SELECT example, n, body FROM events"))
    shutil.rmtree(copy)
    return found


class Sweep:
    """Of one stage: what an undisturbed run makes, and what comes of runs that are killed."""

    def __init__(self, stages, stage, overrides, folder, result):
        self.run = functools.partial(stages.run, stage)
        self.overrides, self.folder, self.result, self.stage = overrides, folder, result, stage
        self.code, self.writes, self.calls = self.run(folder / "clean", *overrides)
        assert self.code == 0, self.said("clean")
        self.kills, self.asked = 0, Counter()

    def said(self, name):
        return (self.folder / name / "said.log").read_text()[-2000:]

    def killed(self, at, name="killed"):
        """One run that dies there; whether it did."""
        code, _, calls = self.run(self.folder / name, *self.overrides, kill=at)
        assert code in (0, -signal.SIGKILL), self.said(name)
        self.kills += code != 0
        self.asked += calls
        if code and self.stage == "synthesize":
            self.recorded |= events(self.folder / name)
        return code != 0

    recorded = frozenset()

    def ends(self, name="killed"):
        """The run that goes on to the end: the result is that of the undisturbed one, from events none of which was
        written twice."""
        code, _, calls = self.run(self.folder / name, *self.overrides)
        assert code == 0, self.said(name)
        self.asked += calls
        assert self.result(self.folder / name) == self.result(self.folder / "clean")
        if self.stage == "synthesize":
            assert self.recorded <= events(self.folder / name)
            assert len(events(self.folder / name)) == len(events(self.folder / "clean"))

    def told(self, runs=1):
        """Counts, printed for the report; no kill may cost more than what was in flight, on average."""
        assert self.asked.keys() == self.calls.keys(), "nothing is asked that an undisturbed run would not ask"
        repeated = self.asked.total() - runs * self.calls.total()
        found = {"stage": self.stage, "kills": self.kills, "writes": self.writes, "calls": self.calls.total(),
                 "lost": 0, "done twice": 0, "calls repeated per kill": round(repeated / self.kills, 2)}  # fmt: skip
        print(json.dumps(found))
        return found


def trajectories(folder):
    return (folder / "run" / "trajectories.jsonl").read_bytes()


IN_FLIGHT = 4 * 9
"""Calls: of four pairs each has a step under way, of one request for texts and a score for each of them."""


def chain(sweep, most=10_000):
    """Every process dies at its first write, by turns behind it and before its second: each gets one write further."""
    limit = min(most, sweep.writes * 2)
    while sweep.kills < limit and sweep.killed(1 if sweep.kills % 2 else -2):
        pass
    sweep.ends()
    return sweep.told()


def test_synthesis_killed_again_and_again(stages, tmp_path):
    small = ("data.limit=2", "executor.concurrency=2", "run_dir=run")
    sweep = Sweep(stages, "synthesize", small, tmp_path, trajectories)
    assert chain(sweep, most=8)["kills"] == 8
    assert len(sweep.recorded) >= 4, "each of them got one write further"


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_synthesis_killed_at_every_write(stages, tmp_path):
    told = chain(Sweep(stages, "synthesize", SYNTHESIZE, tmp_path, trajectories))
    assert told["kills"] >= 100
    assert told["calls repeated per kill"] <= IN_FLIGHT


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_synthesis_killed_once_here_or_there(stages, tmp_path):
    sweep = Sweep(stages, "synthesize", SYNTHESIZE, tmp_path, trajectories)
    points = range(3, sweep.writes, 10)
    for at in points:
        sweep.recorded, before = frozenset(), sweep.asked.total()
        assert sweep.killed(at if at % 2 else -at, f"at {at}")
        sweep.ends(f"at {at}")
        assert sweep.asked.total() - before <= sweep.calls.total() + IN_FLIGHT
    assert sweep.told(len(points))["calls repeated per kill"] <= IN_FLIGHT


def scores(folder):
    names = ("results.json", "items.jsonl", "scores.jsonl", "answers.jsonl", "verdicts.jsonl", "lift.jsonl")
    found = {}
    for path in sorted((folder / "run").rglob("*.json*")):
        if path.name in names:
            text = path.read_text(encoding="utf-8")
            found[path.name] = text if path.name == "results.json" else sorted(text.splitlines())
    assert len(found) == len(names)
    return found


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_evaluation_killed_at_every_row(stages, tmp_path):
    told = chain(Sweep(stages, "evaluate", EVALUATE, tmp_path, scores))
    assert told["kills"] >= 15
    assert told["calls repeated per kill"] <= IN_FLIGHT
