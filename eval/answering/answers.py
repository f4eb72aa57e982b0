"""Answers that stand in a file, from whatever model, as the rows of answers.jsonl.

Knows the contract of answers and how a reply is taken apart; knows no model.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from reer.errors import DataError
from reer.files.outputs import loops, word_count
from reer.files.pairs import NOT_UNICODE, Quarantined, not_unicode
from reer.layout import THINK_CLOSE, THINK_OPEN, Layout
from reer.types import FinishReason, Response

from ..benchmarks.items import Benchmark, Item
from ..benchmarks.rows import BadRow, parsed
from ..store import Row, Rows
from .respond import EPOCH, taken_apart


@dataclass(slots=True)
class Given:
    """What a file of answers holds."""

    path: Path
    answers: list[Row] = field(default_factory=list)
    quarantined: list[Quarantined] = field(default_factory=list)


def read_answers(path: Path, benchmark: Benchmark, parser: Layout, label: str) -> Given:
    """The answers of a file to a benchmark's items; those beyond `benchmark.limit` are left out.

    A row that is broken or holds no Unicode text is set aside. One that answers something else is no broken row but
    another file than was meant.

    Raises:
        DataError: the file cannot be read or has no usable row, an id is unknown or occurs twice, or an answer is to
            another query.
    """
    asked = {item.id: item for item in benchmark.items}
    seen: dict[str, int] = {}
    given = Given(path)
    for number, line in _lines(path):
        where = f"{path}, row {number}"
        try:
            row = parsed(line)
            text = _text(row)
        except BadRow as error:
            given.quarantined.append(Quarantined(path.name, number, str(error), line))
            continue
        id_ = str(row.get("id", ""))
        if id_ not in benchmark.known:
            raise DataError(f"{where}: the id {id_!r} is none of the {len(benchmark.known)} of {benchmark.name}")
        if id_ in seen:
            raise DataError(f"{where}: the id {id_!r} occurs twice (first in row {seen[id_]})")
        seen[id_] = number
        if id_ not in asked:
            continue
        if row.get("prompt", asked[id_].prompt) != asked[id_].prompt:
            raise DataError(f"{where}: the answer to {id_!r} is to another prompt than the benchmark's")
        named = {"model": label, "id": id_, "benchmark": benchmark.name, "epoch": EPOCH, "prompt": asked[id_].prompt}
        given.answers.append(named | _answer(row, text, parser))
    if not seen:
        bad = given.quarantined
        why = f"row {bad[0].row}: {bad[0].reason}" if bad else "it is empty"
        raise DataError(f"answers={path} holds no answers; {why}")
    return given


def take_answers(given: Given, stored: Rows) -> None:
    """Add the answers that are not there yet.

    Raises:
        DataError: another answer to the same query is stored.
    """
    kept = {row["id"]: row for row in stored.rows}
    for row in given.answers:
        there = kept.get(row["id"])
        if there is None or there["prompt"] != row["prompt"]:
            stored.append(row)
        elif there["answer"] != row["answer"]:
            raise DataError(
                f"{given.path}: {stored.path} holds another answer to {row['id']!r}; choose another name= or run_dir="
            )


def _text(row: Row) -> str:
    text = row.get("answer", row.get("response"))
    if not isinstance(text, str):
        raise BadRow("it has neither 'answer' nor 'response' as text")
    if not_unicode(row):
        raise BadRow(NOT_UNICODE)
    return text


def _answer(row: Row, text: str, parser: Layout) -> Row:
    finish: FinishReason = "length" if row.get("finish_reason") == "length" else "stop"
    if "answer" not in row or (row.get("thinking") is None and _holds_thinking(text)):
        return taken_apart(Response(text=text, finish_reason=finish), parser) | {"tokens": row.get("tokens")}
    return {
        "thinking": row.get("thinking"),
        "answer": text.strip(),
        "finish_reason": finish,
        "tokens": row.get("tokens"),
        "words": word_count(text),
        "well_formed": bool(row.get("well_formed", bool(text.strip()))),
        "loop": loops(text),
    }


def _holds_thinking(text: str) -> bool:
    """Whether a text given as an answer is a whole reply: what a model thought is never judged."""
    return text.lstrip().startswith(THINK_OPEN) or THINK_CLOSE in text


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"answers={path} cannot be read ({error})") from error
    return ((number, line) for number, line in enumerate(lines, start=1) if line.strip())


def answer_counts(items: Sequence[Item], answers: dict[str, Row]) -> dict[str, int]:
    """Prompts by what became of them: an answer that is empty, or cut before it began, is the model's failure."""
    found = [answers[item.id] for item in items if item.id in answers]
    failed = [row for row in found if not row["answer"]]
    unfinished = sum(row["finish_reason"] == "length" for row in failed)
    return {
        "asked": len(items),
        "answered": len(found) - len(failed),
        "missing": len(items) - len(found),
        "empty": len(failed) - unfinished,
        "unfinished": unfinished,
    }
