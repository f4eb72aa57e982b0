"""Faults of this machine under a search: its disk, its clock, a file that was torn. One sentence at most, and the same
command then gives the bytes of an undisturbed run."""

import errno
import json
import os
import random
import shutil
import signal
import sqlite3
import sys
import time

import pytest
from killing import Stages

from reer.files import trajectories
from reer.run import launch
from reer.run.ledger import Ledger
from reer.synthesize import main

PAIRS = [
    {"id": f"p{n}", "query": f"Write of {what}.", "answer": f"The {what} came at dusk, and nobody spoke of it."}
    for n, what in enumerate(("rain", "snow", "salt", "corn"))
]


@pytest.fixture
def synthesize(tmp_path, monkeypatch, capsys):
    """Runs the command with the fake backend; gives the exit code, and what was said."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")  # the command sets it: undone after the test
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in PAIRS))
    before = signal.getsignal(signal.SIGTERM)

    def call(run_dir="run", *overrides):
        arguments = ["experiment=fake", "data=files", "data.path=pairs.jsonl", f"run_dir={run_dir}", *overrides]
        monkeypatch.setattr(sys, "argv", ["reer-synthesize", *arguments])
        with pytest.raises(SystemExit) as stop:
            main()
        said = capsys.readouterr().err
        assert "Traceback" not in said
        return stop.value.code, said

    yield call
    signal.signal(signal.SIGTERM, before)


def result(folder):
    return (folder / "trajectories.jsonl").read_bytes()


class Failing:
    """A connection whose n-th statement meets a disk that does not answer."""

    def __init__(self, db, n):
        self.db, self.left = db, n

    def execute(self, *arguments):
        self.left -= arguments[0].startswith("INSERT INTO events")
        if self.left <= 0:
            raise sqlite3.OperationalError("disk I/O error")
        return self.db.execute(*arguments)

    def __getattr__(self, name):
        return getattr(self.db, name)

    def __enter__(self):
        return self.db.__enter__()

    def __exit__(self, *error):
        return self.db.__exit__(*error)


@pytest.mark.parametrize("n", [1, 15])
def test_a_disk_that_fails_under_the_ledger_is_one_sentence(synthesize, monkeypatch, tmp_path, n):
    synthesize("clean")
    with monkeypatch.context() as patch:
        prepare = Ledger._prepare

        def failing(self, read_only):
            prepare(self, read_only)
            self._db = Failing(self._db, n)

        patch.setattr(Ledger, "_prepare", failing)
        code, said = synthesize("run")
    assert code == launch.MISTAKE
    assert said.splitlines()[-1].startswith("reer-synthesize: run/ledger.db: cannot be written (disk I/O error)")
    assert synthesize("run")[0] == launch.DONE
    assert result(tmp_path / "run") == result(tmp_path / "clean")


@pytest.mark.parametrize("number", [errno.EIO, errno.EROFS])
def test_a_disk_that_fails_under_the_export_is_one_sentence(synthesize, monkeypatch, tmp_path, number):
    synthesize("run")
    before = result(tmp_path / "run")

    def failing(self, *arguments):
        raise OSError(number, os.strerror(number), "trajectories.jsonl")

    with monkeypatch.context() as patch:
        [writer] = [one for one in vars(trajectories).values() if hasattr(one, "_temporary")]
        patch.setattr(writer, "_temporary", failing)
        (tmp_path / "run" / "summary.json").unlink()
        code, said = synthesize("run")
    assert code == launch.MISTAKE
    sentence = f"trajectories.jsonl cannot be written: {os.strerror(number)}; what was whole before still is"
    assert said.splitlines()[-1] == f"reer-synthesize: {sentence}"
    assert result(tmp_path / "run") == before


def test_a_clock_that_jumps_changes_nothing(synthesize, monkeypatch, tmp_path):
    synthesize("clean")
    draw, now = random.Random(0), time.time
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: now() + draw.choice((-1, 1)) * 86400)
        assert synthesize("run", "generator.latency=0.001")[0] == launch.DONE
    assert result(tmp_path / "run") == result(tmp_path / "clean")


@pytest.mark.slow
def test_a_log_that_is_torn_anywhere_loses_its_end_alone(tmp_path):
    """SQLite's write-ahead log after a kill, cut or spoilt at ten places."""
    overrides = ("data.limit=4", "run_dir=run")
    with Stages() as stages:
        stages.run("synthesize", tmp_path / "clean", *overrides)
        stages.run("synthesize", tmp_path / "killed", *overrides, kill=20)
        for n, draw in enumerate(map(random.Random, range(10))):
            folder = tmp_path / f"torn {n}"
            shutil.copytree(tmp_path / "killed", folder)
            log = folder / "run" / "ledger.db-wal"
            data = bytearray(log.read_bytes())
            at = draw.randrange(len(data))
            log.write_bytes(data[:at] if n % 2 else data[:at] + bytes(200) + data[at + 200 :])
            code, _, _ = stages.run("synthesize", folder, *overrides)
            assert code == launch.DONE, (folder / "said.log").read_text()[-2000:]
            assert result(folder / "run") == result(tmp_path / "clean" / "run")
