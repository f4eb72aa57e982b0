"""Failures are counted and change no mean."""

from statistics import fmean
from typing import Any

import pytest

from eval.judge import judged_hash
from eval.rubric import CRITERIA, REASONING
from eval.store import Row
from eval.summarise import Stored, summarise
from reer.manifest import digest
from reer.types import Example

NAMES = [criterion.name for criterion in CRITERIA]
JUDGE = "openai:j"
EXAMPLES = [Example(id=f"e{n}", query=f"query {n}", answer=f"reference {n}") for n in range(12)]


def answer(example: Example, text: str = "an answer") -> Row:
    named = {"model": "m", "id": example.id, "benchmark": "reasoning", "epoch": 0, "prompt": example.query}
    facts = {
        "finish_reason": "stop",
        "tokens": 5,
        "words": len(text.split()),
        "well_formed": bool(text),
        "loop": False,
    }
    return named | {"thinking": "z", "answer": text, "well_formed": bool(text)} | facts


def verdict(row: Row, status: str, scores: dict[str, Any], repeat: int = 0) -> Row:
    found = {"judge": JUDGE, "repeat": repeat, "status": status, "scores": scores, "reasons": {}}
    return {"id": row["id"], "rubric": REASONING.version, "judged": judged_hash(row)} | found


def scored(row: Row, level: float, repeat: int = 0) -> Row:
    return verdict(row, "ok", dict.fromkeys(NAMES, level), repeat)


def lift(example: Example, value: float | None) -> Row:
    pair = digest(example.query, example.answer)[:16]
    nll = None if value is None else {"base": 3.0, "model": 2.9, "model_with_thinking": 3.0 - value}
    return {"id": example.id, "pair": pair, "status": "missing" if nll is None else "ok", "nll": nll, "lift": value}


def results(
    answers: list[Row], verdicts: list[Row], lifts: list[Row] | None = None, repeats: int = 1, **options: Any
) -> dict[str, Any]:
    return summarise(
        Stored(answers, verdicts, lifts or []),
        EXAMPLES,
        REASONING,
        model="m",
        judges=[JUDGE],
        repeats=repeats,
        seed=0,
        **options,
    )


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


def test_a_failed_answer_gets_the_floor_and_is_counted_apart() -> None:
    answers = [answer(EXAMPLES[0], ""), answer(EXAMPLES[1])]
    found = results(answers, [scored(answers[1], 5.0)])["benchmarks"]["reasoning"]
    assert found["failures"] == {"answer_failed": 1, "not_answered": 10}
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
    assert found["nll"] == pytest.approx({"base": 3.0, "model": 2.9, "model_with_thinking": 2.8})
    assert found["low"] < 0.2 < found["high"]


def test_nothing_stored_gives_no_number() -> None:
    found = results([], [], lift_measured=False)
    assert found["reference_lift"] is None
    assert found["benchmarks"]["reasoning"]["overall"] == {"mean": None, "low": None, "high": None, "n_ok": 0, "n": 12}
    assert found["outputs"]["words"]["mean"] is None


def test_facts_of_the_outputs() -> None:
    answers = [answer(example, "two words") for example in EXAMPLES[:3]] + [answer(EXAMPLES[3], "")]
    answers[0]["loop"] = True
    answers[1]["finish_reason"] = "length"
    found = results(answers, [])["outputs"]
    assert {name: found[name]["mean"] for name in found} == {
        "well_formed": 0.75, "loop_rate": 0.25, "words": 1.5, "truncated": 0.25,
    }  # fmt: skip
    assert found["words"]["n"] == 4
