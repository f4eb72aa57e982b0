"""The whole chain with real models: the tiny one made on the spot, and SmolLM2 with the demo's own settings."""

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

import pytest

ROOT = Path(__file__).parents[1]
SHORT = (
    "prompts=compact", "search.first_samples=2", "search.candidates=2", "search.max_steps=2",
    "search.first.max_tokens=24", "search.rewrite.max_tokens=24", "search.segment.min_words=2",
    "search.segment.max_words=8",
)  # fmt: skip


def command(module, *overrides):
    return [sys.executable, "-m", module, *overrides]


def call(cwd, module, *overrides):
    done = subprocess.run(command(module, *overrides), cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 2), done.stderr[-2000:]
    return done.stdout


def jsonl(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture
def tiny_pairs(tmp_path, pairs):
    path = tmp_path / "pairs.jsonl"
    rows = [{"id": p.id, "query": p.query, "answer": p.answer * 3} for p in pairs if p.language == "en"]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows if "。" not in row["answer"]))
    return path


def events(run_dir):
    with contextlib.closing(sqlite3.connect(run_dir / "ledger.db")) as db:
        return list(db.execute("SELECT example, n, body FROM events ORDER BY example, n"))


@pytest.mark.slow
@pytest.mark.parametrize("n", range(3))
def test_kill_9_with_a_real_model_keeps_committed_steps_and_does_each_example_once(
    tiny_model, tiny_pairs, tmp_path, n
):
    overrides = ["name=t", "data=files", f"data.path={tiny_pairs}", f"model.path={tiny_model}", *SHORT]
    overrides += ["executor.concurrency=1", "model.max_length=2048", "search.attempts=20"]
    run_dir = tmp_path / "runs" / "t" / "synthesize"
    process = subprocess.Popen(
        command("reer.synthesize", *overrides), cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    wal = run_dir / "ledger.db-wal"
    while not (wal.exists() and wal.stat().st_size > 20_000) and process.poll() is None:
        time.sleep(0.005)
    time.sleep(random.Random(n).uniform(0, 0.3))
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = events(run_dir)
    assert before
    call(tmp_path, "reer.synthesize", *overrides)
    assert set(before) <= set(events(run_dir))
    ids = [row["id"] for row in jsonl(run_dir / "trajectories.jsonl")]
    assert len(ids) == len(set(ids))
    summary = json.loads((run_dir / "summary.json").read_text())["examples"]
    assert summary["done"] + summary["quarantined"] == summary["input"] == len(jsonl(tiny_pairs))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_demo_in_small_with_smollm2(tmp_path):
    """Two pairs through all four commands; plain transformers confirms the scores from trajectories.jsonl alone."""
    small = ["experiment=demo", "data.limit=2", "search.max_steps=1", "benchmark.limit=2"]
    said = call(tmp_path, "reer.synthesize", *small)
    assert "2 of 2 kept" in said
    runs = tmp_path / "runs" / "demo"
    rows = jsonl(runs / "synthesize" / "trajectories.jsonl")
    assert all(row["nll"]["final"] <= row["nll"]["first"] for row in rows)
    cache = Path(os.environ.get("REER_CACHE") or Path.home() / ".cache" / "reer") / "smollm2"
    check = [sys.executable, str(ROOT / "scripts" / "check_scores"), str(runs / "synthesize"), str(cache)]
    done = subprocess.run(check, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    call(tmp_path, "train.sft", *small, "trainer.args.num_train_epochs=1")
    call(tmp_path, "eval.run", *small, "benchmark.max_tokens=48", "benchmark.thinking_tokens=24")
    results = json.loads((runs / "evaluate-tuned" / "results.json").read_text())
    assert results["reference_lift"]["n_asked"] == 2
    assert len(results["benchmarks"]["reasoning"]["scores"]) == 5
    folders = [str(runs / name) for name in ("synthesize", "sft", "evaluate-tuned")]
    done = subprocess.run(command("reer.report", *folders), cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (runs / "report.html").stat().st_size > 50_000
