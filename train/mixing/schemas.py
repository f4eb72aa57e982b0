"""Rows of public reasoning data in our own columns: query, thinking, answer, and what they say of themselves.

One function per data set, by its published schema. What it is not made of is left out.
"""

from collections.abc import Callable, Mapping
from typing import Any

from reer.files.chats import Turn, absent, text_of, turns_of
from reer.files.columns import ABOUT
from reer.files.rows import BadRow

from .tags import ASKS_FOR_TAGS, split_tags

Row = dict[str, Any]
FINAL = "**Final Answer**"
"""What the last part of LIMO's solutions begins with."""
_ABOUT = (*ABOUT, "license")


def in_our_columns(row: Any, schema: str | None) -> Any:
    """A row of a schema; of none, as it is.

    Raises:
        BadRow: it lacks a column of its schema, or its thinking cannot be told from its answer.
    """
    if schema is None or isinstance(row, BadRow):
        return row
    if not isinstance(row, Mapping):
        raise BadRow("not a JSON object")
    about = {name: row[name] for name in _ABOUT if not absent(row.get(name))}
    return about | SCHEMAS[schema](row)


def _openthoughts(row: Mapping[str, Any]) -> Row:
    """OpenThoughts-114k, -2 and -3: `conversations`, perhaps with a `system` text, marks of its own or `<think>`; its
    subset `metadata` has `problem`, `deepseek_reasoning` and `deepseek_solution`."""
    if "conversations" not in row:
        return _three(row, "problem", "deepseek_reasoning", "deepseek_solution")
    turns = turns_of(row["conversations"], "conversations")
    if [turn.role for turn in turns[-2:]] != ["user", "assistant"]:
        raise BadRow("'conversations' does not end with a question and its answer")
    before = turns[:-2]
    if not absent(row.get("system")):
        before = [Turn("system", text_of(row["system"], "system")), *before]
    thinking, answer = split_tags(turns[-1].text)
    history = [{"role": t.role, "content": t.text} for t in before if not _asks_for_tags(t)]
    return {"query": turns[-2].text, "thinking": thinking, "answer": answer, "history": history}


def _asks_for_tags(turn: Turn) -> bool:
    """A system text that describes the marks which have been taken off would ask for what is not there."""
    return turn.role == "system" and ASKS_FOR_TAGS.search(turn.text) is not None


def _s1k(row: Mapping[str, Any]) -> Row:
    """s1K: `thinking_trajectories`, a list of one, and `attempt`; s1K-1.1: `deepseek_…` columns."""
    if "deepseek_attempt" in row:
        return _three(row, "question", "deepseek_thinking_trajectory", "deepseek_attempt")
    thoughts = row.get("thinking_trajectories")
    if not isinstance(thoughts, list) or not thoughts:
        raise BadRow("'thinking_trajectories' is no list of texts")
    return _three({**row, "thinking_trajectories": thoughts[0]}, "question", "thinking_trajectories", "attempt")


def _limo(row: Mapping[str, Any]) -> Row:
    """LIMO: `solution` is the whole chain, which ends with the final answer; `answer` is that alone."""
    solution = _text(row, "solution")
    thinking, answer = split_tags(solution)
    if thinking is None:
        chain, mark, rest = solution.rpartition(FINAL)
        thinking, answer = (chain, mark + rest) if mark and chain.strip() else (solution, _text(row, "answer"))
    return {"query": _text(row, "question"), "thinking": thinking.strip(), "answer": answer.strip("\n")}


def _marco_o1(row: Mapping[str, Any]) -> Row:
    """Marco-o1: `instruction` and `response` with `<Thought>` and `<Output>`; or taken apart already."""
    if "response" not in row:
        return _three(row, "query", "thinking", "answer")
    thinking, answer = split_tags(_text(row, "response"))
    return {"query": _text(row, "instruction"), "thinking": thinking, "answer": answer}


def _three(row: Mapping[str, Any], query: str, thinking: str, answer: str) -> Row:
    return {"query": _text(row, query), "thinking": _text(row, thinking), "answer": split_tags(_text(row, answer))[1]}


def _text(row: Mapping[str, Any], name: str) -> str:
    return text_of(row.get(name), name)


SCHEMAS: dict[str, Callable[[Mapping[str, Any]], Row]] = {
    "openthoughts": _openthoughts,
    "s1k": _s1k,
    "limo": _limo,
    "marco_o1": _marco_o1,
}
