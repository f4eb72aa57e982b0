"""The stage as a user runs it, with the fake backend: files, resume after kill, mistakes."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

from eval.engines import refuse_other_weights
from eval.table import table
from reer.config import HFBackendConfig, ModelConfig
from reer.errors import RunDirError
from reer.launch import DONE, MISTAKE, PARTIAL

Process = subprocess.CompletedProcess[str]
COMMAND = [sys.executable, "-m", "eval.run", "experiment=fake"]
FOLDER = Path("runs") / "fake" / "evaluate-fake" / "reasoning"


def evaluate(cwd: Path, *overrides: str) -> Process:
    return subprocess.run([*COMMAND, *overrides], cwd=cwd, capture_output=True, text=True, timeout=120, check=False)


def rows(folder: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Process]:
    """An undisturbed evaluation of the 8 packaged queries: its folder, and what it printed."""
    cwd = tmp_path_factory.mktemp("finished")
    process = evaluate(cwd)
    assert process.returncode == DONE, process.stderr
    return cwd / FOLDER, process


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


def test_steps_can_be_taken_one_by_one(finished: tuple[Path, Process], tmp_path: Path) -> None:
    folder = tmp_path / FOLDER
    assert evaluate(tmp_path, "steps=[respond]").returncode == DONE
    assert not (folder / "results.json").exists()
    assert not (folder / "verdicts.jsonl").stat().st_size
    assert evaluate(tmp_path, "steps=[judge]").returncode == DONE
    assert not (folder / "results.json").exists()
    assert evaluate(tmp_path, "steps=[summarise]").returncode == DONE
    assert (folder / "results.json").read_bytes() == (finished[0] / "results.json").read_bytes()


def test_any_answers_file_can_be_judged(finished: tuple[Path, Process], tmp_path: Path) -> None:
    """Answers without their model: judged as in the run they come from; what needs the model is absent."""
    source = finished[0]
    given = f"answers={source / 'answers.jsonl'}"
    process = evaluate(tmp_path, "steps=[judge,summarise]", given)
    assert process.returncode == DONE, process.stderr
    ours, theirs = (json.loads((folder / "results.json").read_text()) for folder in (tmp_path / FOLDER, source))
    assert ours["benchmarks"] == theirs["benchmarks"]
    assert ours["reference_lift"] is None
    bare = tmp_path / "bare.jsonl"
    bare.write_text("".join(json.dumps({"id": row["id"], "answer": row["answer"]}) + "\n"
                            for row in rows(source, "answers")))  # fmt: skip
    process = evaluate(tmp_path, f"answers={bare}", "name=bare")
    assert process.returncode == DONE, process.stderr
    process = evaluate(tmp_path, f"answers={bare}", "name=other", "benchmark=hellobench", "benchmark.path=sample")
    assert process.returncode == MISTAKE
    assert "is none of the 8 of hellobench" in process.stderr


def test_a_judge_that_fails_in_every_way_is_shown_as_such(tmp_path: Path) -> None:
    """A tenth of the calls each: no JSON, refused, cut, an error. The other verdicts' scores stay as they were."""
    options = ("judge=openai", "judge.repeats=10", "judge.attempts=1", "judge.anchors=false")
    good, bad = evaluate(tmp_path, *options, "name=good"), evaluate(tmp_path, *options, "judge.backend.faults=0.1")
    assert (good.returncode, bad.returncode) == (DONE, PARTIAL)
    whole, holed = (tmp_path / "runs" / name / "evaluate-fake" / "reasoning" for name in ("good", "fake"))
    result = json.loads((holed / "results.json").read_text())["benchmarks"]["reasoning"]
    assert result["failures"].keys() == {"api_error", "parse_failed", "refused", "truncated"}
    assert 8 * 10 * 0.2 < sum(result["failures"].values()) < 8 * 10 * 0.6
    scores = {(row["id"], row["repeat"]): row["scores"] for row in rows(whole, "verdicts")}
    kept = [row for row in rows(holed, "verdicts") if row["status"] == "ok"]
    assert all(row["scores"] == scores[row["id"], row["repeat"]] for row in kept)
    depth = {id_: [row["scores"]["depth_of_analysis"] for row in kept if row["id"] == id_] for id_, _ in scores}
    found = result["scores"]["depth_of_analysis"]
    assert found["mean"] == pytest.approx(fmean(map(fmean, depth.values())))
    assert found["worst"] == pytest.approx(fmean((sum(d) + (10 - len(d)) * 1) / 10 for d in depth.values()))
    assert found["best"] == pytest.approx(fmean((sum(d) + (10 - len(d)) * 5) / 10 for d in depth.values()))
    for status, n in result["failures"].items():
        assert f"{status} {n}" in bad.stdout
        assert f"no verdict of openai:fake: {n} x {status} (" in bad.stdout
    assert Counter(row["status"] for row in rows(holed, "quarantine")) == result["failures"]
    again = evaluate(tmp_path, *options, "judge.backend.faults=0.1")
    assert again.returncode == PARTIAL
    assert len(rows(holed, "verdicts")) == 80 + result["failures"]["api_error"], "only errors are asked again"


def test_a_cap_stops_cleanly_and_a_higher_one_goes_on(finished: tuple[Path, Process], tmp_path: Path) -> None:
    options = ("judge=openai", "judge.repeats=1", "judge.anchors=false")
    assert evaluate(tmp_path, *options, "name=whole").returncode == DONE
    process = evaluate(tmp_path, *options, "judge.max_calls=5")
    assert process.returncode == PARTIAL
    assert "not done: openai:fake has reached its cap (max_calls=5); the same command tries again" in process.stdout
    result = json.loads((tmp_path / FOLDER / "results.json").read_text())["benchmarks"]["reasoning"]
    assert (result["failures"], result["overall"]["n_ok"]) == ({"not_judged": 3}, 5)
    assert evaluate(tmp_path, *options, "judge.max_calls=8").returncode == DONE
    whole, ours = (tmp_path / "runs" / name / "evaluate-fake" / "reasoning" for name in ("whole", "fake"))
    assert (ours / "results.json").read_bytes() == (whole / "results.json").read_bytes()


def test_the_anchors_count_towards_the_cap(tmp_path: Path) -> None:
    process = evaluate(tmp_path, "judge=openai", "judge.repeats=1", "judge.max_calls=10")
    assert process.returncode == PARTIAL
    assert [len(rows(tmp_path / FOLDER, name)) for name in ("verdicts", "anchors")] == [8, 2]
    assert (
        json.loads((tmp_path / FOLDER / "results.json").read_text())["benchmarks"]["reasoning"]["overall"]["n_ok"] == 8
    )


def test_judges_are_chosen_after_the_answers_and_added_later(tmp_path: Path) -> None:
    assert evaluate(tmp_path, "steps=[respond]").returncode == DONE
    assert evaluate(tmp_path, "steps=[judge,summarise]", "judge=openai").returncode == DONE
    assert evaluate(tmp_path, "steps=[judge,summarise]").returncode == DONE
    verdicts = rows(tmp_path / FOLDER, "verdicts")
    assert {row["judge"] for row in verdicts} == {"openai:fake", "likelihood:fake"}
    assert json.loads((tmp_path / FOLDER / "results.json").read_text())["benchmarks"]["reasoning"]["judges"] == [
        "likelihood:fake"
    ]
    process = evaluate(tmp_path, "judge=openai", "judge.temperature=0.9")
    assert process.returncode == MISTAKE
    assert "openai:fake gave this verdict with other settings (temperature=0.5 max_tokens=2048, now" in process.stderr
    process = evaluate(tmp_path, "benchmark.temperature=0.9")
    assert process.returncode == MISTAKE
    assert "was made with other settings: benchmark.temperature" in process.stderr


def test_a_panel_from_the_command_line(tmp_path: Path) -> None:
    roles = ("name=panel", "evaluate.label=fake", "evaluate.model_path=null", "backend@scorer=fake",
             "backend@evaluate.backend=fake", "benchmark.limit=4")  # fmt: skip
    panel = ("judge=panel", "+judge@judge.judges.a=openai", "backend@judge.judges.a.backend=fake",
             "+judge@judge.judges.b=likelihood", "backend@judge.judges.b.backend=fake")  # fmt: skip
    command = [sys.executable, "-m", "eval.run", *roles, *panel]
    process = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert process.returncode == DONE, process.stderr
    result = json.loads((tmp_path / "runs/panel/evaluate-fake/reasoning/results.json").read_text())
    found = result["benchmarks"]["reasoning"]
    assert found["judges"] == ["openai:fake", "likelihood:fake"]
    assert found["overall"]["mean"] == pytest.approx(
        fmean(judge["overall"]["mean"] for judge in found["by_judge"].values())
    )
    assert found["agreement"]["overall"]["n"] == 4
    assert "agreement of the judges" in process.stdout


def test_verdicts_by_another_wording_are_refused(finished: tuple[Path, Process], tmp_path: Path) -> None:
    shutil.copytree(finished[0], tmp_path / FOLDER)
    path = tmp_path / FOLDER / "verdicts.jsonl"
    lines = path.read_text().splitlines()
    lines[4] = json.dumps(json.loads(lines[4]) | {"rubric": "0" * 16})
    path.write_text("\n".join(lines) + "\n")
    for steps in ("steps=[judge]", "steps=[summarise]"):
        process = evaluate(tmp_path, steps)
        assert process.returncode == MISTAKE
        assert "verdicts.jsonl, row 5: this verdict was given by another wording" in process.stderr
        assert len(process.stderr.strip().splitlines()) == 1


def test_failed_verdicts_of_repeats_that_are_no_longer_asked_for_do_not_count(tmp_path: Path) -> None:
    options = ("judge=openai", "judge.anchors=false", "benchmark.limit=2")
    assert evaluate(tmp_path, *options, "judge.repeats=1").returncode == DONE
    assert evaluate(tmp_path, *options, "judge.repeats=2", "judge.backend.faults=0.25").returncode == PARTIAL
    process = evaluate(tmp_path, *options, "judge.repeats=1")
    assert process.returncode == DONE
    assert "no verdict of" not in process.stdout


def test_a_row_that_lacks_a_field_is_one_sentence(finished: tuple[Path, Process], tmp_path: Path) -> None:
    shutil.copytree(finished[0], tmp_path / FOLDER)
    for name, field in (("answers", "prompt"), ("verdicts", "rubric")):
        path = tmp_path / FOLDER / f"{name}.jsonl"
        whole = path.read_text()
        path.write_text(whole.replace(f'"{field}":', '"else":', 1))
        for last in ("steps=[summarise]", "dry_run=true"):
            process = evaluate(tmp_path, last)
            assert process.returncode == MISTAKE
            assert f"{name}.jsonl, row 1: it has no '{field}'" in process.stderr
        path.write_text(whole)


def test_a_judge_without_its_key_is_noticed_before_the_first_answer(tmp_path: Path) -> None:
    judge = (
        "judge=openai",
        "backend@judge.backend=openai",
        "judge.backend.model_name=m",
        "judge.backend.api_key_env=NO_KEY",
    )
    process = evaluate(tmp_path, *judge)
    assert process.returncode == MISTAKE
    assert "needs a key in the environment variable NO_KEY" in process.stderr
    assert not rows(tmp_path / FOLDER, "answers")


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["benchmark.path=absent.jsonl"], "absent.jsonl: no such file"),
        (["benchmark.name=arena"], "benchmark.name=arena is unknown (known: reasoning, longbench_write"),
        (
            ["backend@evaluate.backend=hf", "evaluate.model_path=runs/fake/sft/model"],
            "runs/fake/sft/model does not exist: run reer-sft first",
        ),
        (["benchmark.max_token=3"], "max_token"),
        (["judge=openai", "backend@judge.backend=openai"], "judge.backend.model_name"),
        (["layout=think", "layout.name=xml"], "layout.name=xml is unknown"),
        (["judge=panel"], "experiment/fake.yaml sets backend@judge.backend, which the groups chosen here do not have"),
        (["steps=[answer]"], "steps=answer is unknown (known: respond, judge, summarise)"),
        (["steps=[summarise]"], "holds no answer to any of the 8 prompts that are asked: take steps=[respond] first"),
        (["judge=openai", "judge.temperature=-3"], "judge.temperature=-3.0: cannot be negative"),
        (["judge=openai", "judge.max_calls=0"], "judge.max_calls=0: has to be at least 1"),
        (["answers=absent.jsonl"], "answers=absent.jsonl cannot be read"),
        (["judge=openai", "judge.max_cost=1"], "max_cost of openai:fake needs its price"),
        (["benchmark=hellobench", "benchmark.path=absent"], "absent: no such file or folder"),
        (["benchmark.rubric=absent.yaml"], "absent.yaml: cannot be read"),
        (
            ["judge=openai", "judge.baseline=absent.jsonl", "benchmark.limit=1"],
            "judge.baseline=absent.jsonl: no such file",
        ),
    ],
)
def test_mistakes_are_one_sentence(tmp_path: Path, overrides: list[str], words: str) -> None:
    process = evaluate(tmp_path, *overrides)
    assert process.returncode == MISTAKE
    assert words in process.stderr
    assert len(process.stderr.strip().splitlines()) == 1
