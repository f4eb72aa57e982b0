"""Steps taken one by one, judges that fail or are capped, and mistakes, each as a user meets them."""

import json
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from statistics import fmean

import pytest
from evaluating import FOLDER, Process, evaluate, rows

from reer.run.launch import DONE, MISTAKE, PARTIAL


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
        (["answers=absent.jsonl"], "answers=absent.jsonl: no such file"),
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


def test_a_prompt_and_a_reference_that_changed_under_their_ids_are_answered_and_measured_anew(tmp_path: Path) -> None:
    pairs = [
        {"id": n, "query": f"Write of {n}.", "answer": f"There was {n}, and nobody saw it."} for n in ("rain", "sea")
    ]
    path = tmp_path / "held_out.jsonl"

    def run(*changes: dict[str, str]) -> tuple[str, dict[str, dict[str, dict[str, str]]]]:
        given = [pair | next((c for c in changes if c["id"] == pair["id"]), {}) for pair in pairs]
        path.write_text("".join(json.dumps(row) + "\n" for row in given), encoding="utf-8")
        process = evaluate(tmp_path, f"benchmark.path={path}", "judge.anchors=false")
        assert process.returncode == DONE, process.stderr
        latest = {name: {row["id"]: row for row in rows(tmp_path / FOLDER, name)} for name in ("answers", "lift")}
        return process.stdout, latest

    said, before = run()
    assert "changed" not in said
    said, after = run({"id": "sea", "answer": "There was the sea, and everybody saw it."})
    assert "prompts changed" not in said
    assert "reference pairs changed since the last run: 1, measured anew" in said
    assert after["answers"] == before["answers"]
    assert after["lift"]["sea"]["nll"] != before["lift"]["sea"]["nll"]
    said, after = run({"id": "sea", "query": "Write of snow."})
    assert "prompts changed since the last run: 1, answered anew" in said
    assert after["answers"]["sea"]["prompt"] == "Write of snow."
    assert after["answers"]["rain"] == before["answers"]["rain"]
