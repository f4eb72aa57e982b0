"""The stage as a user runs it, with the fake backend: files, resume after kill, mistakes."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from evaluating import COMMAND, FOLDER, Process, evaluate, rows

from eval.answering.engines import refuse_other_weights
from eval.scoring.table import table
from reer.config import HFBackendConfig, ModelConfig
from reer.errors import RunDirError
from reer.run.launch import DONE, PARTIAL


def test_leaves_every_file_of_the_contract(finished: tuple[Path, Process]) -> None:
    folder, process = finished
    answers, verdicts, lifts = (rows(folder, name) for name in ("answers", "verdicts", "lift"))
    items, scores = rows(folder, "items"), rows(folder, "scores")
    assert len(answers) == len(verdicts) == len(lifts) == len(items) == len(scores) == 8
    keys = {"model", "id", "benchmark", "judge", "repeat", "criterion", "status", "scores", "reasons", "usage"}
    assert all(keys <= row.keys() and row["criterion"] is None for row in verdicts)
    results = json.loads((folder / "results.json").read_text())
    assert {"model", "benchmarks", "reference_lift", "outputs", "format_version"} == results.keys()
    assert results["reference_lift"]["nll"]["base"] == results["reference_lift"]["nll"]["model"]
    assert results["reference_lift"]["mean"] == pytest.approx(sum(row["lift"] for row in lifts) / 8)
    manifest = json.loads((folder / "manifest.json").read_text())
    assert f"date: '{manifest['date']}'" in (folder / "config.yaml").read_text()
    assert manifest["prompts"]["rubric"] == results["benchmarks"]["reasoning"]["rubric"]
    assert {"evaluated", "base", "judge likelihood:fake"} == manifest["models"].keys()
    assert manifest["data"] == {"version": "shipped", "files": results["benchmarks"]["reasoning"]["data"]["files"]}
    assert len(items[0]["criteria"]) == 5
    assert "<html" in (folder / "report.html").read_text(encoding="utf-8")[:200]
    assert table(results) in process.stdout
    for shown in ("factual grounding", "reference lift", "NLL of the reference answer", "well-formed", "report.html"):
        assert shown in process.stdout


def test_a_second_run_does_nothing_and_changes_nothing(finished: tuple[Path, Process]) -> None:
    folder, first = finished
    names = ("answers.jsonl", "verdicts.jsonl", "lift.jsonl", "results.json", "scores.jsonl", "manifest.json")
    before = {name: (folder / name).read_bytes() for name in names}
    again = evaluate(folder.parents[3])
    assert (again.returncode, again.stdout) == (DONE, first.stdout)
    assert "answer" not in again.stderr, "no progress bar: there was nothing to do"
    assert {name: (folder / name).read_bytes() for name in names} == before


def test_deleting_a_steps_file_runs_that_step_again(finished: tuple[Path, Process], tmp_path: Path) -> None:
    source, _ = finished
    folder = tmp_path / FOLDER
    folder.mkdir(parents=True)
    for name in ("answers.jsonl", "lift.jsonl"):
        (folder / name).write_bytes((source / name).read_bytes())
    process = evaluate(tmp_path)
    assert process.returncode == DONE, process.stderr
    assert (folder / "results.json").read_bytes() == (source / "results.json").read_bytes()
    assert (folder / "answers.jsonl").read_bytes() == (source / "answers.jsonl").read_bytes()


def kill_at(process: "subprocess.Popen[bytes]", files: list[Path], stored: int) -> None:
    """SIGKILL as soon as the files hold so many rows together."""
    deadline = time.monotonic() + 60
    while sum(path.read_bytes().count(b"\n") for path in files if path.exists()) < stored:
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()


@pytest.mark.parametrize("stored", [1, 9, 20])
def test_killed_and_continued_gives_the_same_results(
    finished: tuple[Path, Process], tmp_path: Path, stored: int
) -> None:
    """Kill -9 once so many rows are stored, in whichever step that is."""
    slow = (
        "executor.concurrency=1",
        *(f"{role}.latency=0.1" for role in ("evaluate.backend", "scorer", "judge.backend")),
    )
    process = subprocess.Popen([*COMMAND, *slow], cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    folder = tmp_path / FOLDER
    files = [folder / f"{name}.jsonl" for name in ("answers", "lift", "verdicts")]
    kill_at(process, files, stored)
    assert not (folder / "results.json").exists()
    kept = {path.name: path.read_bytes() for path in files if path.exists()}
    again = evaluate(tmp_path)
    assert again.returncode == DONE, again.stderr
    assert (folder / "results.json").read_bytes() == (finished[0] / "results.json").read_bytes()
    for name, before in kept.items():
        after = (folder / name).read_bytes()
        assert after.startswith(before[: before.rfind(b"\n") + 1]), "stored rows stay as they are"
        assert len({json.loads(line)["id"] for line in after.splitlines()}) == after.count(b"\n") == 8


@pytest.mark.slow
@pytest.mark.parametrize("stored", [1, 12, 30])
@pytest.mark.parametrize("benchmark", ["reasoning", "writingbench"])
@pytest.mark.parametrize("faults", [0.0, 0.05])
def test_a_written_judgement_killed_and_continued_gives_the_same_results(
    tmp_path: Path, faults: float, benchmark: str, stored: int
) -> None:
    """Kill -9 once so many verdicts are stored, those on the anchors included."""
    options = (f"benchmark={benchmark}", "benchmark.path=sample", "judge=openai", f"judge.backend.faults={faults}",
               "executor.concurrency=3")  # fmt: skip
    code = PARTIAL if faults else DONE
    assert evaluate(tmp_path, *options, "name=whole").returncode == code
    slow = [*COMMAND, *options, "judge.backend.latency=0.05"]
    process = subprocess.Popen(slow, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    folder = tmp_path / "runs" / "fake" / "evaluate-fake" / benchmark
    files = [folder / f"{name}.jsonl" for name in ("verdicts", "anchors")]
    kill_at(process, files, stored)
    assert evaluate(tmp_path, *options).returncode == code
    whole = tmp_path / "runs" / "whole" / "evaluate-fake" / benchmark
    if not faults:
        assert (folder / "results.json").read_bytes() == (whole / "results.json").read_bytes()
    ours, theirs = (json.loads((path / "results.json").read_text()) for path in (folder, whole))
    calls = [found["benchmarks"][benchmark].pop("cost")["openai:fake"]["calls"] for found in (ours, theirs)]
    assert ours == theirs
    assert calls[0] >= calls[1], "only what met an error is asked again"


def test_the_openai_judge_with_repeats(tmp_path: Path) -> None:
    process = evaluate(tmp_path, "judge=openai", "benchmark.limit=3")
    assert process.returncode == DONE, process.stderr
    verdicts = rows(tmp_path / FOLDER, "verdicts")
    assert sorted(row["repeat"] for row in verdicts) == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert {row["status"] for row in verdicts} == {"ok"}
    assert all(row["reasons"].keys() == row["scores"].keys() for row in verdicts)


def test_judge_failures_are_counted_and_exit_with_2(tmp_path: Path) -> None:
    script = tmp_path / "script.jsonl"
    script.write_text(json.dumps({"when": "TASK", "reply": "I would give it a 5."}) + "\n")
    process = evaluate(tmp_path, "judge=openai", "benchmark.limit=2", f"judge.backend.replies={script}")
    assert process.returncode == PARTIAL, process.stderr
    results = json.loads((tmp_path / FOLDER / "results.json").read_text())["benchmarks"]["reasoning"]
    assert results["failures"] == {"parse_failed": 6}
    assert results["overall"]["mean"] is None
    assert (results["overall"]["worst"], results["overall"]["best"]) == (1.0, 5.0)
    assert len(rows(tmp_path / FOLDER, "verdicts")) == 12, "each asked twice"
    assert "parse_failed 6" in process.stdout


def test_a_bad_row_is_set_aside_and_the_rest_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text('{"query": "Write a line.", "answer": "A line."}\n{"query": "no answer"}\n')
    process = evaluate(tmp_path, f"benchmark.path={path}")
    assert process.returncode == PARTIAL, process.stderr
    [row] = rows(tmp_path / FOLDER, "quarantine")
    assert (row["file"], row["row"]) == ("pairs.jsonl", 2)
    assert len(rows(tmp_path / FOLDER, "answers")) == 1


def test_dry_run_writes_nothing(tmp_path: Path) -> None:
    process = evaluate(tmp_path, "dry_run=true", "judge=openai", "benchmark.max_tokens=100")
    assert process.returncode == DONE, process.stderr
    assert "8 requests, at most 800 tokens" in process.stdout
    assert "36 calls to openai:fake, 5 criteria each (12 of them on anchors)" in process.stdout
    assert not list(tmp_path.iterdir())


def test_a_real_model_is_compared_with_its_base(tiny_model: Path, tmp_path: Path) -> None:
    """The hf backend in every role; the same weights under another path have no lift without thinking."""
    shutil.copytree(tiny_model, tmp_path / "tuned")
    roles = (f"model.path={tiny_model}", "model.device=cpu", "evaluate=tuned", f"evaluate.model_path={tmp_path}/tuned")
    sizes = ("benchmark.limit=2", "benchmark.max_tokens=6", "benchmark.thinking_tokens=6", "benchmark.temperature=1.5")
    command = [sys.executable, "-m", "eval.run", "name=real", *roles, *sizes]
    process = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert process.returncode == DONE, process.stderr
    folder = tmp_path / "runs" / "real" / "evaluate-tuned" / "reasoning"
    results = json.loads((folder / "results.json").read_text())
    assert all(
        1 <= score["mean"] <= 5 for score in results["benchmarks"]["reasoning"]["scores"].values() if score["n_ok"]
    )
    assert results["reference_lift"]["n"] == 2, rows(folder, "lift")
    nll = results["reference_lift"]["nll"]
    assert nll["base"] == pytest.approx(nll["model"], abs=1e-5)
    assert results["reference_lift"]["mean"] == pytest.approx(nll["base"] - nll["model_with_thinking"])
    models = json.loads((folder / "manifest.json").read_text())["models"]
    [judge] = (described for role, described in models.items() if role.startswith("judge"))
    assert models["evaluated"]["model"] != models["base"]["model"] == judge["model"]
    assert (folder / "weights.json").exists()


def test_a_model_trained_anew_at_the_same_path_is_not_mixed_in(tiny_model: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    model = tmp_path / "model"
    shutil.copytree(tiny_model, model)
    under_test = HFBackendConfig(model=ModelConfig(path=str(model)))
    refuse_other_weights(tmp_path, under_test)
    refuse_other_weights(tmp_path, under_test)
    weights = load_file(model / "model.safetensors")
    save_file({name: weight * 1.001 for name, weight in weights.items()}, model / "model.safetensors")
    with pytest.raises(RunDirError, match="another model"):
        refuse_other_weights(tmp_path, under_test)


@pytest.mark.parametrize("benchmark", ["longbench_write", "hellobench", "writingbench"])
def test_every_benchmark_runs_end_to_end_with_the_fake_backend(tmp_path: Path, benchmark: str) -> None:
    process = evaluate(tmp_path, f"benchmark={benchmark}", "benchmark.path=sample", "judge=openai", "judge.repeats=1")
    assert process.returncode == DONE, process.stderr
    folder = tmp_path / FOLDER.with_name(benchmark)
    result = json.loads((folder / "results.json").read_text())["benchmarks"][benchmark]
    assert (result["overall"]["n_ok"], result["overall"]["n"], result["failures"]) == (8, 8, {})
    assert result["overall"]["worst"] == pytest.approx(result["overall"]["mean"])
    assert result["data"]["version"] == "sample"
    assert not (folder / "lift.jsonl").stat().st_size, "there are no reference answers"
    assert len(rows(folder, "verdicts")) == (40 if benchmark == "writingbench" else 8)
    assert len(rows(folder, "anchors")) == 12
    assert result["anchors"]["openai:fake"]["n"] == 12


def test_a_sweep_over_benchmarks_fills_a_folder_each(tmp_path: Path) -> None:
    process = evaluate(tmp_path, "benchmark=reasoning,hellobench", "benchmark.path=sample", "benchmark.limit=2", "-m")
    assert process.returncode == DONE, process.stderr
    for name in ("reasoning", "hellobench"):
        assert (tmp_path / FOLDER.with_name(name) / "results.json").exists()
