"""Ctrl-C, SIGTERM and a full disk: what was in flight is recorded where it can be, and nothing that was is lost."""

import contextlib
import json
import os
import resource
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from evaluating import COMMAND as EVALUATE

from reer.run.launch import DONE, INTERRUPTED, MISTAKE

pytestmark = pytest.mark.slow
SYNTHESIZE = [sys.executable, "-m", "reer.synthesize", "experiment=fake", "data.limit=6"]
RUN = Path("runs") / "fake" / "synthesize"


def start(cwd, *overrides, command=SYNTHESIZE, **options):
    return subprocess.Popen(
        [*command, *overrides], cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
    )


def finished(cwd, *overrides, **options):
    process = start(cwd, *overrides, **options)
    output, errors = process.communicate(timeout=60)
    return process.returncode, output, errors


def kinds(cwd):
    """How many events of each kind are recorded."""
    path = cwd / RUN / "ledger.db"
    if not path.exists():
        return {}
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        try:
            return dict(db.execute("SELECT kind, count(*) FROM events GROUP BY kind"))
        except sqlite3.OperationalError:  # not made yet
            return {}


def wait_for(happens, process):
    while not happens():
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Trajectories of a run that nothing disturbs."""
    cwd = tmp_path_factory.mktemp("whole")
    assert finished(cwd)[0] == DONE
    return (cwd / RUN / "trajectories.jsonl").read_bytes()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
def test_calls_that_were_in_flight_are_recorded_and_no_others_begun(tmp_path, whole, number):
    process = start(tmp_path, "generator.latency=1.5")
    wait_for(lambda: kinds(tmp_path).get("Baseline") == 6, process)
    process.send_signal(number)
    _, errors = process.communicate(timeout=10)
    assert process.returncode == INTERRUPTED
    assert "interrupted; the same command continues from here" in errors
    assert "Traceback" not in errors
    assert kinds(tmp_path) == {"Baseline": 6, "First": 6}
    assert finished(tmp_path)[0] == DONE
    assert (tmp_path / RUN / "trajectories.jsonl").read_bytes() == whole


@pytest.mark.parametrize("command", [SYNTHESIZE, EVALUATE], ids=["synthesize", "evaluate"])
def test_a_call_that_takes_long_is_not_waited_for(tmp_path, command):
    process = start(tmp_path, "generator.latency=100", "evaluate.backend.latency=100", command=command)
    seen = tmp_path / RUN / "manifest.json" if command is SYNTHESIZE else tmp_path / "runs/fake"
    wait_for(lambda: seen.exists(), process)
    time.sleep(0.5)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=10)
    assert process.returncode == INTERRUPTED
    assert "Traceback" not in errors


def test_a_second_ctrl_c_stops_at_once(tmp_path, whole):
    process = start(tmp_path, "generator.latency=100")
    wait_for(lambda: kinds(tmp_path).get("Baseline") == 6, process)
    process.send_signal(signal.SIGINT)
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=10)
    assert process.returncode == INTERRUPTED
    assert "stopped at once; the same command continues" in errors
    assert finished(tmp_path)[0] == DONE
    assert (tmp_path / RUN / "trajectories.jsonl").read_bytes() == whole


def check_the_ledger(cwd, whole):
    """It is whole, and the same command goes on from it."""
    assert sum(kinds(cwd).values()) > 0
    with contextlib.closing(sqlite3.connect(cwd / RUN / "ledger.db")) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    before = kinds(cwd)
    assert finished(cwd)[0] == DONE
    assert all(kinds(cwd)[kind] >= count for kind, count in before.items())
    assert (cwd / RUN / "trajectories.jsonl").read_bytes() == whole


def one_sentence(errors):
    said = [line for line in errors.splitlines() if "step/s" not in line and line.strip()]
    assert len(said) == 1, errors
    return said[0]


@pytest.mark.parametrize("size", [150_000, 400_000])
def test_a_file_that_may_not_grow_stops_the_run_with_one_sentence(tmp_path, whole, size):
    limit = (size, size)
    code, _, errors = finished(tmp_path, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit))
    assert code == MISTAKE
    assert f"{RUN / 'ledger.db'}: cannot be written" in one_sentence(errors)
    check_the_ledger(tmp_path, whole)


def test_a_full_disk_stops_the_run_with_one_sentence(tmp_path, whole):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", disk]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a small disk can be mounted by root alone")
    try:
        code, _, errors = finished(disk)
        assert code == MISTAKE
        assert "the disk is full: " in one_sentence(errors)
        assert list(json.loads((disk / RUN / "manifest.json").read_text())["models"]) == ["generator", "scorer"]
        subprocess.run(["mount", "-o", "remount,size=20m", disk], check=True)
        check_the_ledger(disk, whole)
    finally:
        subprocess.run(["umount", disk], check=True)
