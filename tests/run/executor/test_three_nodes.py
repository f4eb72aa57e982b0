"""A real Ray cluster of three nodes of one CPU each, on this machine: one is killed in the middle, another joins."""

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from reer.run.launch import DONE, INTERRUPTED, MISTAKE

ray = pytest.importorskip("ray")
pytestmark = pytest.mark.slow
SMALL = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
SLOW = ("generator.latency=0.3", "scorer.latency=0.1")


@pytest.fixture(scope="module")
def nodes(tmp_path_factory):
    """A head without a CPU, and three nodes."""
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))  # where Ray keeps a cluster's token
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        cluster = Cluster(initialize_head=True, head_node_args=SMALL | {"num_cpus": 0, "include_dashboard": False})
        try:
            for _ in range(3):
                cluster.add_node(**SMALL)
            cluster.wait_for_nodes()
            yield cluster
        finally:
            cluster.shutdown()


def start(cwd, *overrides, module="reer.synthesize"):
    command = [sys.executable, "-m", module, "experiment=fake", *overrides]
    return subprocess.Popen(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finished(*args, **options):
    """Exit code, output and errors of a run."""
    process = start(*args, **options)
    output, errors = process.communicate()
    return process.returncode, output, errors


def on(nodes, actors=3):
    return ("executor=ray", f"executor.address={nodes.address}", f"executor.actors={actors}", "executor.concurrency=2")


def recorded(cwd):
    """Events by example and number, without the seconds they took."""
    path = Path(cwd) / "runs" / "fake" / "synthesize" / "ledger.db"
    if not path.exists():
        return []
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        try:
            rows = list(db.execute("SELECT example, n, kind, body FROM events ORDER BY example, n"))
        except sqlite3.OperationalError:  # not made yet
            return []
    bodies = [json.loads(body) for *_, body in rows]
    for body in bodies:
        body["usage"].pop("seconds")
    return [(*row[:3], body) for row, body in zip(rows, bodies, strict=True)]


def wait_for(happens, process):
    while not happens():
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)


def trajectories(cwd):
    return (Path(cwd) / "runs" / "fake" / "synthesize" / "trajectories.jsonl").read_bytes()


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    """The same by executor=local."""
    cwd = tmp_path_factory.mktemp("local")
    assert finished(cwd, "data.limit=18")[0] == DONE
    return cwd


def test_a_node_killed_in_the_middle_and_another_one_give_every_example_once_and_the_same_bytes(
    nodes, local, tmp_path
):
    process = start(tmp_path, "data.limit=18", *on(nodes), *SLOW)
    wait_for(lambda: len(recorded(tmp_path)) >= 20, process)
    nodes.remove_node(sorted(nodes.worker_nodes, key=lambda node: node.node_id)[0], allow_graceful=False)
    before = recorded(tmp_path)
    wait_for(lambda: len(recorded(tmp_path)) >= len(before) + 10, process)
    nodes.add_node(**SMALL)
    output, errors = process.communicate()
    assert process.returncode == DONE, errors
    assert "goes on from event" in errors
    assert "18 of 18 kept" in output
    assert trajectories(tmp_path) == trajectories(local)
    assert recorded(tmp_path) == recorded(local)
    assert all(event in recorded(tmp_path) for event in before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
def test_an_interrupted_run_ends_within_ten_seconds_and_goes_on_here(nodes, local, tmp_path, number):
    process = start(tmp_path, "data.limit=18", *on(nodes, actors=1), *SLOW)
    wait_for(lambda: len(recorded(tmp_path)) >= 8, process)
    process.send_signal(number)
    _, errors = process.communicate(timeout=10)
    assert process.returncode == INTERRUPTED
    assert "interrupted; the same command continues from here" in errors
    assert "Traceback" not in errors
    before = recorded(tmp_path)
    assert finished(tmp_path, "data.limit=18")[0] == DONE
    assert all(event in recorded(tmp_path) for event in before)
    assert trajectories(tmp_path) == trajectories(local)


def test_a_mistake_that_an_actor_finds_is_one_sentence(nodes, tmp_path):
    wrong = ("backend@scorer=hf", "scorer.model.path=/no/where")
    code, _, errors = finished(tmp_path, "data.limit=2", *on(nodes, actors=2), *wrong)
    assert code == MISTAKE
    said = [line for line in errors.splitlines() if "reer-synthesize:" in line]
    assert len(said) == 1
    assert "/no/where" in said[0]
    assert "Traceback" not in errors


def test_answers_and_lift_are_those_of_one_process(nodes, tmp_path):
    for name, where in (("here", ()), ("there", on(nodes, actors=2))):
        code, _, errors = finished(tmp_path, "benchmark.limit=6", f"name={name}", *where, module="eval.run")
        assert code == DONE, errors
    here, there = (tmp_path / "runs" / name / "evaluate-fake" / "reasoning" for name in ("here", "there"))
    for name in ("answers", "lift"):
        found = [sorted((folder / f"{name}.jsonl").read_text().splitlines()) for folder in (here, there)]
        assert found[0] == found[1]
        assert len(found[0]) == 6
    assert (here / "results.json").read_bytes() == (there / "results.json").read_bytes()


def test_no_key_of_the_environment_is_sent_to_the_cluster(nodes, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "canary-4711")
    assert finished(tmp_path, "data.limit=2", *on(nodes, actors=1))[0] == DONE
    found = subprocess.run(["grep", "-rlI", "canary-4711", nodes.head_node.get_session_dir_path(), str(tmp_path)],
                           capture_output=True, text=True, check=False)  # fmt: skip
    assert found.stdout == ""
    assert os.path.isdir(nodes.head_node.get_session_dir_path())
