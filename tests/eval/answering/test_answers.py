"""Answers from a file of whatever model."""

import json
from pathlib import Path
from typing import Any

import pytest

from eval.answering.answers import answer_counts, read_answers, take_answers
from eval.benchmarks import load
from eval.store import Row, Rows
from reer.backend.fake import FakeTokenizer
from reer.config import BenchmarkConfig
from reer.errors import DataError
from reer.layout import Layout

PARSER = Layout("think", FakeTokenizer())
BENCHMARK = load(BenchmarkConfig(limit=2))
FIRST, SECOND = (item.id for item in BENCHMARK.items)


def take(tmp_path: Path, *rows: Any) -> list[Row]:
    path = tmp_path / "given.jsonl"
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    with Rows(tmp_path / "answers.jsonl") as answers:
        take_answers(read_answers(path, BENCHMARK, PARSER, "mine"), answers)
        return answers.rows


def test_what_is_absent_is_computed(tmp_path: Path) -> None:
    [row] = take(tmp_path, {"id": FIRST, "answer": " Two words "})
    asked = BENCHMARK.items[0]
    assert (row["model"], row["prompt"], row["answer"], row["words"]) == ("mine", asked.query, "Two words", 2)
    assert (row["finish_reason"], row["well_formed"], row["loop"], row["tokens"]) == ("stop", True, False, None)


@pytest.mark.parametrize("mark", ["\u2028", "\u0085"])
def test_a_line_separator_inside_a_text_ends_no_row(tmp_path: Path, mark: str) -> None:
    line = json.dumps({"id": FIRST, "answer": f"One{mark}two."}, ensure_ascii=False)
    [row] = take(tmp_path, line)
    assert row["answer"] == f"One{mark}two."


def test_a_raw_reply_is_taken_apart(tmp_path: Path) -> None:
    reply = "<think>\nplan\n</think>\n\nThe rain fell."
    cut = {"id": SECOND, "response": "<think>\non and on", "finish_reason": "length"}
    rows = take(tmp_path, {"id": FIRST, "response": reply}, cut)
    assert [(row["thinking"], row["answer"]) for row in rows] == [
        ("plan", "The rain fell."),
        ("<think>\non and on", ""),
    ]
    counts = answer_counts(BENCHMARK.items, {row["id"]: row for row in rows})
    assert counts == {"asked": 2, "answered": 1, "missing": 0, "empty": 0, "unfinished": 1}


def test_thinking_that_stands_in_the_answer_is_not_judged(tmp_path: Path) -> None:
    closed = {"id": FIRST, "answer": "<think>\nsecret plan\n</think>\n\nThe rain fell."}
    endless = {"id": SECOND, "answer": "<think>\non and on"}
    rows = take(tmp_path, closed, endless)
    assert [(row["thinking"], row["answer"]) for row in rows] == [
        ("secret plan", "The rain fell."),
        ("<think>\non and on", ""),
    ]
    about = {"id": FIRST, "answer": "The tag </think> ends it.", "thinking": "plan"}
    (tmp_path / "other").mkdir()
    [row] = take(tmp_path / "other", about)
    assert row["answer"] == about["answer"], "it was taken apart before"


def test_taken_once_and_what_lies_beyond_the_limit_is_left_out(tmp_path: Path) -> None:
    beyond = sorted(BENCHMARK.known - {FIRST, SECOND})[0]
    given = [{"id": id_, "answer": "text"} for id_ in (FIRST, beyond)]
    assert [row["id"] for row in take(tmp_path, *given)] == [FIRST]
    assert [row["id"] for row in take(tmp_path, *given)] == [FIRST]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"id": "p9999", "answer": "x"}, "row 1: the id 'p9999' is none of the 8 of reasoning"),
        ({"answer": "x"}, "row 1: it has no 'id' or 'index', and its prompt is none of those that are asked"),
        ({"id": FIRST}, "row 1: it has neither 'answer' nor 'response' as text"),
        ({"id": FIRST, "answer": 5}, "row 1: 'answer' is int, not text"),
        ({"id": FIRST, "answer": "x", "prompt": "Another."}, f"the answer to '{FIRST}' is to another prompt"),
        ("{broken", "row 1: broken JSON"),
        ("[1]", "row 1: not a JSON object"),
        ("", "holds no answers; it is empty"),
    ],
)
def test_mistakes_are_one_sentence(tmp_path: Path, row: Any, words: str) -> None:
    with pytest.raises(DataError) as caught:
        take(tmp_path, row)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_broken_row_is_set_aside_and_the_rest_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "given.jsonl"
    half = '"\\ud83d"'
    lines = ["{broken", f'{{"id": "{FIRST}", "answer": "x"}}', "", '{"answer": null}', f'{{"answer": {half}}}']
    lines.append(f'{{"answer": "x", "thinking": {half}}}')
    path.write_text("\n".join(lines))
    given = read_answers(path, BENCHMARK, PARSER, "mine")
    assert [row["id"] for row in given.answers] == [FIRST]
    assert [(bad.row, bad.reason[:11]) for bad in given.quarantined] == [
        (1, "broken JSON"),
        (4, "it has neit"),
        (5, "half of a s"),
        (6, "half of a s"),
    ]


def test_an_id_that_occurs_twice_and_another_answer_to_a_stored_one(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"row 2: the id .* occurs twice \(first in row 1\)"):
        take(tmp_path, *[{"id": FIRST, "answer": "x"}] * 2)
    take(tmp_path, {"id": FIRST, "answer": "x"})
    with pytest.raises(DataError, match=r"given.jsonl: .*answers.jsonl holds another answer"):
        take(tmp_path, {"id": FIRST, "answer": "y"})


def test_answers_files_of_the_benchmarks_own_scripts(tmp_path: Path) -> None:
    """By `index`, by the prompt's own text; a null beside the good field; parts; marks of thinking inside."""
    benchmark = load(BenchmarkConfig(limit=4))
    items = benchmark.items
    told = [
        {"index": items[0].id, "response": "One.", "answer": None},
        {"id": "", "answer": " ", "prompt": f"{items[1].prompt}\n", "response": "Two mentions </think> only."},
        {"id": items[2].id, "response": [{"type": "text", "text": "<think>plan</think>\n\nThree."}]},
        {"id": items[3].id, "answer": "Four.", "reasoning_content": "plan"},
        {"prompt": "One that is beyond the limit.", "response": "Five."},
    ]
    path = tmp_path / "given.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in told), encoding="utf-8")
    given = read_answers(path, benchmark, PARSER, "m")
    assert [row["id"] for row in given.answers] == [item.id for item in items]
    assert [row["answer"] for row in given.answers] == ["One.", "Two mentions </think> only.", "Three.", "Four."]
    assert [row["thinking"] for row in given.answers] == [None, None, "plan", "plan"]
    assert [row["well_formed"] for row in given.answers] == [False, False, True, True]


def test_an_index_that_pandas_made_a_number_with_a_fraction_is_the_id(tmp_path: Path) -> None:
    from eval.benchmarks.writingbench import load as writingbench

    benchmark = writingbench(BenchmarkConfig(name="writingbench", path="sample"))
    first, second = (int(item.id) for item in benchmark.items[:2])
    path = tmp_path / "given.jsonl"
    path.write_text(
        f'{{"index": {first}.0, "response": "One."}}\n{{"index": {second}, "id": NaN, "response": "Two."}}\n'
    )
    given = read_answers(path, benchmark, PARSER, "m")
    assert [(row["id"], row["answer"]) for row in given.answers] == [(str(first), "One."), (str(second), "Two.")]
