"""Public reasoning data, row by row in the schemas they are published in (rows made by hand)."""

from typing import Any

import pytest

from reer.files.columns import take_apart
from reer.files.rows import BadRow
from train.mixing.schemas import in_our_columns
from train.mixing.tags import split_tags

ASKS = "Use <|begin_of_thought|> and <|end_of_thought|>."
MARKED = (
    "<|begin_of_thought|>\n\nTwo and two.\n\n<|end_of_thought|>\n\n"
    "<|begin_of_solution|>\n\nFour.\n\n<|end_of_solution|>"
)


def chat(answer: str, question: str = "2+2?") -> list[dict[str, str]]:
    return [{"from": "user", "value": question}, {"from": "assistant", "value": answer}]


@pytest.mark.parametrize(
    ("schema", "row"),
    [
        ("openthoughts", {"system": ASKS, "conversations": chat(MARKED)}),
        ("openthoughts", {"conversations": chat("<think>\nTwo and two.\n</think>\n\nFour.")}),
        ("openthoughts", {"problem": "2+2?", "deepseek_reasoning": "Two and two.", "deepseek_solution": "Four."}),
        ("s1k", {"question": "2+2?", "thinking_trajectories": ["Two and two."], "attempt": "Four.", "cot": None}),
        ("s1k", {"question": "2+2?", "deepseek_thinking_trajectory": "Two and two.", "deepseek_attempt": "Four."}),
        ("limo", {"question": "2+2?", "solution": "Two and two.", "answer": "Four."}),
        (
            "marco_o1",
            {"instruction": "2+2?", "response": "<Thought>\nTwo and two.\n</Thought>\n<Output>\nFour.\n</Output>"},
        ),
        ("marco_o1", {"query": "2+2?", "thinking": "Two and two.", "answer": "Four."}),
    ],
)
def test_every_schema_gives_query_thinking_and_answer_without_marks(schema: str, row: dict[str, Any]) -> None:
    ours = in_our_columns({**row, "id": 2**63 + 1, "license": "Apache-2.0"}, schema)
    parts = take_apart(ours)
    assert (parts.query, parts.thinking, parts.answer, parts.history) == ("2+2?", "Two and two.", "Four.", ())
    assert (parts.there["id"], parts.there["licence"]) == (2**63 + 1, "Apache-2.0")


def test_limo_keeps_the_end_of_its_chain_as_the_answer() -> None:
    solution = "Two.\n\nAnd two.\n\n**Final Answer**\n\n\\boxed{4}"
    ours = in_our_columns({"question": "2+2?", "solution": solution, "answer": "4"}, "limo")
    assert (ours["thinking"], ours["answer"]) == ("Two.\n\nAnd two.", "**Final Answer**\n\n\\boxed{4}")


def test_a_system_text_that_asks_for_no_marks_stays() -> None:
    ours = in_our_columns({"system": "Be brief.", "conversations": chat(MARKED)}, "openthoughts")
    assert ours["history"] == [{"role": "system", "content": "Be brief."}]


@pytest.mark.parametrize(
    ("schema", "row", "reason"),
    [
        ("openthoughts", {"conversations": chat("<|begin_of_thought|> on and on")}, "its thinking is not closed"),
        ("openthoughts", {"conversations": chat("<think>a</think>")}, "'answer' is empty after its think block"),
        ("openthoughts", {"conversations": chat(MARKED)[:1]}, "'conversations' does not end with a question and its"),
        (
            "openthoughts",
            {"conversations": chat("<|begin_of_thought|>a<|end_of_thought|>")},
            "there is no answer behind",
        ),
        ("s1k", {"question": "q", "attempt": "a", "thinking_trajectories": []}, "'thinking_trajectories' is no list"),
        ("limo", {"question": "q", "answer": "a"}, "'solution' is missing"),
        ("marco_o1", {"instruction": 7, "response": "a"}, "'instruction' is int, not text"),
        ("limo", ["q"], "not a JSON object"),
    ],
)
def test_what_does_not_fit_its_schema_says_why(schema: str, row: Any, reason: str) -> None:
    with pytest.raises(BadRow, match=reason):
        in_our_columns(row, schema)


def test_an_answer_that_only_mentions_marks_stays_whole() -> None:
    assert split_tags("Write <Thought> first.") == (None, "Write <Thought> first.")
    assert split_tags("<Output>a</Output> and <Output>b</Output>") == (
        None,
        "<Output>a</Output> and <Output>b</Output>",
    )
