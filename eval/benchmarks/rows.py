"""Rows of a benchmark's published file, with their fields checked: an unusable row is set aside with its reason.

Knows JSON lines and field types; knows no benchmark.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from reer.errors import DataError
from reer.files.pairs import Quarantined
from reer.files.rows import BadRow
from reer.run.manifest import sha256

from .fetch import PACKAGED, Pinned
from .items import Item, Source

Row = Mapping[str, Any]


@dataclass(slots=True)
class Loaded:
    """Items of one or more files."""

    items: list[Item] = field(default_factory=list)
    quarantined: list[Quarantined] = field(default_factory=list)


def load_rows(paths: Sequence[Path], make: Callable[[Row, int, Path], Item]) -> Loaded:
    """An item for every row that `make` (row, number of the row from 0, file) can turn into one.

    Raises:
        DataError: a file cannot be read, or there is no usable row at all.
    """
    loaded, seen = Loaded(), set[str]()
    for path in paths:
        for number, line in _lines(path):
            try:
                item = make(parsed(line), number, path)
                if item.id in seen:
                    raise BadRow(f"id {item.id!r} occurs twice")
            except BadRow as error:
                loaded.quarantined.append(Quarantined(path.name, number + 1, str(error), line))
                continue
            seen.add(item.id)
            loaded.items.append(item)
    if not loaded.items:
        bad = loaded.quarantined
        why = f"row {bad[0].row}: {bad[0].reason}" if bad else "it is empty"
        raise DataError(f"{paths[0]}: no usable row; {why}")
    return loaded


def source_of(paths: Sequence[Path], pins: Sequence[Pinned]) -> Source:
    """What the files are, as their bytes tell."""
    files = {path.name: sha256(path) for path in paths}
    known = {pin.content for pin in pins}
    if all(path.is_relative_to(PACKAGED) for path in paths):
        return Source(version="sample", files=files)
    if set(files.values()) == known:
        version = "published"
    else:
        version = "part of the published files" if set(files.values()) < known else "other than the published files"
    return Source(version=version, files=files)


T = TypeVar("T")


def want(row: Row, key: str, kind: type[T]) -> T:
    """A field of the given type.

    Raises:
        BadRow: it is absent, of another type, or an empty text or list.
    """
    value = row.get(key)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise BadRow(f"'{key}' is missing" if value is None else f"'{key}' is {type(value).__name__}")
    if isinstance(value, str | list) and not (value.strip() if isinstance(value, str) else value):
        raise BadRow(f"'{key}' is empty")
    return value


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    try:
        with path.open(encoding="utf-8-sig", errors="replace") as file:
            yield from ((number, line) for number, line in enumerate(file) if line.strip())
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error


def parsed(line: str) -> dict[str, Any]:
    """The row of a line.

    Raises:
        BadRow: it is no JSON object.
    """
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise BadRow(f"broken JSON: {error}") from error
    if not isinstance(row, dict):
        raise BadRow("not a JSON object")
    return row
