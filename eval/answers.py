"""Answers that stand in a file, from whatever model, as the rows of answers.jsonl.

Knows the contract of answers and how a reply is taken apart; knows no model.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from reer.errors import DataError
from reer.layout import Layout
from reer.outputs import loops, word_count
from reer.types import FinishReason, Response

from .items import Benchmark, Item
from .respond import EPOCH, current_answers, taken_apart
from .store import Row, Rows


def take_answers(path: Path, benchmark: Benchmark, answers: Rows, parser: Layout, label: str) -> None:
    """Add the answers of a file that are not there yet; those beyond `benchmark.limit` are left out.

    Raises:
        DataError: the file cannot be read, a row has no id or no answer, an id is unknown or occurs twice, or the
            answer is to another query.
    """
    asked = {item.id: item for item in benchmark.items}
    stored = current_answers(answers.rows, benchmark.items)
    seen: dict[str, int] = {}
    for number, row in _rows(path):
        where = f"{path}, row {number}"
        id_ = str(row.get("id", ""))
        if id_ not in benchmark.known:
            raise DataError(f"{where}: the id {id_!r} is none of the {len(benchmark.known)} of {benchmark.name}")
        if id_ in seen:
            raise DataError(f"{where}: the id {id_!r} occurs twice (first in row {seen[id_]})")
        seen[id_] = number
        if id_ not in asked:
            continue
        found = _answer(row, asked[id_], benchmark.name, parser, label, where)
        if id_ in stored and stored[id_]["answer"] != found["answer"]:
            raise DataError(
                f"{where}: {answers.path} holds another answer to {id_!r}; choose another name= or run_dir="
            )
        if id_ not in stored:
            answers.append(found)


def _answer(row: Row, item: Item, benchmark: str, parser: Layout, label: str, where: str) -> dict[str, Any]:
    if row.get("prompt", item.query) != item.query:
        raise DataError(f"{where}: the answer to {item.id!r} is to another prompt than the benchmark's")
    text = row.get("answer", row.get("response"))
    if not isinstance(text, str):
        raise DataError(f"{where}: it has neither 'answer' nor 'response' as text")
    named = {"model": label, "id": item.id, "benchmark": benchmark, "epoch": EPOCH, "prompt": item.query}
    finish: FinishReason = "length" if row.get("finish_reason") == "length" else "stop"
    if "answer" not in row:
        reply = taken_apart(Response(text=text, finish_reason=finish), parser)
        return named | reply | {"tokens": row.get("tokens")}
    return named | {
        "thinking": row.get("thinking"),
        "answer": text.strip(),
        "finish_reason": finish,
        "tokens": row.get("tokens"),
        "words": word_count(text),
        "well_formed": bool(row.get("well_formed", bool(text.strip()))),
        "loop": loops(text),
    }


def _rows(path: Path) -> Iterator[tuple[int, Row]]:
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"answers={path} cannot be read ({error})") from error
    if not any(line.strip() for line in lines):
        raise DataError(f"answers={path} holds no answers")
    for number, line in enumerate(lines, start=1):
        if line.strip():
            yield number, _object(line, f"{path}, row {number}")


def _object(line: str, where: str) -> Row:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: broken JSON ({error})") from error
    if not isinstance(row, dict):
        raise DataError(f"{where}: not a JSON object")
    return row


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
