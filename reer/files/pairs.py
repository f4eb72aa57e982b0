"""Read pairs (query, known good answer) from JSONL, JSON or Parquet.

A broken row is set aside with its file, row number and reason; the rest goes on. Only a file without any usable
row is an error. Accepted columns: `query`, `answer`; or `question`, `solution` (DeepWriting-20K); or `messages`.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from reer.errors import DataError
from reer.layout import THINK_CLOSE
from reer.text import digest, language_of
from reer.types import Example

_OWN = ("id", "query", "answer", "language", "domain", "source", "licence")
NOT_UNICODE = "half of a surrogate pair: it holds text that is no Unicode"
_SURROGATE = re.compile("[\ud800-\udfff]")
_ALIASES: dict[Any, str] = {"question": "query", "solution": "answer", "prompt": "query", "license": "licence"}


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A row that cannot be used."""

    file: str
    row: int
    """Counted from 1: the line of a JSONL file, the item of a list or table."""
    reason: str
    text: str
    """The row as it stands in the file, as far as it can be read."""


@dataclass(slots=True)
class Pairs:
    path: Path
    examples: list[Example] = field(default_factory=list)
    quarantined: list[Quarantined] = field(default_factory=list)


class _BadRow(ValueError):
    pass


def read_pairs(path: Path | None, limit: int | None = None, *, default: str = "pairs.jsonl") -> Pairs:
    """The first `limit` usable rows of a file, or of a sample shipped with the package where `path` is None.

    Raises:
        DataError: the file is missing, of an unknown kind, unreadable as a whole, or has no usable row.
    """
    path = path or Path(str(resources.files("reer"))) / "files" / "data" / default
    pairs = Pairs(path)
    seen: dict[str, int] = {}
    for number, text, row in _rows(path):
        if limit is not None and len(pairs.examples) >= limit:
            break
        try:
            example = to_example(row)
            if first := seen.get(example.id):
                raise _BadRow(f"id {example.id!r} occurs twice (first in row {first})")
        except _BadRow as error:
            pairs.quarantined.append(Quarantined(path.name, number, str(error), text))
            continue
        seen[example.id] = number
        pairs.examples.append(example)
    if not pairs.examples:
        bad = pairs.quarantined
        why = f"; row {bad[0].row}: {bad[0].reason}" if bad else ": it is empty"
        raise DataError(f"{path}: no usable row{why}")
    return pairs


def not_unicode(row: Mapping[Any, Any]) -> bool:
    """Whether a row holds half of a surrogate pair, which JSON can name and no file can hold."""
    return _SURROGATE.search(json.dumps(row, ensure_ascii=False, default=str)) is not None


def to_example(row: Any) -> Example:
    """One row as an Example; `ValueError` says what it lacks."""
    if isinstance(row, _BadRow):
        raise row
    if not isinstance(row, Mapping):
        raise _BadRow("not a JSON object")
    named = {_ALIASES.get(key, key): value for key, value in row.items()} | _from_messages(row)
    if not_unicode(named):
        raise _BadRow(NOT_UNICODE)
    query, answer = (_text(named, key) for key in ("query", "answer"))
    if THINK_CLOSE in answer:  # DeepWriting-20K keeps its thinking in `solution`
        answer = answer.rpartition(THINK_CLOSE)[2].lstrip("\n")
        if not answer.strip():
            raise _BadRow("'answer' is empty after its think block")
    identity = named.get("id")
    return Example(
        id=str(identity) if identity is not None and str(identity).strip() else digest(query, answer)[:16],
        query=query,
        answer=answer,
        language=str(named.get("language") or language_of(answer)),
        domain=str(named.get("domain") or ""),
        source=str(named.get("source") or ""),
        licence=str(named.get("licence") or ""),
        extra={str(key): value for key, value in named.items() if key not in (*_OWN, "messages")},
    )


def _from_messages(row: Mapping[str, Any]) -> dict[str, Any]:
    """Query and answer of a chat: its last user turn and the assistant's reply to it."""
    messages = row.get("messages")
    if not isinstance(messages, list):
        return {}
    turns = [(m.get("role"), m.get("content")) for m in messages if isinstance(m, Mapping)]
    if len(turns) < 2 or [role for role, _ in turns[-2:]] != ["user", "assistant"]:
        raise _BadRow("'messages' does not end with a user turn and an assistant turn")
    return {"query": turns[-2][1], "answer": turns[-1][1]}


def _text(row: Mapping[Any, Any], key: str) -> str:
    if key not in row:
        raise _BadRow(f"'{key}' is missing")
    value = row[key]
    if not isinstance(value, str):
        raise _BadRow(f"'{key}' is {type(value).__name__}, not text")
    if not any(character.isprintable() and not character.isspace() for character in value):
        raise _BadRow(f"'{key}' is empty")
    if "\0" in value:
        raise _BadRow(f"'{key}' holds a NUL byte")
    return value


def _rows(path: Path) -> Iterator[tuple[int, str, Any]]:
    """Row number from 1, its text, and its value (or the `_BadRow` that says why it has none)."""
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    readers = {".jsonl": _jsonl_rows, ".json": _json_rows, ".parquet": _parquet_rows}
    if path.suffix not in readers:
        raise DataError(f"{path}: unknown kind of file (known: {', '.join(readers)})")
    try:
        yield from readers[path.suffix](path)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error


def _jsonl_rows(path: Path) -> Iterator[tuple[int, str, Any]]:
    with path.open("rb") as file:
        for number, raw in enumerate(file, start=1):
            if number == 1 and raw.startswith((b"\xff\xfe", b"\xfe\xff")):
                raise DataError(f"{path}: is UTF-16; save it as UTF-8")
            text = raw.decode("utf-8-sig" if number == 1 else "utf-8", errors="replace").strip()
            if text:
                yield number, text, _value(raw)


def _value(raw: bytes) -> Any:
    try:
        return json.loads(raw.decode("utf-8-sig").strip())
    except UnicodeDecodeError as error:
        return _BadRow(f"not UTF-8 (byte {error.start + 1})")
    except json.JSONDecodeError as error:
        return _BadRow(f"broken JSON: {error.msg} (column {error.colno})")
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, brackets without end
        return _BadRow(f"JSON that cannot be read: {error}")


def _json_rows(path: Path) -> Iterator[tuple[int, str, Any]]:
    value = _value(path.read_bytes())
    if isinstance(value, _BadRow):
        raise DataError(f"{path}: {value}")
    if not isinstance(value, list):
        raise DataError(f"{path}: holds no list of rows")
    for number, row in enumerate(value, start=1):
        yield number, json.dumps(row, ensure_ascii=False), row


def _parquet_rows(path: Path) -> Iterator[tuple[int, str, Any]]:
    import pyarrow.parquet as pq
    from pyarrow import ArrowInvalid

    try:
        file = pq.ParquetFile(path)
    except ArrowInvalid as error:
        raise DataError(f"{path}: is no Parquet file ({error})") from error
    number = 0
    for batch in file.iter_batches(batch_size=256):
        for row in batch.to_pylist():
            number += 1
            yield number, str(row), row
