"""What the page says of evaluated models: every score with its interval, count and bounds, and what was refused."""

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from evaluations import JUDGES, OVERALL, write_evaluation, write_rows

from eval.compare import compare
from reer.files.results import read_evaluations, read_runs
from reer.page.report import write_page

BENCHMARKS = tuple(OVERALL)


class Page(HTMLParser):
    """Visible text, white space made single; tags with their attributes."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self._text, self._hidden = "", 0
        self.feed(path.read_text(encoding="utf-8"))
        self.said = " ".join(self._text.split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        self._hidden += tag in ("style", "script")
        self._text += " "

    def handle_endtag(self, tag: str) -> None:
        self._hidden -= tag in ("style", "script")

    def handle_data(self, data: str) -> None:
        self._text += data * (not self._hidden)


def page_of(*folders: Path) -> Page:
    return Page(write_page(folders, folders[0].parent / "report.html"))


def evaluated(root: Path, **options: Any) -> list[Path]:
    """Two models on all benchmarks, in the folders of an experiment."""
    for model, shift in (("base", 0.0), ("tuned", 0.1)):
        for benchmark in BENCHMARKS:
            write_evaluation(root / f"evaluate-{model}" / benchmark, model, benchmark, shift=shift, **options)
    return [root / "evaluate-base", root / "evaluate-tuned"]


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def compared(root: Path, folders: list[Path]) -> None:
    comparison = compare(read_evaluations(read_runs(folders)), seed=0)
    (root / "comparison.json").write_text(json.dumps(comparison))


def test_a_folder_above_run_folders_stands_for_all_of_them(tmp_path: Path) -> None:
    folders = evaluated(tmp_path)
    runs = read_runs(folders)
    assert [(e.label, e.benchmark) for e in read_evaluations(runs)] == [
        (model, benchmark) for model in ("base", "tuned") for benchmark in sorted(BENCHMARKS)
    ]
    assert [run.path for run in read_runs([tmp_path])] == [run.path for run in runs]


def test_every_benchmark_has_scores_with_interval_and_count(tmp_path: Path) -> None:
    said = page_of(*evaluated(tmp_path, judges=JUDGES)).said
    for title in ("Reasoning", "LongBench-Write", "HelloBench", "WritingBench"):
        assert title in said
    results = json.loads((tmp_path / "evaluate-base/hellobench/results.json").read_text())
    overall = results["benchmarks"]["hellobench"]["overall"]
    shown = f"{overall['mean']:.1f} [{overall['low']:.1f}, {overall['high']:.1f}] 8 of 8"
    assert shown in said
    assert "Judged by likelihood:smollm2, openai:gpt-4o" in said
    assert "Agreement of the judges Krippendorff’s α; Spearman 0.41" in said
    assert "2 repeats, SD between them 0.12" in said
    assert "what a doubling of the words goes with 0.12 −0.34 per doubling" in said
    assert "Open-ended QA" in said


def test_missing_verdicts_are_counted_with_bounds(tmp_path: Path) -> None:
    folder = write_evaluation(tmp_path / "base", failed=2)
    result = json.loads((folder / "results.json").read_text())["benchmarks"]["reasoning"]
    said = page_of(folder).said
    overall = result["overall"]
    assert f"6 of 8 bounds {overall['worst']:.2f} to {overall['best']:.2f}" in said
    assert "Verdicts without a score 4 parse failed" in said
    assert "Verdicts without a score: 2 parse failed." in said  # beside each of the two answers
    assert "8 asked, 8 answered, 1 empty" in said


def test_criteria_that_do_not_apply_are_no_missing_verdicts(tmp_path: Path) -> None:
    said = page_of(write_evaluation(tmp_path / "base")).said
    assert "5 of 8 3 do not apply" in said
    assert "bounds" not in said.partition("Scores by criterion")[2].partition("How it was judged")[0]


def test_the_papers_rows_are_marked_second_hand_with_their_judge(tmp_path: Path) -> None:
    said = page_of(*evaluated(tmp_path)).said
    assert "The paper’s rows, second-hand, by its judge" in said
    assert "Ours, judged by likelihood:smollm2 base" in said
    assert "DeepWriter-8B 91.3 82.6 87.4 72.2 70.6 72.3" in said
    assert "check every cell there before quoting it" in said
    assert "WB-D WritingBench D, literature: Claude 3.7 Sonnet according to a reviewer" in said


def test_the_paper_is_left_out_where_nothing_stands_beside_it(tmp_path: Path) -> None:
    assert "DeepWriter" not in page_of(write_evaluation(tmp_path / "base")).said


def test_a_comparison_is_shown_until_the_scores_change(tmp_path: Path) -> None:
    folders = evaluated(tmp_path)
    compared(tmp_path, folders)
    said = page_of(*folders).said
    assert said.count("Differences on the same prompts") == 4
    assert "tuned − base, same prompts" in said
    rows = [json.loads(line) for line in (folders[0] / "reasoning/scores.jsonl").read_text().splitlines()]
    write_rows(folders[0] / "reasoning/scores.jsonl", [row | {"overall": 5.0} for row in rows])
    assert page_of(*folders).said.count("Differences on the same prompts") == 3


def test_of_many_models_each_is_drawn_against_the_first_and_the_others_stand_as_tables(tmp_path: Path) -> None:
    models = ("base", "one", "two", "three")
    folders = [write_evaluation(tmp_path / f"evaluate-{m}/reasoning", m, shift=0.1 * n) for n, m in enumerate(models)]
    compared(tmp_path, folders)
    page = page_of(*folders)
    drawn = {found["aria-label"] for _, found in page.found if "Differences between" in found.get("aria-label", "")}
    assert drawn == {f"Differences between {m} and base on the same prompts" for m in models[1:]}
    for a, b in (("one", "two"), ("one", "three"), ("two", "three")):
        assert f"{b} against {a}" in page.said


def test_filters_know_the_benchmarks_domains_and_states(tmp_path: Path) -> None:
    folders = evaluated(tmp_path, failed=1)
    rows = [json.loads(line) for line in (folders[0] / "reasoning/answers.jsonl").read_text().splitlines()]
    write_rows(folders[0] / "reasoning/answers.jsonl", [rows[0] | {"answer": ""}, *rows[1:]])
    page = page_of(*folders)
    items = [found for tag, found in page.found if tag == "details" and found.get("data-benchmark")]
    assert len(items) == 32
    assert {item["data-group"] for item in items if item["data-benchmark"] == "reasoning"} == {
        "fable",
        "memoir",
        "essay",
    }
    states = [item["data-states"] for item in items if item["data-benchmark"] == "reasoning"]
    assert sorted(states) == [",", ",", ",", ",", ",", ",", "unanswered,", "unscored,unscored"]
    shares = [float(share) for item in items for share in (item["data-shares"] or "").split(",") if share]
    assert len(shares) == 2 * (32 - 4)
    assert all(0 <= share <= 1 for share in shares)


def test_verdicts_are_shown_with_judge_repeat_and_reason(tmp_path: Path) -> None:
    said = page_of(write_evaluation(tmp_path / "base", "base", "writingbench", n=1, judges=JUDGES)).said
    assert "does it meet Use of sources?" in said
    assert "It holds. An answer that holds. likelihood:smollm2, 1" in said
    assert "It holds. An answer that holds. openai:gpt-4o, 2" in said


def test_a_failed_answer_shows_no_stale_verdict(tmp_path: Path) -> None:
    folder = write_evaluation(tmp_path / "base", n=1)
    rows = [json.loads(line) for line in (folder / "answers.jsonl").read_text().splitlines()]
    write_rows(folder / "answers.jsonl", [*rows, rows[0] | {"answer": ""}])
    said = page_of(folder).said
    assert "No answer came" in said
    assert "It holds." not in said


def test_of_several_attempts_the_first_that_went_well_stands(tmp_path: Path) -> None:
    folder = write_evaluation(tmp_path / "base", n=1)
    first, second = (json.loads(line) for line in (folder / "verdicts.jsonl").read_text().splitlines())
    failed = second | {"status": "truncated", "scores": {}, "reasons": {}}
    again = second | {"scores": dict.fromkeys(second["scores"], 4.75)}
    write_rows(folder / "verdicts.jsonl", [first, failed, again, again | {"scores": {"logical_consistency": 1.0}}])
    said = page_of(folder).said
    assert "4.75" in said
    assert "truncated" not in said


def scored(verdict: dict[str, Any], score: float, **changes: Any) -> dict[str, Any]:
    """The verdict with another score on every criterion, named in its reasons."""
    said = dict.fromkeys(verdict["scores"], f"Worth {score}.")
    return verdict | {"scores": dict.fromkeys(said, score), "reasons": said} | changes


@pytest.mark.parametrize("void", [{"judge": "openai:former"}, {"repeat": 2}, {"judged": "the answer before"}])
def test_verdicts_that_made_no_score_are_not_shown(tmp_path: Path, void: dict[str, Any]) -> None:
    folder = write_evaluation(tmp_path / "base", n=1)
    verdict, _ = rows_of(folder / "verdicts.jsonl")
    kept = [scored(verdict, 3.25), scored(verdict, 3.75, repeat=1)]
    write_rows(folder / "verdicts.jsonl", [*kept, scored(verdict, 5.0, **void)])
    said = page_of(folder).said
    assert "Logical consistency does it meet logical_consistency? 3.25 Worth 3.25." in said
    assert "3.75 Worth 3.75. likelihood:smollm2, 2 3.50" in said
    assert "Worth 5.0." not in said


def test_a_replaced_answer_shows_nothing_that_was_said_of_the_former_one(tmp_path: Path) -> None:
    folder = write_evaluation(tmp_path / "base", n=1)
    write_rows(folder / "answers.jsonl", [rows_of(folder / "answers.jsonl")[0] | {"answer": "Another text."}])
    said = page_of(folder).said
    assert "Another text. No score from a judge." in said
    assert "It holds." not in said


def test_before_there_are_results_every_verdict_on_the_answer_is_shown(tmp_path: Path) -> None:
    folder = write_evaluation(tmp_path / "base", n=1)
    verdict, _ = rows_of(folder / "verdicts.jsonl")
    write_rows(folder / "verdicts.jsonl", [verdict, scored(verdict, 5.0, judge="openai:new")])
    (folder / "results.json").unlink()
    assert "5 Worth 5.0. openai:new, 1" in page_of(folder).said


def test_judges_count_the_same_in_a_criterion_however_many_verdicts_are_usable(tmp_path: Path) -> None:
    folder = write_evaluation(tmp_path / "base", n=1, judges=JUDGES)
    first, second, other, last = rows_of(folder / "verdicts.jsonl")
    failed = last | {"status": "truncated", "scores": {}, "reasons": {}}
    write_rows(folder / "verdicts.jsonl", [scored(first, 2.0), scored(second, 2.0), scored(other, 4.0), failed])
    assert "4 Worth 4.0. openai:gpt-4o, 1 3.00" in page_of(folder).said


def test_two_models_of_one_name_stay_apart(tmp_path: Path) -> None:
    said = page_of(write_evaluation(tmp_path / "a", "tuned"), write_evaluation(tmp_path / "b", "tuned")).said
    assert "tuned (a)" in said
    assert "tuned (b)" in said


def test_answers_of_several_models_and_benchmarks_share_the_limit(tmp_path: Path) -> None:
    said = page_of(*evaluated(tmp_path, n=30)).said
    assert "A sample: 100 of 120 prompts" in said


def test_a_page_of_200_answers_stays_small(tmp_path: Path) -> None:
    text = "A sentence of about fifty characters, again and again. " * 120
    folders = evaluated(tmp_path, n=25, text=text)
    page = write_page(folders, tmp_path / "report.html")
    assert page.stat().st_size < 10_000_000
    assert "All 100 prompts" in Page(page).said


def test_agreement_with_people_stands_beside_the_judge(tmp_path: Path) -> None:
    agreement = {"name": "TTCW", "alpha": {"mean": 0.05}, "human_alpha": {"mean": 0.41}}
    folder = write_evaluation(tmp_path / "base", validation={JUDGES[0]: agreement})
    assert (
        "likelihood:smollm2 (agrees with people on TTCW: α 0.05, people among themselves 0.41)" in page_of(folder).said
    )


@pytest.mark.parametrize("missing", ["items.jsonl", "scores.jsonl", "verdicts.jsonl", "lift.jsonl", "answers.jsonl"])
def test_a_missing_file_leaves_its_part_out(tmp_path: Path, missing: str) -> None:
    folder = write_evaluation(tmp_path / "base")
    (folder / missing).unlink()
    assert "Reasoning" in page_of(folder).said


def test_thinking_length_and_what_one_thought_overstates_stand_beside_a_lift(tmp_path: Path) -> None:
    folders = [write_evaluation(tmp_path / name, name, shift=shift) for name, shift in (("base", 0.0), ("tuned", 0.1))]
    compared(tmp_path, folders)
    said = page_of(*folders).said
    assert "Tokens of thinking mean of the thoughts that were scored 62" in said
    assert "What one thought overstates" not in said
    assert "Reference answers base tuned NLL after thinking 8 shared answers, nats per token 3.400 3.300" in said
    assert "tuned − base: −0.100" in said
    assert "3.400 with thinking (nats per token), 62 tokens of it" in said
    path = folders[1] / "results.json"
    results = json.loads(path.read_text())
    results["reference_lift"]["thoughts"] |= {"asked": 8, "failed": {"truncated": 5}}
    path.write_text(json.dumps(results))
    said = page_of(*folders).said
    assert "1 8 truncated 5" in said
    assert "What one thought overstates 0.025" in said
    results["reference_lift"] |= {
        "exact": True,
        "nll": results["reference_lift"]["nll"] | {"model_with_thinking": None},
    }
    path.write_text(json.dumps(results))
    assert "none: exact" in page_of(*folders).said


def test_a_lift_that_could_not_be_measured_is_left_out(tmp_path: Path) -> None:
    folder = write_evaluation(tmp_path / "base")
    results = json.loads((folder / "results.json").read_text())
    nothing = {"mean": None, "low": None, "high": None, "n": 0, "nll": dict.fromkeys(("base", "model"))}
    (folder / "results.json").write_text(json.dumps(results | {"reference_lift": nothing}))
    assert "Reference lift" not in page_of(folder).said


def test_the_radar_has_the_axes_that_all_models_have(tmp_path: Path) -> None:
    folder = write_evaluation(tmp_path / "base")
    results = json.loads((folder / "results.json").read_text())
    scores = results["benchmarks"]["reasoning"]["scores"]
    for missing, radars in (("factual_grounding", 2), ("logical_consistency", 2), ("depth_of_analysis", 0)):
        scores[missing] |= {"mean": None, "low": None, "high": None}
        (folder / "results.json").write_text(json.dumps(results))
        labels = [found.get("aria-label") or "" for _, found in page_of(folder).found]
        assert sum("as a radar" in label for label in labels) == radars  # of each figure two sizes


def test_bounds_are_shown_where_single_repeats_are_missing(tmp_path: Path) -> None:
    folder = write_evaluation(tmp_path / "base")
    path = folder / "results.json"
    result = json.loads(path.read_text())
    overall = result["benchmarks"]["reasoning"]["overall"]
    assert overall["n_ok"] == overall["n"]
    overall |= {"worst": 1.25, "best": 4.75}
    path.write_text(json.dumps(result))
    assert "8 of 8 bounds 1.25 to 4.75" in page_of(folder).said
