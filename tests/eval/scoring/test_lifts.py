"""Lifts over prompts and between models; thinking length and number of thoughts stand beside every number."""

import json
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
from evaluations import write_evaluation, write_rows

from eval.compare import compare, table
from eval.scoring import table as one_model
from eval.scoring.lifts import reference_lift
from eval.store import Row
from reer.files.results import read_evaluations, read_runs
from reer.text import digest
from reer.types import Example

EXAMPLES = [Example(id=f"e{n}", query=f"q{n}", answer=f"a{n}", source="A book") for n in range(6)]


def row(example: Example, together: float, one: float, tokens: float, **changes: Any) -> Row:
    nll = {"base": 3.0, "model": 2.9, "model_with_thinking": together, "one_thought": one}
    thoughts = {"asked": 4, "scored": 4, "cut": 0, "failed": {}, "effective": 1.5}
    named = {"id": example.id, "pair": digest(example.query, example.answer)[:16], "status": "ok", "nll": nll}
    return named | {"lift": 3.0 - together, "thinking_tokens": tokens, "thoughts": thoughts} | changes


def silent(example: Example) -> Row:
    nll = {"base": 3.0, "model": 2.5, "model_with_thinking": None, "one_thought": None}
    thoughts = {"asked": 4, "scored": 0, "cut": 0, "failed": {"empty": 4}, "effective": None}
    return row(example, 0.0, 0.0, 0) | {"status": "no_thinking", "nll": nll, "lift": 0.5, "thoughts": thoughts}


def shown(lift: dict[str, Any]) -> str:
    return "\n".join(one_model._lift(lift))


def test_means_intervals_and_what_one_thought_overstates() -> None:
    rows = [row(e, 2.0 + n / 10, 2.1 + n / 8, 100 + n) for n, e in enumerate(EXAMPLES)]
    rows[1]["thoughts"] = {"asked": 4, "scored": 2, "cut": 1, "failed": {"truncated": 1, "empty": 1}, "effective": 1.0}
    found = reference_lift(rows, EXAMPLES, seed=0)
    assert found["mean"] == pytest.approx(3.0 - 2.25)
    assert found["nll"]["one_thought"] == pytest.approx(fmean(2.1 + n / 8 for n in range(6)))
    assert found["overstated"]["mean"] == pytest.approx(found["nll"]["one_thought"] - 2.25)
    together = found["intervals"]["model_with_thinking"]
    assert together["mean"] == pytest.approx(2.25)
    assert together["low"] < 2.25 < together["high"]
    assert (found["thinking_tokens"]["mean"], found["exact"]) == (102.5, False)
    assert found["thoughts"] == {
        "asked": 4, "scored": 22, "cut": 1, "failed": {"empty": 1, "truncated": 1},
        "effective": pytest.approx((5 * 1.5 + 1) / 6),
    }  # fmt: skip
    text = shown(found)
    assert "4 thoughts a prompt, of which 1.4 carry the mean" in text
    assert "tokens of thinking 102  [" in text
    assert "thoughts without a score: empty 1, truncated 1" in text


def test_a_model_that_thought_nothing_anywhere_is_exact_and_an_empty_thought_else_a_failure() -> None:
    found = reference_lift([silent(e) for e in EXAMPLES], EXAMPLES, seed=0)
    assert (found["exact"], found["n"], found["missing"], found["mean"]) == (True, 6, 0, 0.5)
    assert (found["nll"]["model"], found["nll"]["model_with_thinking"]) == (2.5, None)
    assert "no thinking was written" in shown(found)
    mixed = [row(EXAMPLES[0], 2.0, 2.0, 9), *(silent(e) for e in EXAMPLES[1:])]
    found = reference_lift(mixed, EXAMPLES, seed=0)
    assert (found["exact"], found["n"], found["missing"], found["mean"]) == (False, 1, 5, 1.0)
    assert found["thoughts"]["failed"] == {"empty": 20}


def test_rows_from_before_there_were_several_thoughts_are_read() -> None:
    old = [
        {k: v for k, v in row(e, 2.0, 2.0, 9).items() if k not in ("thoughts", "thinking_tokens")} for e in EXAMPLES
    ]
    for one in old:
        del one["nll"]["one_thought"]
    found = reference_lift(old, EXAMPLES, seed=0)
    assert (found["mean"], found["nll"]["one_thought"], found["thoughts"]["asked"]) == (1.0, 2.0, 1)
    assert found["thinking_tokens"]["mean"] is None
    assert shown(found)


def changed(folder: Path, **changes: Any) -> None:
    path = folder / "lift.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    write_rows(path, [row | changes for row in rows])


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, Path]:
    base = write_evaluation(tmp_path / "evaluate-base/reasoning", "base", n=12)
    return base, write_evaluation(tmp_path / "evaluate-tuned/reasoning", "tuned", n=12, shift=0.1)


def compared(folders: tuple[Path, Path]) -> tuple[dict[str, Any], str]:
    found = compare(read_evaluations(read_runs(folders)), seed=0)
    return found["benchmarks"]["reasoning"]["lift"], table(found)


def test_models_are_compared_on_the_same_answers_with_their_length_beside(two: tuple[Path, Path]) -> None:
    changed(two[1], thinking_tokens=310)
    found, text = compared(two)
    assert found["n"] == 12
    assert found["models"]["tuned"]["nll"] == pytest.approx(3.3)
    assert [pair["nll"]["mean"] for pair in found["pairs"]] == [pytest.approx(-0.1)]
    assert found["pairs"][0]["nll"]["p_holm"] == found["pairs"][0]["nll"]["p"] < 0.01
    assert "tuned                       3.300  (one thought, 310 tokens)" in text
    assert "base                        3.400  (one thought, 62 tokens)" in text


def test_an_answer_only_model_is_held_against_many_thoughts_but_many_not_against_one(two: tuple[Path, Path]) -> None:
    changed(two[1], thoughts={"asked": 8})
    found, text = compared(two)
    assert found["pairs"][0]["nll"] is None
    assert "tuned - base                – they were measured with other numbers of thoughts" in text
    nll = {"base": 3.5, "model": 3.2, "model_with_thinking": None, "one_thought": None}
    changed(two[0], status="no_thinking", nll=nll)
    found, text = compared(two)
    assert found["models"]["base"]["exact"]
    assert found["pairs"][0]["nll"]["mean"] == pytest.approx(0.1)
    assert "without thinking, exact" in text
    assert "8 thoughts of 62 tokens; one alone 3.325" in text


def test_fewer_thoughts_that_could_be_scored_make_another_number(two: tuple[Path, Path]) -> None:
    for folder, scored in zip(two, (4, 3), strict=True):
        changed(folder, thoughts={"asked": 4, "scored": scored})
    found, text = compared(two)
    assert found["pairs"][0]["nll"] is None
    assert "tuned - base                – 4.0 and 3.0 thoughts a prompt could be scored, the others failed" in text
    assert "4 thoughts (3.0 scored) of 62 tokens" in text


def test_answers_of_other_tokens_or_pairs_are_left_out(two: tuple[Path, Path]) -> None:
    changed(two[1], answer_tokens=80)
    found, text = compared(two)
    assert (found["n"], found["other_tokens"]) == (0, 12)
    assert "12 more are split into other tokens" in text
    (two[1] / "lift.jsonl").write_text("")
    assert compared(two)[0] is None
