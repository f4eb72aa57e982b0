"""Answers that stand in a file, from whatever model, as the rows of answers.jsonl.

Knows the contract of answers and how a reply is taken apart; knows no model.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reer.errors import DataError
from reer.files.chats import THINKING, absent, text_of
from reer.files.outputs import loops, word_count
from reer.files.pairs import Quarantined
from reer.files.rows import BadRow, read_rows
from reer.files.rows import Row as Found
from reer.layout import THINK_OPEN, Layout
from reer.types import FinishReason, Response

from ..benchmarks.items import Benchmark, Item
from ..store import Row, Rows
from .respond import EPOCH, taken_apart

TEXTS = ("answer", "response", "output")
"""Columns that hold an answer; `answer` as it is, the others as the model wrote it."""


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
    texts = {item.prompt.strip(): item.id for item in benchmark.items}
    seen: dict[str, int] = {}
    given = Given(path)
    for found in _rows(path):
        where = f"{path}, row {found.number}"
        try:
            row = _checked(found.value)
            text = _text(row)
        except BadRow as error:
            given.quarantined.append(Quarantined(found.file, found.number, str(error), found.text))
            continue
        id_ = _id(row, benchmark, texts, where)
        if id_ is None:
            continue
        if id_ in seen:
            raise DataError(f"{where}: the id {id_!r} occurs twice (first in row {seen[id_]})")
        seen[id_] = found.number
        if id_ not in asked:
            continue
        if str(row.get("prompt", asked[id_].prompt)).strip() != asked[id_].prompt.strip():
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


def _rows(path: Path) -> Iterator[Found]:
    try:
        yield from read_rows(path)
    except DataError as error:
        raise DataError(f"answers={error}") from error


def _checked(value: Any) -> Row:
    """A row without what it leaves empty: a null says nothing, and hides nothing."""
    if isinstance(value, BadRow):
        raise value
    if not isinstance(value, dict):
        raise BadRow("not a JSON object")
    row = {key: part for key, part in value.items() if part is not None and part == part}
    if filled := [name for name in TEXTS if not absent(row.get(name))]:  # what is empty hides nothing either
        return {key: part for key, part in row.items() if key not in TEXTS or key in filled}
    return row


def _id(row: Row, benchmark: Benchmark, texts: Mapping[str, str], where: str) -> str | None:
    """Which prompt a row answers: by `id`, by `index` (WritingBench's script), else by the prompt's own text
    (LongBench-Write's); None: a prompt that may be one of those beyond the limit.

    Raises:
        DataError: none of the benchmark's.
    """
    named = next((row[name] for name in ("id", "index") if not absent(row.get(name))), None)
    if named is None:
        prompt = str(row.get("prompt", row.get("query"))).strip()
        if prompt not in texts and not ("prompt" in row and len(benchmark.items) < len(benchmark.known)):
            raise DataError(f"{where}: it has no 'id' or 'index', and its prompt is none of those that are asked")
        return texts.get(prompt)
    identity = str(int(named)) if isinstance(named, float) and named.is_integer() else str(named)  # pandas: 4 is 4.0
    if identity not in benchmark.known:
        raise DataError(f"{where}: the id {identity!r} is none of the {len(benchmark.known)} of {benchmark.name}")
    return identity


def _text(row: Row) -> str:
    names = [name for name in TEXTS if name in row]
    if not names:
        raise BadRow("it has neither 'answer' nor 'response' as text")
    value = row[names[0]]
    if isinstance(value, str) and not value.strip():  # it answers nothing, which is the model's failure
        return value
    return text_of(value, names[0])


def _answer(row: Row, text: str, parser: Layout) -> Row:
    """A raw reply is taken apart where it begins with its thinking; what was thought is never judged. An answer that
    only mentions the marks of thinking stays whole."""
    finish: FinishReason = "length" if row.get("finish_reason") == "length" else "stop"
    thinking = next((row[name] for name in THINKING if isinstance(row.get(name), str)), None)
    if thinking is None and text.lstrip().startswith(THINK_OPEN):
        return taken_apart(Response(text=text, finish_reason=finish), parser) | {"tokens": row.get("tokens")}
    whole = bool(text.strip()) and ("answer" in row or thinking is not None)
    return {
        "thinking": thinking,
        "answer": text.strip(),
        "finish_reason": finish,
        "tokens": row.get("tokens"),
        "words": word_count(text),
        "well_formed": bool(row.get("well_formed", whole)),
        "loop": loops(text),
    }


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
