import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from chat_server import ODD, completion, generator_of, running, says

from eval.answering.answers import answer_counts
from eval.answering.respond import Respondent, current_answers, respond, taken_apart
from eval.benchmarks.items import Item
from eval.benchmarks.reasoning import RUBRIC
from eval.store import Row, Rows
from reer.backend.fake import FakeGenerator, FakeTokenizer
from reer.backend.server.chat import Refusal
from reer.config import BenchmarkConfig, FakeBackendConfig
from reer.errors import BackendError
from reer.layout import Layout
from reer.types import Example, FinishReason, GenerateRequest, Generator, Message, Response, Usage

PARSER = Layout("think", FakeTokenizer())


class Counting(FakeGenerator):
    def __init__(self, fails: str = "nothing", error: BackendError | None = None) -> None:
        super().__init__(FakeBackendConfig())
        self.fails, self.error = fails, error or BackendError("no room to generate")
        self.asked: list[str] = []

    async def generate(self, requests: Sequence[GenerateRequest]) -> list[list[Response]]:
        self.asked += [request.messages[-1].content for request in requests]
        if self.fails in self.asked[-1]:
            raise self.error
        return await super().generate(requests)


def answer(path: Path, examples: list[Example], generator: Generator) -> tuple[list[Row], dict[str, str]]:
    items = [Item(id=example.id, query=example.query, rubric=RUBRIC) for example in examples]
    with Rows(path) as rows:
        model = Respondent(generator, PARSER, label="m", benchmark=BenchmarkConfig(), seed=3)
        work = respond(items, rows, lambda: model.answer, concurrency=2)
        failed = asyncio.run(work)
        return rows.rows, failed


def test_stored_answers_are_not_drawn_again(tmp_path: Path, pairs: list[Example]) -> None:
    path = tmp_path / "answers.jsonl"
    first, _ = answer(path, pairs[:2], Counting())
    generator = Counting()
    rows, _ = answer(path, pairs, generator)
    assert rows[:2] == first
    assert sorted(generator.asked) == sorted(example.query for example in pairs[2:])
    idle = Counting()
    answer(path, pairs, idle)
    assert not idle.asked
    whole, _ = answer(tmp_path / "at_once.jsonl", pairs, Counting())
    assert sorted(map(str, whole)) == sorted(map(str, rows)), "a draw depends on its own seed alone"


def test_an_answer_to_another_query_text_is_drawn_anew(tmp_path: Path, pairs: list[Example]) -> None:
    path = tmp_path / "answers.jsonl"
    answer(path, pairs[:1], Counting())
    generator = Counting()
    answer(path, [Example(id=pairs[0].id, query="Another task.", answer="y")], generator)
    assert generator.asked == ["Another task."]


def test_a_failed_request_is_no_row(tmp_path: Path, pairs: list[Example]) -> None:
    rows, failed = answer(tmp_path / "answers.jsonl", pairs, Counting(fails="joy"))
    assert failed == {"e3": "no room to generate"}
    assert {row["id"] for row in rows} == {"e0", "e1", "e2"}


def test_a_refusal_is_an_empty_answer_and_is_not_asked_again(tmp_path: Path, pairs: list[Example]) -> None:
    path = tmp_path / "answers.jsonl"
    rows, failed = answer(path, pairs, Counting(fails="joy", error=Refusal("I would rather not")))
    [refused] = [row for row in rows if row["id"] == "e3"]
    assert not failed
    assert (refused["answer"], refused["finish_reason"], refused["words"]) == ("", "refused", 0)
    assert not refused["well_formed"]
    items = [Item(id=example.id, query=example.query, rubric=RUBRIC) for example in pairs]
    counts = answer_counts(items, {row["id"]: row for row in rows})
    assert (counts["missing"], counts["empty"], counts["unfinished"]) == (0, 1, 0)
    idle = Counting()
    answer(path, pairs, idle)
    assert not idle.asked


def test_a_row_has_the_fields_of_the_contract(tmp_path: Path, pairs: list[Example]) -> None:
    rows, _ = answer(tmp_path / "answers.jsonl", pairs[:1], Counting())
    facts = {"thinking", "answer", "finish_reason", "tokens", "words", "well_formed", "loop"}
    assert {"model", "id", "benchmark", "epoch", "prompt"} | facts == rows[0].keys()


@pytest.mark.parametrize(
    ("text", "finish", "judged", "well_formed"),
    [
        ("<think>\nplan\n</think>\n\nThe rain fell.", "stop", "The rain fell.", True),
        ("<think>\nplan\n</think>\n\nThe rain", "length", "The rain", True),
        ("The rain fell.", "stop", "The rain fell.", False),
        ("The rain", "length", "The rain", False),
        ("<think>\nplan and plan", "length", "", False),
        ("<think>\nplan\n</think>\n\n", "stop", "", False),
        ("  \n", "stop", "", False),
    ],
)
def test_only_a_reply_without_an_answer_is_a_failed_one(
    text: str, finish: FinishReason, judged: str, well_formed: bool
) -> None:
    row = taken_apart(Response(text=text, finish_reason=finish, usage=Usage(generated_tokens=4)), PARSER)
    assert (row["answer"], row["well_formed"], row["tokens"]) == (judged, well_formed, 4)
    assert row["words"] == len(judged.split())


def test_the_model_is_asked_in_turns_and_judges_see_the_conversation(tmp_path: Path) -> None:
    class Listening(Counting):
        async def generate(self, requests: Sequence[GenerateRequest]) -> list[list[Response]]:
            self.turns = [request.messages for request in requests]
            return await super().generate(requests)

    history = (
        Message("system", "Rhyme."),
        Message("user", "Of cats."),
        Message("assistant", "<think>c</think>A cat."),
    )
    item = Item(id="a", query="Sadder.", history=history, rubric=RUBRIC)
    listening = Listening()
    model = Respondent(listening, PARSER, label="m", benchmark=BenchmarkConfig(), seed=3)
    with Rows(tmp_path / "answers.jsonl") as rows:
        asyncio.run(respond([item], rows, lambda: model.answer, concurrency=1))
        asked = (*history[:2], Message("assistant", "A cat."), Message("user", "Sadder."))
        assert listening.turns == [asked]
        [row] = rows.rows
        assert row["prompt"] == item.prompt
        assert row["prompt"].endswith("[User]\nSadder.")
        assert list(current_answers(rows.rows, [item])) == ["a"]
        assert not current_answers(rows.rows, [replace(item, history=history[:1])]), "another conversation"


def test_thinking_that_a_server_puts_beside_the_answer_is_the_models(tmp_path: Path, pairs: list[Example]) -> None:
    with running("beside") as server:
        rows, failed = answer(tmp_path / "answers.jsonl", pairs, generator_of(server))
    assert not failed
    assert {row["answer"] for row in rows} == {"Rain fell."}
    assert all(row["well_formed"] and row["thinking"].startswith("I plan the rain") for row in rows)


@pytest.mark.parametrize(
    ("odd", "kind"), [("abort", "broken_off"), ("null message", "no_message"), ("HTML", "no_json")]
)
def test_an_odd_reply_is_no_answer(tmp_path: Path, pairs: list[Example], odd: str, kind: str) -> None:
    with running() as server:
        server.instead = lambda body: ODD[odd] if "joy" in body["messages"][-1]["content"] else None
        rows, failed = answer(tmp_path / "answers.jsonl", pairs, generator_of(server))
        assert [kind in reason for reason in failed.values()] == [True]
        assert {row["id"] for row in rows} == {"e0", "e1", "e2"}
        server.instead = lambda body: completion(says("A dog.", reasoning="Joy."), finish="length")
        rows, failed = answer(tmp_path / "answers.jsonl", pairs, generator_of(server))
    assert not failed
    assert (rows[-1]["id"], rows[-1]["answer"], rows[-1]["finish_reason"]) == ("e3", "A dog.", "length")
