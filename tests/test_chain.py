"""The whole chain with real models: the tiny one made on the spot, and SmolLM2 with the demo's own settings."""

import asyncio
import contextlib
import json
import math
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from reer.backend import build_generator, build_scorer
from reer.config import (
    HFBackendConfig,
    LayoutConfig,
    LeakConfig,
    ModelConfig,
    ObjectiveConfig,
    SamplingConfig,
    SearchConfig,
    SegmentConfig,
)
from reer.layout import build_layout
from reer.method.prompts import Prompt, PromptSet
from reer.method.propose import Proposer
from reer.method.search import Search
from reer.method.state import State
from reer.types import Example

ROOT = Path(__file__).parents[1]
SHORT = (
    "prompts=compact", "search.first_samples=2", "search.candidates=2", "search.max_steps=2",
    "search.first.max_tokens=24", "search.rewrite.max_tokens=24", "search.segment.min_tokens=4",
    "search.segment.max_tokens=16",
)  # fmt: skip


EXAMPLE = Example(
    id="e",
    query="Write of the sea.",
    answer="The old man went down to the sea before it was light, and the boy carried the lines for him.\n\n"
    "Nobody spoke. The water was flat and grey, and far out the first birds were already turning over the fish.",
)
PROMPTS = PromptSet(
    Prompt("{query} {answer}", (), None),
    Prompt("{query} {answer} {before} {segment} {after}", (), None),
    "",
)


class Ending:
    """A model with random weights never comes to an end: what it wrote up to its limit counts as all it has to say."""

    def __init__(self, generator):
        self.generator = generator

    async def generate(self, requests):
        drawn = await self.generator.generate(requests)
        return [[replace(response, finish_reason="stop") for response in responses] for responses in drawn]


def searched(model, *, objective, seed):
    """The events of a search where a real, if tiny, model both writes and scores. Built anew each time."""
    backend = HFBackendConfig(model=ModelConfig(path=str(model), dtype="float32", max_length=2048))
    scorer = build_scorer(backend)
    layout = build_layout(LayoutConfig(), scorer.tokenizer)
    settings = SearchConfig(
        first_samples=4,
        candidates=2,
        edits=["delete", "merge"],
        sweeps=2,
        max_steps=12,
        first=SamplingConfig(max_tokens=48, temperature=1.0, top_p=1.0),
        rewrite=SamplingConfig(max_tokens=16, temperature=1.0, top_p=1.0),
        segment=SegmentConfig(min_tokens=4, max_tokens=16),
        leak=LeakConfig(enabled=False),
        objective=objective,
    )
    proposer = Proposer(Ending(build_generator(backend)), lambda language: PROMPTS, layout, settings, seed)
    search = Search(proposer, scorer, layout, settings)

    async def collect():
        return [event async for event in search.run(EXAMPLE)]

    return asyncio.run(collect()), layout


def token_nlls(model, layout, thinking):
    """Of the answer, by plain transformers in one forward."""
    encoded = layout.encode(EXAMPLE.query, thinking, EXAMPLE.answer)
    with torch.no_grad():
        logits = model(torch.tensor([encoded.ids[: encoded.end]])).logits[0]
    logprobs = logits.log_softmax(-1)
    return [-logprobs[i - 1, encoded.ids[i]].item() for i in range(encoded.answer, encoded.end)]


OBJECTIVES = {"the paper's": ObjectiveConfig(), "clipped": ObjectiveConfig(clip=5.9),
              "probable": ObjectiveConfig(kind="mean_prob")}  # fmt: skip


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_number_on_the_way_is_what_plain_transformers_says_and_what_is_minimised_never_rises(tiny_model, name):
    objective = OBJECTIVES[name]
    whole, layout = searched(tiny_model, objective=objective, seed=1)
    plain = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32).eval()
    baseline, first, *steps = whole
    nlls = token_nlls(plain, layout, None)
    assert baseline.nll == pytest.approx(sum(nlls) / len(nlls), abs=1e-4)
    assert baseline.answer_tokens == len(nlls)
    values = []
    for n in range(2, len(whole) + 1):
        state = State.of(whole[:n])
        nlls = token_nlls(plain, layout, state.trajectory.text)
        counted = [min(nll, objective.clip or nll) for nll in nlls]
        if objective.kind == "mean_prob":
            counted = [1 - math.exp(-nll) for nll in counted]
        values.append(sum(counted) / len(counted))
        assert state.nll == pytest.approx(sum(nlls) / len(nlls), abs=1e-4)
        assert state.value == pytest.approx(values[-1], abs=1e-4)
    assert all(later <= earlier + 1e-6 for earlier, later in zip(values, values[1:], strict=False))
    assert values[-1] < values[0]
    assert any(step.kept is not None for step in steps)
    assert "".join(first.segments) == first.candidates[first.kept].text


def test_the_same_seed_gives_the_same_trace_with_a_real_model_and_another_seed_does_not(tiny_model):
    def trace(seed):
        whole, _ = searched(tiny_model, objective=ObjectiveConfig(), seed=seed)
        return [replace(event, usage=replace(event.usage, seconds=0.0)) for event in whole]

    first = trace(1)
    assert first == trace(1)
    assert State.of(first).trajectory != State.of(trace(2)).trajectory


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
    check = [sys.executable, str(ROOT / "scripts" / "checks" / "scores"), str(runs / "synthesize"), str(cache)]
    done = subprocess.run(check, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    call(tmp_path, "train.sft", *small, "trainer.args.num_train_epochs=1")
    call(tmp_path, "eval.run", *small, "benchmark.max_tokens=48", "benchmark.thinking_tokens=24")
    results = json.loads((runs / "evaluate-tuned" / "reasoning" / "results.json").read_text())
    assert results["reference_lift"]["n_asked"] == 2
    assert len(results["benchmarks"]["reasoning"]["scores"]) == 5
    folders = [str(runs / name) for name in ("synthesize", "sft", "evaluate-tuned")]
    done = subprocess.run(
        command("reer.page.report", *folders), cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (runs / "report.html").stat().st_size > 50_000
