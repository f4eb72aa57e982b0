"""The stage as a user runs it: contract of its files, bad rows, interruption, kill -9, two processes."""

import contextlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from reer.backend.fake import FakeScorer
from reer.config import FakeBackendConfig
from reer.layout import Layout
from reer.method.prompts import load_set
from reer.run import launch

ROW_KEYS = {
    "id", "trajectory", "query", "answer", "history", "thinking", "segments", "first", "nll", "objective",
    "answer_tokens", "leak", "echo", "worth", "steps", "start", "draft", "usage", "layout", "instruction", "generator",
    "scorer", "source", "licence", "language", "domain", "seed", "extra", "format_version",
}  # fmt: skip


def synthesize(cwd, *overrides, wait=True):
    command = [sys.executable, "-m", "reer.synthesize", "experiment=fake", *overrides]
    process = subprocess.Popen(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if not wait:
        return process
    process.output, process.errors = process.communicate()
    return process


def rows(cwd, name="fake"):
    path = Path(cwd) / "runs" / name / "synthesize" / "trajectories.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def table(run_dir):
    """Rows of the Parquet file, in which the other columns of the pairs stand as JSON."""
    found = pq.read_table(run_dir / "trajectories.parquet").to_pylist()
    return [row | {"extra": json.loads(row["extra"])} for row in found]


def events(cwd, name="fake"):
    path = Path(cwd) / "runs" / name / "synthesize" / "ledger.db"
    if not path.exists():
        return []
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        try:
            return list(db.execute("SELECT example, n, body FROM events ORDER BY example, n"))
        except sqlite3.OperationalError:  # not created yet, or held by the running process
            return []


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """An undisturbed run over eight pairs."""
    cwd = tmp_path_factory.mktemp("finished")
    process = synthesize(cwd, "data.limit=8")
    assert process.returncode == launch.DONE, process.errors
    return cwd


def test_the_files_keep_their_contract(finished):
    run_dir = finished / "runs" / "fake" / "synthesize"
    assert {"config.yaml", "manifest.json", "ledger.db", "summary.json", "report.html"} <= set(os.listdir(run_dir))
    found = rows(finished)
    assert len(found) == 8
    assert all(set(row) == ROW_KEYS for row in found)
    assert all(row["first"]["thinking"] == "".join(row["first"]["segments"]) for row in found)
    assert all(row["thinking"] == "".join(row["segments"]) for row in found)
    keys = {"sweep", "segment", "operation", "before", "candidates", "kept", "nll", "objective", "whole"}
    assert set(found[0]["steps"][0]) == keys
    assert all(row["objective"] is row["instruction"] is None and "seconds" not in row["usage"] for row in found)
    assert table(run_dir) == found
    summary = json.loads((run_dir / "summary.json").read_text())
    assert summary["examples"] == {"input": 8, "done": 8, "dropped": {}, "failed": 0, "quarantined": 0}
    manifest = json.loads((run_dir / "manifest.json").read_text())
    assert manifest["inputs"][0]["path"].endswith("pairs.jsonl")
    assert f"date: '{manifest['date']}'" in (run_dir / "config.yaml").read_text()
    assert manifest["prompts"]["sha256"].keys() == {"en"}


def test_the_kept_trajectory_never_scores_worse_and_its_number_is_what_scoring_gives(finished):
    import asyncio

    scorer = FakeScorer(FakeBackendConfig())
    layout = Layout("think", scorer.tokenizer)
    for row in rows(finished):
        request = layout.encode(row["query"], row["thinking"], row["answer"]).score_request()
        [scored] = asyncio.run(scorer.score([request]))
        assert scored.score.nll == row["nll"]["final"] <= row["nll"]["first"]
        assert scored.score.tokens == row["answer_tokens"]


def test_steps_tell_how_the_first_thinking_became_the_last(finished):
    for row in rows(finished):
        segments, nll = list(row["first"]["segments"]), row["nll"]["first"]
        for step in row["steps"]:
            assert step["before"] == segments[step["segment"]]
            if step["kept"] is not None:
                candidate = step["candidates"][step["kept"]]
                assert candidate["nll"] == step["nll"] < nll
                segments[step["segment"]] = candidate["text"]
            nll = step["nll"]
        assert (segments, nll) == (row["segments"], row["nll"]["final"])


def test_edits_sweeps_skeletons_and_an_objective_keep_the_contract_too(tmp_path):
    overrides = ["data.limit=6", "search=official", "search.edits=[delete,merge]", "search.sweeps=2"]
    overrides += ["search.start=skeleton", "search.max_steps=40", "search.segment.max_tokens=200"]
    process = synthesize(tmp_path, *overrides)
    assert process.returncode == launch.DONE, process.errors
    found = rows(tmp_path)
    run_dir = tmp_path / "runs" / "fake" / "synthesize"
    assert table(run_dir) == found
    assert all(set(row) == ROW_KEYS for row in found)
    assert {(row["layout"], row["instruction"]) for row in found} == {("answer_tags", "default")}
    assert {step["sweep"] for row in found for step in row["steps"]} == {0, 1}
    assert {step["operation"] for row in found for step in row["steps"]} == {"rewrite", "delete", "merge"}
    for row in found:
        assert row["thinking"] == "".join(row["segments"])
        values = [row["objective"]["first"], *(step["objective"] for step in row["steps"])]
        assert values == sorted(values, reverse=True)
        assert values[-1] == row["objective"]["final"]
        # the fake scorer's objective at a clip of 2 is two thirds of its NLL
        assert row["objective"]["final"] == pytest.approx(row["nll"]["final"] * 2 / 3)
    manifest = json.loads((run_dir / "manifest.json").read_text())
    assert manifest["prompts"]["sha256"]["en"] == load_set("standard", "en", "skeleton").sha256
    before = (run_dir / "trajectories.jsonl").read_bytes()
    (run_dir / "trajectories.jsonl").unlink()
    assert synthesize(tmp_path, *overrides).returncode == launch.DONE
    assert (run_dir / "trajectories.jsonl").read_bytes() == before


def test_the_same_seed_gives_the_same_bytes_and_another_seed_does_not(finished, tmp_path):
    synthesize(tmp_path, "data.limit=8", "executor.concurrency=3", "generator.latency=0.002")
    synthesize(tmp_path, "data.limit=8", "name=other", "seed=1")
    assert rows(tmp_path) == rows(finished)
    assert [r["thinking"] for r in rows(tmp_path, "other")] != [r["thinking"] for r in rows(finished)]


def test_raising_the_limit_extends_a_run(finished, tmp_path):
    synthesize(tmp_path, "data.limit=3")
    before = events(tmp_path)
    process = synthesize(tmp_path, "data.limit=8")
    assert process.returncode == launch.DONE
    assert rows(tmp_path) == rows(finished)
    assert set(before) <= set(events(tmp_path))


def test_bad_rows_are_set_aside_counted_and_kept_and_the_exit_code_says_so(tmp_path):
    good = [{"id": str(n), "query": "Write of rain.", "answer": f"Rain fell {n} times on roofs."} for n in range(3)]
    lines = [json.dumps(row) for row in good]
    lines[1:1] = ["{broken", json.dumps({"id": "s", "query": "q", "answer": "ends <|end|> here"})]
    (tmp_path / "pairs.jsonl").write_text("\n".join(lines))
    process = synthesize(tmp_path, "data.path=pairs.jsonl")
    assert process.returncode == launch.PARTIAL
    assert "3 of 5 kept" in process.output
    assert len(rows(tmp_path)) == 3
    path = tmp_path / "runs" / "fake" / "synthesize" / "quarantine.jsonl"
    kept = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(row.get("id"), row.get("row"), row["reason"]) for row in kept] == [
        (None, 2, "broken JSON: Expecting property name enclosed in double quotes (column 2)"),
        ("s", None, "the answer holds the model's control token <|end|>"),
    ]


def test_a_mistake_found_before_any_work_does_not_tie_the_folder_to_it(tmp_path):
    wrong = synthesize(tmp_path, "data.limit=1", "prompts.set=nowhere")
    assert wrong.returncode == launch.MISTAKE
    assert "prompts.set=nowhere has no prompts for language en" in wrong.errors
    for override, sentence in [
        ("search.order=zigzag", "search.order=zigzag is unknown"),
        ("layout.instruction=nowhere.md", "nowhere.md: cannot be read"),
        ("search.start=skeleton", "search.start=skeleton needs skeleton.md and expand.md"),
    ]:
        wrong = synthesize(tmp_path, "data.limit=1", "prompts=compact", override)
        assert wrong.returncode == launch.MISTAKE
        assert sentence in wrong.errors
        assert wrong.errors.count("\n") == 1
    assert synthesize(tmp_path, "data.limit=1").returncode == launch.DONE
    assert synthesize(tmp_path, "data.limit=1", "seed=7").returncode == launch.MISTAKE


def test_a_dry_run_writes_nothing(tmp_path):
    process = synthesize(tmp_path, "dry_run=true")
    assert process.returncode == launch.DONE
    assert "24 examples" in process.output
    assert not list(tmp_path.iterdir())


SLOW = ("generator.latency=0.1", "scorer.latency=0.05")


def interrupted(cwd, number, after=0.0):
    """A run that gets a signal so many seconds after its first events."""
    process = synthesize(cwd, "data.limit=8", *SLOW, wait=False)
    database = cwd / "runs" / "fake" / "synthesize" / "ledger.db-wal"
    while not (database.exists() and database.stat().st_size > 20_000) and process.poll() is None:
        time.sleep(0.01)
    time.sleep(after)
    process.send_signal(number)
    process.output, process.errors = process.communicate()
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
def test_an_interrupted_run_says_so_and_the_same_command_continues(finished, tmp_path, number):
    process = interrupted(tmp_path, number)
    assert process.returncode == launch.INTERRUPTED
    assert "interrupted; the same command continues from here" in process.errors
    assert "Traceback" not in process.errors
    if (tmp_path / "runs" / "fake" / "synthesize" / "summary.json").exists():  # some examples were finished
        assert all(row in rows(finished) for row in rows(tmp_path))
    assert synthesize(tmp_path, "data.limit=8").returncode == launch.DONE
    assert rows(tmp_path) == rows(finished)


@pytest.mark.slow
@pytest.mark.parametrize("n", range(8))
def test_kill_9_anywhere_gives_the_same_bytes_after_resuming(finished, tmp_path, n):
    killed = interrupted(tmp_path, signal.SIGKILL, random.Random(n).uniform(0, 1.5))
    assert killed.returncode in (-signal.SIGKILL, launch.DONE)
    before = events(tmp_path)
    assert synthesize(tmp_path, "data.limit=8").returncode == launch.DONE
    assert set(before) <= set(events(tmp_path))
    path = Path("runs") / "fake" / "synthesize" / "trajectories.jsonl"
    assert (tmp_path / path).read_bytes() == (finished / path).read_bytes()


def test_two_processes_cannot_work_in_one_run_folder(tmp_path):
    slow = ["data.limit=8", "generator.latency=0.3"]
    first = synthesize(tmp_path, *slow, wait=False)
    wal = tmp_path / "runs" / "fake" / "synthesize" / "ledger.db-wal"
    while not wal.exists() and first.poll() is None:
        time.sleep(0.01)
    second = synthesize(tmp_path, *slow)
    first.kill()
    first.communicate()
    assert second.returncode == launch.MISTAKE
    assert "another process is working in this run folder" in second.errors


def test_filters_drop_by_name_keep_what_they_drop_and_can_be_changed_afterwards(finished, tmp_path):
    process = synthesize(tmp_path, "data.limit=8", "filter.exploring_end=1.0")
    assert process.returncode == launch.DONE
    run_dir = tmp_path / "runs" / "fake" / "synthesize"
    summary = json.loads((run_dir / "summary.json").read_text())
    doubting = [row for row in rows(finished) if "wait" in row["thinking"].lower()]
    assert 0 < len(doubting) <= 8
    assert summary["examples"]["dropped"] == {"exploring_end": len(doubting)}
    assert len(rows(tmp_path)) == 8 - len(doubting)
    kept_aside = [json.loads(line) for line in (run_dir / "quarantine.jsonl").read_text().splitlines()]
    assert [row["thinking"] for row in kept_aside] == [row["thinking"] for row in doubting]
    synthesize(tmp_path, "data.limit=8")
    assert rows(tmp_path) == rows(finished)
