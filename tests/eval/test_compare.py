import json
import sys
from pathlib import Path
from typing import Any

import pytest
from evaluations import JUDGES, write_evaluation, write_rows

from eval import compare as module
from eval.compare import compare, table
from eval.scoring.families import families, family_of
from reer.errors import RunDirError
from reer.files.results import read_evaluations, read_runs


def compared(*folders: Path) -> dict[str, Any]:
    return compare(read_evaluations(read_runs(folders)), seed=0)


def scores(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "scores.jsonl").read_text().splitlines()]


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, Path]:
    """Base and tuned on one benchmark, tuned a tenth of the scale above."""
    base = write_evaluation(tmp_path / "evaluate-base/reasoning", "base", n=24)
    return base, write_evaluation(tmp_path / "evaluate-tuned/reasoning", "tuned", n=24, shift=0.1)


def test_differences_are_paired_over_shared_prompts(two: tuple[Path, Path]) -> None:
    rows = scores(two[1])
    write_rows(two[1] / "scores.jsonl", [rows[0] | {"overall": None}, *rows[1:]])
    found = compared(*two)["benchmarks"]["reasoning"]
    assert (found["n"], found["asked"]) == (23, 24)
    [pair] = found["pairs"]
    by_hand = [t["overall"] - b["overall"] for b, t in zip(scores(two[0])[1:], rows[1:], strict=True)]
    assert pair["overall"]["mean"] == pytest.approx(sum(by_hand) / 23)
    assert pair["overall"]["low"] > 0
    assert pair["overall"]["p"] < 0.01
    assert set(pair["scores"]) == set(rows[0]["scores"])
    assert pair["scores"]["factual_grounding"]["n"] == 16  # where it applies, of the 23
    assert set(pair["groups"]["domain"]) == {"fable", "memoir", "essay"}


def test_holm_is_taken_over_criteria_and_over_groups(two: tuple[Path, Path]) -> None:
    [pair] = compared(*two)["benchmarks"]["reasoning"]["pairs"]
    tests = sorted(pair["scores"].values(), key=lambda test: test["p"])
    assert tests[0]["p_holm"] == pytest.approx(min(1.0, 5 * tests[0]["p"]))
    assert pair["overall"]["p_holm"] == pair["overall"]["p"]  # one pair of models


def test_tasks_count_the_same_on_the_prompts_that_are_shared(tmp_path: Path) -> None:
    folders = [write_evaluation(tmp_path / name / "hellobench", name, "hellobench", n=5) for name in ("a", "b")]
    for folder, low in zip(folders, (10.0, 30.0), strict=True):
        rows = [
            row | {"groups": {"task": "chat" if n else "qa"}, "overall": 50.0 if n else low}
            for n, row in enumerate(scores(folder))
        ]
        rows[-1]["overall"] = 99.0 if folder == folders[0] else None
        write_rows(folder / "scores.jsonl", rows)
    found = compared(*folders)["benchmarks"]["hellobench"]
    assert found["n"] == 4
    assert found["overall"] == {"a": pytest.approx((10 + 50) / 2), "b": pytest.approx((30 + 50) / 2)}
    assert found["pairs"][0]["overall"]["mean"] == pytest.approx(10)
    assert found["pairs"][0]["scores"] == {}  # a checklist's items are not the same from prompt to prompt


def test_the_same_folders_give_the_same_numbers(two: tuple[Path, Path]) -> None:
    assert compared(*two) == compared(*two)


def test_a_prompt_that_a_model_left_unanswered_says_nothing_of_length(two: tuple[Path, Path]) -> None:
    rows = scores(two[1])
    write_rows(two[1] / "scores.jsonl", rows[1:])
    without = compared(*two)["benchmarks"]["reasoning"]["length"]
    write_rows(two[1] / "scores.jsonl", [rows[0] | {"words": 0, "overall": 1.0}, *rows[1:]])
    found = compared(*two)["benchmarks"]["reasoning"]
    assert (found["n"], found["length"]["n"]) == (24, 23)
    assert found["length"] == without
    write_rows(two[1] / "scores.jsonl", [row | {"words": 0} for row in rows])
    nothing = compared(*two)["benchmarks"]["reasoning"]["length"]
    assert (nothing["n"], nothing["per_doubling"], nothing["adjusted"]) == (0, None, {"base": None, "tuned": None})


@pytest.mark.parametrize(
    ("field", "values", "words"),
    [
        ("settings", ("temperature=0.5", "temperature=1"), r"asked with other settings \(temperature=0.5, and"),
        ("served_model", ("gpt-4o-2024-08-06", "gpt-4o-2024-11-20"), r"served by another model \(gpt-4o-2024-08-06,"),
    ],
)
def test_judges_that_were_asked_in_another_way_are_refused(
    two: tuple[Path, Path], field: str, values: tuple[str, str], words: str
) -> None:
    for folder, value in zip(two, values, strict=True):
        verdicts = [json.loads(line) for line in (folder / "verdicts.jsonl").read_text().splitlines()]
        write_rows(folder / "verdicts.jsonl", [row | {field: value} for row in verdicts])
    with pytest.raises(RunDirError, match=words):
        compared(*two)


def test_length_is_taken_out(two: tuple[Path, Path]) -> None:
    for folder, words in zip(two, (100, 400), strict=True):
        rows = [row | {"words": words + n, "overall": 2.0 + (words > 100) + 0.001 * n}
                for n, row in enumerate(scores(folder))]  # fmt: skip
        write_rows(folder / "scores.jsonl", rows)
    length = compared(*two)["benchmarks"]["reasoning"]["length"]
    assert length["raw"]["tuned"] - length["raw"]["base"] == pytest.approx(1.0)
    assert length["words"] == {"base": 111.5, "tuned": 411.5}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"judges": ["openai:gpt-4o"]}, "one was judged by likelihood:smollm2, the other openai:gpt-4o"),
        ({"rubric": "r2"}, "judged by the rubric r1, the other r2"),
        ({"weights": "w2"}, "scored with the weights w1, the other w2"),
        ({"prompts": "p2"}, "judged with the prompts p1, the other p2"),
        ({"data": {"version": "v2", "files": {"data.jsonl": "ab12"}}}, "asked the data of version v1, the other v2"),
        ({"data": {"version": "v1", "files": {"data.jsonl": "ff00"}}}, "data.jsonl ab12, the other data.jsonl ff00"),
    ],
)
def test_numbers_of_different_making_are_refused(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    base = write_evaluation(tmp_path / "base", "base")
    with pytest.raises(RunDirError, match="cannot be compared") as refused:
        compared(base, write_evaluation(tmp_path / "tuned", "tuned", **change))
    assert said in str(refused.value)


def test_what_cannot_be_compared_is_one_sentence(tmp_path: Path) -> None:
    base = write_evaluation(tmp_path / "base", "base")
    other = write_evaluation(tmp_path / "other", "base", "hellobench")
    with pytest.raises(RunDirError, match="nothing to compare"):
        compared(base, other)
    tuned = write_evaluation(tmp_path / "tuned", "tuned")
    write_rows(tuned / "scores.jsonl", [row | {"id": f"x{row['id']}"} for row in scores(tuned)])
    with pytest.raises(RunDirError, match="no prompt of reasoning with scores in common"):
        compared(base, tuned)
    (tuned / "scores.jsonl").unlink()
    with pytest.raises(RunDirError, match=r"holds no scores\.jsonl"):
        compared(base, tuned)


def test_judges_rank_the_models(tmp_path: Path) -> None:
    folders = [write_evaluation(tmp_path / name, name, shift=shift, judges=JUDGES, n=12)
               for name, shift in (("a", 0.0), ("b", 0.1), ("c", 0.2))]  # fmt: skip
    found = compared(*folders)["benchmarks"]["reasoning"]
    assert found["kendall_tau"] == {"likelihood:smollm2 and openai:gpt-4o": pytest.approx(1.0)}
    assert [(pair["a"], pair["b"]) for pair in found["pairs"]] == [("a", "b"), ("a", "c"), ("b", "c")]
    assert list(found["by_judge"]["openai:gpt-4o"]) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("openai:gpt-4o-2024-05-13", "OpenAI"),
        ("o3-mini", "OpenAI"),
        ("likelihood:/models/Qwen3-8B", "Qwen"),
        ("runs/demo/DeepWriter-8B", "Qwen"),
        ("LongWriter-8B", "GLM"),
        ("claude-3-7-sonnet-20250219", "Claude"),
        ("HuggingFaceTB/SmolLM2-135M-Instruct", "SmolLM"),
        ("tuned", None),
        ("/home/llama/base", None),
    ],
)
def test_families_are_known_by_name(name: str, family: str | None) -> None:
    assert family_of(name) == family


def test_a_judge_that_favours_its_own_family_is_seen() -> None:
    means = {"gpt-4o": {"gpt-5": 90.0, "claude-4": 70.0}, "claude-3.7": {"gpt-5": 80.0, "claude-4": 80.0}}
    found = families(means, {"gpt-5": "OpenAI", "claude-4": "Claude"})
    assert found["means"]["gpt-4o"] == {"OpenAI": 90.0, "Claude": 70.0}
    assert found["own_family_bonus"] == {"gpt-4o": pytest.approx(20.0), "claude-3.7": pytest.approx(20.0)}
    unknown = families(means, {"gpt-5": "OpenAI", "claude-4": None})
    assert unknown["own_family_bonus"] == {"gpt-4o": None, "claude-3.7": None}
    alone = families({"gpt-4o": means["gpt-4o"]}, {"gpt-5": "OpenAI", "claude-4": "Claude"})
    assert alone["own_family_bonus"] == {"gpt-4o": None}


def run_command(monkeypatch: pytest.MonkeyPatch, *arguments: Path) -> int:
    monkeypatch.setattr(sys, "argv", ["reer-compare", *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        module.main()
    return int(stopped.value.code or 0)


def test_the_command_writes_file_and_page_beside_the_runs(
    two: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = two[0].parents[1]
    assert run_command(monkeypatch, two[0].parent, two[1].parent) == 0
    said = capsys.readouterr().out
    assert "reasoning: 24 of 24 prompts shared, judged by likelihood:smollm2" in said
    assert "tuned - base" in said
    stored = json.loads((root / "comparison.json").read_text())
    assert table(stored) in said
    assert "[+" in said
    assert "Differences on the same prompts" in (root / "report.html").read_text()


def test_the_command_complains_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(monkeypatch, write_evaluation(tmp_path / "base")) == 1
    said = capsys.readouterr().err
    assert said.startswith("reer-compare: there is nothing to compare")
    assert said.count("\n") == 1


def test_a_difference_without_an_interval_is_still_shown(tmp_path: Path) -> None:
    folders = [write_evaluation(tmp_path / name, name, n=1, shift=shift) for name, shift in (("a", 0.0), ("b", 0.1))]
    [line] = [line for line in table(compared(*folders)).splitlines() if "overall" in line]
    assert "[" not in line
    assert "+0." in line
