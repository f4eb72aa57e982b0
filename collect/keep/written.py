"""The files that reer-collect writes, each row once, and the counts of what went where."""

import json
from collections import Counter
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from reer.files.pairs import Quarantined
from reer.run.manifest import replacing
from reer.text import words
from reer.types import Example, Usage

from .spool import fields_of

FILES = ("pairs", "held_out", "rejected", "quarantine")
SHOWN = ("split", "domain", "licence", "language", "source")
"""What of the written rows is counted."""


@dataclass(slots=True)
class Tally:
    """What became of the rows."""

    read: int = 0
    quarantined: int = 0
    masked: int = 0
    passages: int = 0
    """Rows without a query that were asked for one."""
    answered: int = 0
    """Of these: how many got one."""
    drawn: int = 0
    """Queries that were drawn for them."""
    untagged: int = 0
    """Rows of which the generator named no category."""
    unknown: Counter[str] = field(default_factory=Counter)
    """What it said instead."""
    rejected: Counter[str] = field(default_factory=Counter)
    written: dict[str, Counter[str]] = field(default_factory=lambda: {name: Counter() for name in SHOWN})
    words: int = 0
    """Of all answers that were written."""
    usage: Usage = Usage()
    """Of the models that were asked, in all runs of this folder."""

    def keep(self, row: Example, split: str) -> None:
        self.written["split"][split] += 1
        for name in SHOWN[1:]:
            self.written[name][getattr(row, name) or "none"] += 1
        self.words += len(words(row.answer))


class Written:
    """Files that replace the former ones once all of them are whole."""

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir
        self.tally = Tally()
        self._stack = ExitStack()
        self._files: dict[str, IO[str]] = {}

    def __enter__(self) -> "Written":
        self._files = {name: self._stack.enter_context(replacing(self.run_dir / f"{name}.jsonl")) for name in FILES}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def quarantine(self, row: Quarantined) -> None:
        self.tally.quarantined += 1
        self._put("quarantine", {"status": "quarantined", **asdict(row)})

    def reject(self, row: Example, name: str, why: dict[str, Any] | None = None) -> None:
        self.tally.rejected[name] += 1
        self._put("rejected", {"reason": name, "why": why, "row": as_row(row)})

    def keep(self, row: Example, split: str) -> None:
        self.tally.keep(row, split)
        self._put(split, as_row(row))

    def _put(self, name: str, value: dict[str, Any]) -> None:
        self._files[name].write(json.dumps(value, ensure_ascii=False) + "\n")


def as_row(row: Example) -> dict[str, Any]:
    """One object of pairs.jsonl: our own columns first, what else the row brought beside them."""
    fields = fields_of(row)
    extra = {key: value for key, value in fields.pop("extra").items() if key not in fields}
    if not row.history:
        del fields["history"]
    return fields | extra
