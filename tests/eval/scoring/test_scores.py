"""From verdicts to a prompt's score, and the bounds where verdicts are missing."""

from typing import Any

import pytest
from judging import ITEMS, NAMES, answer_row

from eval.benchmarks import hellobench, writingbench
from eval.benchmarks.items import Item
from eval.benchmarks.reasoning import RUBRIC
from eval.judging.ask import settled
from eval.scoring.scores import PromptScore, score_prompts
from eval.store import Row
from reer.config import BenchmarkConfig
from reer.files.results import judged_hash

A, B = "openai:a", "openai:b"


def verdict(item: Item, answer: Row, scores: dict[str, Any] | str, **changes: Any) -> Row:
    """A row of verdicts.jsonl; a text in place of scores is the status of a failed one."""
    failed = isinstance(scores, str)
    row = {
        "id": item.id,
        "judge": A,
        "repeat": 0,
        "criterion": None,
        "status": scores if failed else "ok",
        "scores": {} if failed else scores,
        "rubric": item.rubric.version,
        "judged": judged_hash(answer),
    }
    return row | changes


def score(item: Item, rows: list[Row], judges: dict[str, int], text: str = "text") -> tuple[PromptScore, Any]:
    answers = {item.id: answer_row(item.id, text, prompt=item.query)}
    [found], failures = score_prompts([item], answers, settled(rows, answers), judges)
    return found, failures


def all_of(value: float | None, **changes: float | None) -> dict[str, float | None]:
    return dict.fromkeys(NAMES, value) | changes


ITEM, ANSWER = ITEMS[0], answer_row("a", "text")


def test_repeats_are_averaged_before_judges_are() -> None:
    rows = [verdict(ITEM, ANSWER, all_of(1.0), repeat=n) for n in range(3)]
    rows += [verdict(ITEM, ANSWER, all_of(4.0), judge=B)]
    found, failures = score(ITEM, rows, {A: 3, B: 1})
    assert found.overall.value == 2.5
    assert (found.overall.worst, found.overall.best) == (2.5, 2.5)
    assert not any(counter.total() for counter in failures.values())


def test_a_missing_repeat_leaves_the_mean_and_opens_the_bounds() -> None:
    rows = [verdict(ITEM, ANSWER, all_of(4.0)), verdict(ITEM, ANSWER, all_of(2.0), repeat=1)]
    rows += [verdict(ITEM, ANSWER, "refused", repeat=2)]
    found, failures = score(ITEM, rows, {A: 3})
    assert found.overall.value == 3.0
    assert (found.overall.worst, found.overall.best) == ((4 + 2 + 1) / 3, (4 + 2 + 5) / 3)
    assert failures == {A: {"refused": 1}}


def test_a_judge_without_any_verdict_leaves_no_score_of_the_panel() -> None:
    rows = [verdict(ITEM, ANSWER, all_of(4.0)), verdict(ITEM, ANSWER, "api_error", judge=B)]
    found, failures = score(ITEM, rows, {A: 1, B: 1})
    assert found.overall.value is None
    assert found.by_judge[A].overall.value == 4.0
    assert (found.overall.worst, found.overall.best) == (2.5, 4.5)
    assert failures[B] == {"api_error": 1}


def test_what_does_not_apply_is_left_out_and_is_not_missing() -> None:
    found, _ = score(ITEM, [verdict(ITEM, ANSWER, all_of(4.0, factual_grounding=None))], {A: 1})
    assert found.overall.value == 4.0
    assert not found.criteria["factual_grounding"].applies
    assert (found.overall.worst, found.overall.best) == (4.0, 4.0)


def test_an_empty_answer_gets_the_floor_from_every_judge() -> None:
    found, failures = score(ITEM, [], {A: 3, B: 1}, text="")
    assert (found.overall.value, found.overall.worst, found.overall.best) == (1.0, 1.0, 1.0)
    assert not any(counter.total() for counter in failures.values())


def test_a_prompt_without_an_answer_has_no_score_and_the_widest_bounds() -> None:
    [found], failures = score_prompts([ITEM], {}, {}, {A: 2})
    assert found.overall.value is None
    assert (found.overall.worst, found.overall.best) == (1.0, 5.0)
    assert failures == {A: {}}, "what was not answered is no failure of the judge"


def test_a_criterion_that_nobody_scored_leaves_the_query_without_a_score() -> None:
    """Averaging the other four would weight the query's criteria anew."""
    [item, *_] = writingbench.load(BenchmarkConfig(name="writingbench", path="sample")).items
    answer = answer_row(item.id, "text", prompt=item.query)
    rows = [verdict(item, answer, {c.name: 6.0}, criterion=c.name) for c in item.rubric.criteria[:4]]
    found, failures = score(item, rows, {A: 1})
    assert found.overall.value is None
    assert found.overall.worst == pytest.approx(10 * (4 * 6 + 1) / 5)
    assert found.overall.best == pytest.approx(10 * (4 * 6 + 10) / 5)
    assert failures == {A: {"not_judged": 1}}


def test_a_checklist_is_weighted() -> None:
    [item, *_] = hellobench.load(BenchmarkConfig(name="hellobench", path="sample")).items
    answer = answer_row(item.id, "text", prompt=item.query)
    scores = {c.name: 0.25 * (n % 5) for n, c in enumerate(item.rubric.criteria)}
    found, _ = score(item, [verdict(item, answer, scores)], {A: 1})
    expected = hellobench.weighted(item.groups["category"], list(scores.values()))
    assert found.overall.value == pytest.approx(expected)


def test_the_spread_of_repeats_is_kept() -> None:
    rows = [verdict(ITEM, ANSWER, all_of(float(n + 1)), repeat=n) for n in range(3)]
    found, _ = score(ITEM, rows, {A: 3})
    assert found.by_judge[A].variance == 1.0
    assert RUBRIC.points(2.0) == 2.0
