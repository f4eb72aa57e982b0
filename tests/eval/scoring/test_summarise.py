"""Failures are counted and change no mean."""

from statistics import fmean
from typing import Any

import pytest
from judging import NAMES, answer_row

from eval.benchmarks import load, longbench_write
from eval.benchmarks.items import Item, Source, make_benchmark
from eval.benchmarks.reasoning import RUBRIC
from eval.scoring.summarise import Stored, summarise
from eval.store import Row
from reer.config import BenchmarkConfig, LikelihoodJudgeConfig, OpenAIJudgeConfig, PriceConfig
from reer.files.results import judged_hash
from reer.text import digest
from reer.types import Example

JUDGE = "openai:j"
EXAMPLES = [
    Example(id=f"e{n}", query=f"query e{n}", answer=f"reference {n}", source=f"Book {n % 2}; edition {n}")
    for n in range(12)
]
ITEMS = [Item(id=e.id, query=e.query, rubric=RUBRIC, reference=e, groups={"domain": "x"}) for e in EXAMPLES]
BENCHMARK = make_benchmark(BenchmarkConfig(), ITEMS, Source(version="own", files={}), (1.0, 5.0), [], facet="domain")


def answer(example: Example, text: str = "an answer") -> Row:
    return answer_row(example.id, text)


def verdict(row: Row, status: str, scores: dict[str, Any], repeat: int = 0, **changes: Any) -> Row:
    found = {"judge": JUDGE, "repeat": repeat, "status": status, "scores": scores, "reasons": {}, "criterion": None}
    used = {"cached": False, "usage": {"calls": 1, "prefilled_tokens": 700, "generated_tokens": 90}}
    return {"id": row["id"], "rubric": RUBRIC.version, "judged": judged_hash(row)} | found | used | changes


def scored(row: Row, level: float, repeat: int = 0) -> Row:
    return verdict(row, "ok", dict.fromkeys(NAMES, level), repeat)


def lift(example: Example, value: float | None) -> Row:
    pair = digest(example.query, example.answer)[:16]
    nll = None if value is None else {"base": 3.0, "model": 2.9, "model_with_thinking": 3.0 - value}
    return {"id": example.id, "pair": pair, "status": "missing" if nll is None else "ok", "nll": nll, "lift": value}


def results(
    answers: list[Row], verdicts: list[Row], lifts: list[Row] | None = None, repeats: int = 1, **options: Any
) -> dict[str, Any]:
    chosen = {"benchmark": BENCHMARK, "judges": {JUDGE: OpenAIJudgeConfig(repeats=repeats)}, "seed": 0} | options
    found, _ = summarise(Stored(answers, verdicts, lifts or []), model="m", **chosen)
    return found


def benchmark_of(name: str, limit: int | None = None) -> Any:
    return load(BenchmarkConfig(name=name, path=None if name == "reasoning" else "sample", limit=limit))


def test_each_way_to_fail_is_counted_and_the_mean_of_the_rest_unmoved() -> None:
    answers = [answer(example) for example in EXAMPLES]
    levels = [1.0, 2.0, 3.0, 4.0, 5.0, 2.0, 3.0, 4.0]
    ok = [scored(row, level) for row, level in zip(answers, levels, strict=False)]
    bad = ["parse_failed", "refused", "truncated", "api_error"]
    failed = [verdict(row, status, {}) for row, status in zip(answers[8:], bad, strict=True)]
    found = results(answers, ok + failed)["benchmarks"]["reasoning"]
    assert found["failures"] == dict.fromkeys(sorted(bad), 1)
    for score in [*found["scores"].values(), found["overall"]]:
        assert score["mean"] == fmean(levels)
        assert (score["n_ok"], score["n"]) == (8, 12)
        assert score["low"] < score["mean"] < score["high"]
        assert score["worst"] == (sum(levels) + 4 * 1) / 12
        assert score["best"] == (sum(levels) + 4 * 5) / 12


def test_a_failed_answer_gets_the_floor_and_is_counted_apart() -> None:
    answers = [answer(EXAMPLES[0], ""), answer(EXAMPLES[1])]
    found = results(answers, [scored(answers[1], 5.0)])["benchmarks"]["reasoning"]
    assert found["failures"] == {}
    assert found["answers"] == {"asked": 12, "answered": 1, "missing": 10, "empty": 1, "unfinished": 0}
    assert {(score["mean"], score["n_ok"]) for score in found["scores"].values()} == {(3.0, 2)}


def test_not_applicable_is_neither_a_score_nor_a_failure() -> None:
    answers = [answer(example) for example in EXAMPLES]
    verdicts = [scored(row, 4.0) for row in answers]
    verdicts[0]["scores"]["factual_grounding"] = None
    found = results(answers, verdicts)["benchmarks"]["reasoning"]
    grounding = found["scores"]["factual_grounding"]
    assert (grounding["mean"], grounding["n_ok"], grounding["not_applicable"]) == (4.0, 11, 1)
    assert found["failures"] == {}
    assert found["overall"]["n_ok"] == 12


def test_repeats_of_a_prompt_are_one_observation() -> None:
    answers = [answer(example) for example in EXAMPLES[:2]]
    verdicts = [scored(answers[0], 1.0, repeat) for repeat in range(3)] + [scored(answers[1], 4.0, 0)]
    found = results(answers, verdicts, repeats=3)["benchmarks"]["reasoning"]
    assert found["overall"]["mean"] == 2.5
    assert found["overall"]["n_ok"] == 2
    assert found["failures"]["not_judged"] == 2


def test_an_attempt_that_succeeded_later_counts_once_and_as_ok() -> None:
    answers = [answer(example) for example in EXAMPLES]
    verdicts = [verdict(answers[0], "api_error", {}), scored(answers[0], 2.0), scored(answers[0], 5.0)]
    verdicts += [scored(row, 2.0) for row in answers[1:]]
    found = results(answers, verdicts)["benchmarks"]["reasoning"]
    assert found["failures"] == {}
    assert found["overall"]["mean"] == 2.0


def test_the_order_of_rows_changes_nothing() -> None:
    answers = [answer(example) for example in EXAMPLES]
    verdicts = [scored(row, 1.0 + n % 5) for n, row in enumerate(answers)]
    lifts = [lift(example, n / 10) for n, example in enumerate(EXAMPLES)]
    assert results(answers, verdicts, lifts) == results(answers[::-1], verdicts[::-1], lifts[::-1])


def test_reference_lift_counts_what_is_missing() -> None:
    lifts = [lift(example, 0.1 * n) for n, example in enumerate(EXAMPLES[:5])] + [lift(EXAMPLES[5], None)]
    found = results([], [], lifts)["reference_lift"]
    assert found["mean"] == pytest.approx(0.2)
    assert (found["n"], found["n_asked"], found["missing"]) == (5, 12, 1)
    assert found["nll"] == pytest.approx({"base": 3.0, "model": 2.9, "model_with_thinking": 2.8, "one_thought": 2.8})
    assert found["low"] < 0.2 < found["high"]


def test_nothing_stored_gives_no_number() -> None:
    found = results([], [], lift_measured=False)
    assert found["reference_lift"] is None
    nothing = {"mean": None, "low": None, "high": None, "n_ok": 0, "n": 12, "worst": 1.0, "best": 5.0}
    assert found["benchmarks"]["reasoning"]["overall"] == nothing
    assert found["outputs"]["words"]["mean"] is None


def test_facts_of_the_outputs() -> None:
    answers = [answer(example, "two words") for example in EXAMPLES[:3]] + [answer(EXAMPLES[3], "")]
    answers[0]["loop"] = True
    answers[1]["finish_reason"] = "length"
    found = results(answers, [])["outputs"]
    assert {name: found[name]["mean"] for name in ("well_formed", "loop_rate", "words", "truncated")} == {
        "well_formed": 0.75, "loop_rate": 0.25, "words": 1.5, "truncated": 0.25,
    }  # fmt: skip
    assert found["words"]["n"] == 4


def test_same_seed_same_intervals_and_another_seed_others() -> None:
    answers = [answer(example) for example in EXAMPLES]
    verdicts = [scored(row, 1.0 + n % 5) for n, row in enumerate(answers)]
    first, again, other = (results(answers, verdicts, seed=seed) for seed in (0, 0, 1))
    assert first == again
    assert first["benchmarks"]["reasoning"]["overall"]["low"] != other["benchmarks"]["reasoning"]["overall"]["low"]


def test_lift_is_split_by_source_without_its_edition() -> None:
    lifts = [lift(example, 0.1 if n % 2 else 0.5) for n, example in enumerate(EXAMPLES)]
    by_source = results([], [], lifts)["reference_lift"]["by_source"]
    assert {source: (found["mean"], found["n"]) for source, found in by_source.items()} == {
        "Book 0": (pytest.approx(0.5), 6), "Book 1": (pytest.approx(0.1), 6),
    }  # fmt: skip


def test_judges_stand_side_by_side_with_their_agreement() -> None:
    answers = [answer(example) for example in EXAMPLES]
    levels = [1.0 + n % 5 for n in range(12)]
    same = [scored(row, level) for row, level in zip(answers, levels, strict=True)]
    lower = [verdict(row, "ok", dict.fromkeys(NAMES, max(1.0, level - 1)), judge="likelihood:l")
             for row, level in zip(answers, levels, strict=True)]  # fmt: skip
    judges = {JUDGE: OpenAIJudgeConfig(repeats=1), "likelihood:l": LikelihoodJudgeConfig()}
    found = results(answers, same + lower, judges=judges)["benchmarks"]["reasoning"]
    means = [found["by_judge"][judge]["overall"]["mean"] for judge in judges]
    assert means == [fmean(levels), fmean(max(1.0, level - 1) for level in levels)]
    assert found["overall"]["mean"] == pytest.approx(fmean(means))
    agreement = found["agreement"]["depth_of_analysis"]
    assert agreement["n"] == 12
    assert agreement["spearman"][f"{JUDGE} and likelihood:l"] > 0.9
    assert 0 < agreement["alpha"] < 1
    assert results(answers, same)["benchmarks"]["reasoning"]["agreement"] is None


def test_what_judging_cost_counts_every_attempt_and_no_remembered_reply() -> None:
    answers = [answer(example) for example in EXAMPLES]
    rows = [verdict(answers[0], "parse_failed", {}), scored(answers[0], 3.0)]
    rows.append(verdict(answers[1], "ok", dict.fromkeys(NAMES, 3.0), cached=True, usage={"calls": 0}))
    judge = OpenAIJudgeConfig(repeats=1, price=PriceConfig(input=2.5, output=10.0, as_of="2026-11-01"))
    cost = results(answers, rows, judges={JUDGE: judge})["benchmarks"]["reasoning"]["cost"][JUDGE]
    assert (cost["calls"], cost["cached"], cost["input_tokens"], cost["output_tokens"]) == (2, 1, 1400, 180)
    assert cost["dollars"] == pytest.approx((1400 * 2.5 + 180 * 10) / 1e6)
    assert cost["price"]["as_of"] == "2026-11-01"
    unpriced = results(answers, rows)["benchmarks"]["reasoning"]["cost"][JUDGE]
    assert (unpriced["dollars"], unpriced["price"]) == (None, None)


def test_longbench_write_has_quality_and_length_in_equal_parts() -> None:
    benchmark = benchmark_of("longbench_write")
    texts = {item.id: " ".join(["word"] * (item.required_words or 0)) for item in benchmark.items}
    answers = [answer_row(item.id, texts[item.id], prompt=item.query) for item in benchmark.items]
    names = [criterion.name for criterion in longbench_write.CRITERIA]
    version = longbench_write.RUBRIC.version
    rows = [verdict(row, "ok", dict.fromkeys(names, 4.0), rubric=version) for row in answers]
    found = results(answers, rows, benchmark=benchmark)["benchmarks"]["longbench_write"]
    assert found["groups"]["score"]["S_q"]["mean"] == 75.0
    assert found["groups"]["score"]["S_l"]["mean"] == 100.0
    assert found["overall"]["mean"] == 87.5
    assert found["scores"]["relevance"]["mean"] == 75.0
    assert found["scale"] == {"low": 0.0, "high": 100.0}
    assert sum(found["histograms"]["overall"]["counts"]) == 8


def test_hellobench_tasks_count_the_same_and_are_shown_rescaled() -> None:
    benchmark = benchmark_of("hellobench")
    answers = [answer_row(item.id, "text", prompt=item.query) for item in benchmark.items]
    value = {"chat": 1.0, "open_ended_qa": 0.5, "heuristic_text_generation": 0.75}
    rows = [
        verdict(
            row,
            "ok",
            {c.name: value[item.groups["task"]] for c in item.rubric.criteria},
            rubric=item.rubric.version,
        )
        for row, item in zip(answers, benchmark.items, strict=True)
    ]
    found = results(answers, rows, benchmark=benchmark)["benchmarks"]["hellobench"]
    assert found["groups"]["task"]["chat"]["mean"] == pytest.approx(100)
    assert found["groups"]["task_rescaled"]["open_ended_qa"]["mean"] == pytest.approx(-100)
    assert found["overall"]["mean"] == pytest.approx((100 + 50 + 75) / 3), "not the mean over prompts"
    assert found["mean_of"] == "task"


def test_writingbench_requirement_r_and_c() -> None:
    """R: mean of the queries that ask for a length. C: mean of the criteria that test it. By hand."""
    benchmark = benchmark_of("writingbench")
    answers = {item.id: answer_row(item.id, "text", prompt=item.query) for item in benchmark.items}
    given = {item.id: {c.name: float(1 + (3 * m + n) % 10) for n, c in enumerate(item.rubric.criteria)}
             for m, item in enumerate(benchmark.items)}  # fmt: skip
    rows = [
        verdict(answers[item.id], "ok", {name: score}, criterion=name, rubric=item.rubric.version)
        for item in benchmark.items
        for name, score in given[item.id].items()
    ]
    found = results(list(answers.values()), rows, benchmark=benchmark)["benchmarks"]["writingbench"]
    tested = {
        "187": "Word Count and Structural Appropriateness",
        "214": "Lesson_Structure_Completeness",
        "249": "Length Compliance and Variety",
    }
    requirement = found["groups"]["requirement"]
    assert requirement["length R"]["mean"] == pytest.approx(10 * fmean(fmean(given[id_].values()) for id_ in tested))
    assert requirement["length C"]["mean"] == pytest.approx(10 * fmean(given[id_][c] for id_, c in tested.items()))
    assert found["overall"]["mean"] == pytest.approx(10 * fmean(fmean(scores.values()) for scores in given.values()))
    assert found["groups"]["domain"]["B Finance & Business"]["mean"] == pytest.approx(
        10 * fmean(given["102"].values())
    )
