"""Rows on disk between two passes, each to be read again by its number: memory does not grow with them."""

import dataclasses
import json
import tempfile
from array import array
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any

from reer.files.trajectories import plain
from reer.types import Example, Message


def fields_of(row: Example) -> dict[str, Any]:
    """Of a row as JSON can hold them; what a row brought is not copied first, as `asdict` would."""
    fields = {field.name: getattr(row, field.name) for field in dataclasses.fields(row)}
    return dict(plain(fields | {"history": [asdict(turn) for turn in row.history]}))


class Spool:
    def __init__(self, folder: Path) -> None:
        """The file is gone when this is closed, or the process ends."""
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 (closed by __exit__)
        self._starts = array("q")

    def __len__(self) -> int:
        return len(self._starts)

    def append(self, row: Example) -> None:
        self._starts.append(self._file.seek(0, 2))
        self._file.write(json.dumps(fields_of(row), ensure_ascii=False).encode() + b"\n")

    def read(self, number: int) -> Example:
        self._file.seek(self._starts[number])
        fields = json.loads(self._file.readline())
        return Example(**fields | {"history": tuple(Message(**turn) for turn in fields["history"])})

    def text(self, number: int) -> str:
        """What one row says, for comparisons."""
        row = self.read(number)
        return f"{row.query}\n{row.answer}"

    def __iter__(self) -> Iterator[Example]:
        return (self.read(number) for number in range(len(self)))

    def __enter__(self) -> "Spool":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
