"""Which verdicts are asked for, and which of them stand."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from judging import ITEMS, Scripted, answer_row, verdict_json

from eval.benchmarks import load
from eval.benchmarks.items import Item
from eval.judging.ask import judge_answers, refuse_unlike, settled, worst_case
from eval.judging.judge import OpenAIJudge
from eval.store import Row, Rows, peek
from reer.config import BenchmarkConfig, LikelihoodJudgeConfig, OpenAIJudgeConfig, PriceConfig
from reer.errors import BackendError, DataError, ModelError
from reer.types import Usage

NAME = "openai:scripted"
ANSWERS = {"a": answer_row("a", "one answer"), "b": answer_row("b", "another"), "c": answer_row("c", "")}
JUDGE = OpenAIJudgeConfig(repeats=2, attempts=2)


def judge_into(
    path: Path,
    generator: Scripted,
    config: OpenAIJudgeConfig = JUDGE,
    items: list[Item] = ITEMS,
    answers: dict[str, Row] = ANSWERS,
) -> tuple[list[Row], dict[str, str]]:
    judge = OpenAIJudge(generator, NAME, config.max_tokens, config.temperature)
    with Rows(path) as rows:
        work = judge_answers(items, answers, rows, lambda: judge, NAME, config, seed=1, concurrency=4)
        failed = asyncio.run(work)
        return rows.rows, failed


def test_calls_that_met_an_error_are_asked_again_and_ok_ones_are_not(tmp_path: Path) -> None:
    path = tmp_path / "verdicts.jsonl"
    failing = Scripted(lambda r: BackendError("away") if "query b" in r.messages[-1].content else verdict_json(2))
    rows, _ = judge_into(path, failing)
    assert len(rows) == 4, "the empty answer is not judged, and an error is not tried twice in one run"
    mended = Scripted(lambda _: verdict_json(5))
    rows, _ = judge_into(path, mended)
    assert len(mended.requests) == 2
    assert [row["status"] for row in rows].count("api_error") == 2, "the attempts stay on record"
    found = settled(rows, ANSWERS)
    assert {cell[1:3]: row["scores"]["depth_of_analysis"] for cell, row in found.items()} == {
        ("a", 0): 2.0, ("a", 1): 2.0, ("b", 0): 5.0, ("b", 1): 5.0,
    }  # fmt: skip
    untouched = Scripted(lambda _: verdict_json())
    judge_into(path, untouched)
    assert not untouched.requests


def test_a_judge_whose_first_verdicts_cannot_be_read_is_paid_for_no_more(tmp_path: Path) -> None:
    path, config = tmp_path / "verdicts.jsonl", replace(JUDGE, repeats=100)
    fenced = Scripted(lambda _: f"```json\n{verdict_json(4)}\n```")
    with pytest.raises(ModelError, match=r"scripted gives no verdicts: none of the first 5 .*so no more are paid for"):
        judge_into(path, fenced, config)
    assert len(fenced.requests) == 2 * 5
    assert [row["status"] for row in peek(path)] == ["parse_failed"] * 10, "what was paid for is on record"


def test_a_judge_that_gave_one_verdict_goes_on(tmp_path: Path) -> None:
    mixed = Scripted(lambda r: verdict_json(4) if len(mixed.requests) == 1 else "I would say 4.")
    rows, failed = judge_into(tmp_path / "verdicts.jsonl", mixed, replace(JUDGE, repeats=8))
    assert not failed
    assert len({(row["id"], row["repeat"]) for row in rows}) == 16


def test_an_unusable_reply_is_asked_anew_with_another_seed_and_only_so_often(tmp_path: Path) -> None:
    path, chatty = tmp_path / "verdicts.jsonl", Scripted(lambda _: "I would say 4.")
    rows, _ = judge_into(path, chatty)
    assert [row["status"] for row in rows] == ["parse_failed"] * 8
    assert len({request.seeds for request in chatty.requests}) == 8
    again = Scripted(lambda _: verdict_json())
    judge_into(path, again)
    assert not again.requests, "two attempts were all that was allowed"
    rows, _ = judge_into(path, again, OpenAIJudgeConfig(repeats=2, attempts=3))
    assert len(again.requests) == 4
    assert {row["status"] for row in settled(rows, ANSWERS).values()} == {"ok"}


def test_what_is_asked_does_not_depend_on_what_was_stored_before(tmp_path: Path) -> None:
    whole, parts = Scripted(lambda _: verdict_json()), Scripted(lambda _: verdict_json())
    judge_into(tmp_path / "whole.jsonl", whole)
    judge_into(tmp_path / "parts.jsonl", parts, OpenAIJudgeConfig(repeats=1))
    judge_into(tmp_path / "parts.jsonl", parts)
    by_seed = [{request.seeds: request.messages for request in asked.requests} for asked in (whole, parts)]
    assert by_seed[0] == by_seed[1]
    assert len(by_seed[0]) == 4


def test_verdicts_on_another_text_do_not_count(tmp_path: Path) -> None:
    rows, _ = judge_into(tmp_path / "verdicts.jsonl", Scripted(lambda _: verdict_json()))
    changed = ANSWERS | {"a": answer_row("a", "one answer, rewritten")}
    assert {cell[1] for cell in settled(rows, changed)} == {"b"}


def test_verdicts_by_another_wording_are_refused_by_row(tmp_path: Path) -> None:
    path = tmp_path / "verdicts.jsonl"
    rows, _ = judge_into(path, Scripted(lambda _: verdict_json()))
    path.write_text(
        path.read_text().replace(ITEMS[0].rubric.version, "f" * 16).replace("f" * 16, rows[0]["rubric"], 2)
    )
    with pytest.raises(DataError, match=r"verdicts.jsonl, row 3: this verdict was given by another wording .*ffff"):
        judge_into(path, Scripted(lambda _: verdict_json()))


def test_a_judge_with_other_settings_is_refused_and_another_judge_is_not(tmp_path: Path) -> None:
    path = tmp_path / "verdicts.jsonl"
    judge_into(path, Scripted(lambda _: verdict_json()))
    hotter = OpenAIJudgeConfig(repeats=2, temperature=0.9)
    with pytest.raises(DataError, match=r"row 1: .* gave this verdict with other settings \(temperature=0.5 "):
        judge_into(path, Scripted(lambda _: verdict_json()), hotter)
    with Rows(path) as rows:
        refuse_unlike(rows, ITEMS, "openai:other", hotter)
    dearer = OpenAIJudgeConfig(repeats=3, attempts=5, max_calls=100, price=PriceConfig(input=1.0, output=1.0))
    found, _ = judge_into(path, Scripted(lambda _: verdict_json()), dearer)
    assert len(found) == 6


def test_one_call_for_each_criterion_where_the_protocol_says_so(tmp_path: Path) -> None:
    items = list(load(BenchmarkConfig(name="writingbench", path="sample", limit=2)).items)
    answers = {item.id: answer_row(item.id, prompt=item.query) for item in items}
    generator = Scripted(lambda _: '{"reason": "r", "score": 7}')
    rows, _ = judge_into(tmp_path / "v.jsonl", generator, JUDGE, items, answers)
    assert len(rows) == len(generator.requests) == 2 * 5 * 2
    assert {row["criterion"] for row in rows} == {c.name for item in items for c in item.rubric.criteria}
    for request in generator.requests:
        assert request.schema is not None
        assert list(request.schema["properties"]) == ["reason", "score"]
        assert request.schema["properties"]["score"]["enum"] == list(range(1, 11))
    assert all(row["scores"] == {row["criterion"]: 7.0} for row in rows)


def test_a_cap_on_calls_is_never_passed_and_a_higher_one_goes_on(tmp_path: Path) -> None:
    path, generator = tmp_path / "v.jsonl", Scripted(lambda _: verdict_json())
    rows, failed = judge_into(path, generator, OpenAIJudgeConfig(repeats=2, max_calls=3))
    assert len(generator.requests) == len(rows) == 3
    assert list(failed.values()) == [f"{NAME} has reached its cap (max_calls=3)"]
    rows, failed = judge_into(path, generator, OpenAIJudgeConfig(repeats=2, max_calls=3))
    assert len(generator.requests) == 3
    rows, failed = judge_into(path, generator, OpenAIJudgeConfig(repeats=2, max_calls=4))
    assert (len(rows), failed) == (4, {})


def test_a_cap_in_dollars_counts_what_a_call_may_cost_before_it_is_made(tmp_path: Path) -> None:
    """A scripted call costs 9 tokens; the first that might pass the cap is not made."""
    price = PriceConfig(input=0.0, output=1e6)
    config = OpenAIJudgeConfig(repeats=2, max_tokens=100, price=price, max_cost=120.0)
    generator = Scripted(lambda _: verdict_json())
    rows, failed = judge_into(tmp_path / "v.jsonl", generator, config)
    assert len(rows) == 3, "9 + 9 + 100 fits, 27 + 100 does not"
    assert list(failed.values()) == [f"{NAME} has reached its cap (max_cost=120.0)"]


def test_a_cap_in_dollars_that_cannot_be_counted_is_one_sentence(tmp_path: Path) -> None:
    config = OpenAIJudgeConfig(repeats=1, max_cost=120.0, price=PriceConfig(input=1.0, output=1.0))
    silent = Scripted(lambda _: verdict_json(), usage=Usage(calls=1))
    with pytest.raises(ModelError, match=f"the server of {NAME} reports no usage; set judge.max_calls"):
        judge_into(tmp_path / "v.jsonl", silent, config)
    assert peek(tmp_path / "v.jsonl")[0]["status"] == "ok", "what was paid for is kept"
    with pytest.raises(ModelError, match="reports no usage"):
        judge_into(tmp_path / "v.jsonl", counted := Scripted(lambda _: verdict_json()), replace(config, repeats=2))
    assert not counted.requests
    with pytest.raises(ModelError, match="reports no usage"):
        judge_into(tmp_path / "bad.jsonl", Scripted(lambda _: "no JSON", usage=Usage(calls=1)), config)
    down = Scripted(lambda _: BackendError("away"))
    rows, _ = judge_into(tmp_path / "down.jsonl", down, config)
    assert {row["status"] for row in rows} == {"api_error"}


def test_the_worst_case_bounds_every_token_of_the_call(tmp_path: Path) -> None:
    generator = Scripted(lambda _: verdict_json())
    judge_into(tmp_path / "v.jsonl", generator)
    from judging import request_of

    request = request_of("another", query="query b")
    shown = generator.requests[-1].messages[0].content
    assert worst_case(request, JUDGE).prefilled_tokens > len(shown.encode()) - 20
    assert worst_case(request, LikelihoodJudgeConfig()).calls == 5


def test_rows_have_the_fields_of_the_contract(tmp_path: Path) -> None:
    rows, _ = judge_into(tmp_path / "v.jsonl", Scripted(lambda _: verdict_json()))
    named: set[str] = {"model", "id", "benchmark", "judge", "repeat", "criterion", "status", "scores", "reasons"}
    assert rows[0].keys() == named | {"detail", "cached", "usage", "settings", "served_model", "rubric", "judged"}
