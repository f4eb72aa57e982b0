"""Before a run: how many pairs still have to be searched, and which are not what they were in the last run.

Reads the pairs once and holds none of them.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reer.files.pairs import Quarantined
from reer.files.rows import files_of
from reer.run.ledger import Ledger, content_of
from reer.run.manifest import sha256
from reer.types import Example, Message

ENDED = ("done", "quarantined")
"""Standings that are not worked on again. (Failed ones are open by then.)"""


@dataclass(slots=True)
class Survey:
    """What a run has before it."""

    todo: int = 0
    changed: int = 0
    """Rows among them whose text is another than in the last run."""
    unknown: int = 0
    """Rows among them that a former version searched, with what text is not known."""
    unmeasured: int = 0
    """Rows among them whose search is done, and whose trajectory is still to be measured (search.worth)."""
    languages: Counter[str] = field(default_factory=Counter)
    """Rows to do, by language."""

    def told(self) -> Iterator[str]:
        """What the user has to know of it, in sentences."""
        if self.changed:
            yield f"{_rows(self.changed)} changed since the last run: searched anew"
        if self.unknown:
            yield f"{_rows(self.unknown)} searched by a former version, which did not keep their text: searched anew"
        if self.unmeasured:
            yield f"{_rows(self.unmeasured)} searched before, whose trajectories are measured now (search.worth)"


Judgement = Callable[[Example], bool]
"""Whether a pair is what was searched under its id."""


def survey(
    rows: Iterable[Example | Quarantined], ledger: Ledger, was_searched: Judgement, measure: bool = False
) -> Survey:
    """Look at every pair; searches of a former version that are this pair's are marked so."""
    found = Survey()
    for example in unfinished(rows, ledger, was_searched, measure):
        standing = ledger.standing(example)[0]
        found.todo += 1
        found.changed += standing == "changed"
        found.unknown += standing == "unknown"
        found.unmeasured += standing == "done"
        found.languages[example.language] += 1
    return found


def unfinished(
    rows: Iterable[Example | Quarantined],
    ledger: Ledger,
    was_searched: Judgement = lambda example: False,
    measure: bool = False,
) -> Iterator[Example]:
    """The pairs that still have to be searched, or whose trajectory is to be measured and has not been."""
    for row in rows:
        if isinstance(row, Quarantined):
            continue
        standing = ledger.standing(row)[0]
        if standing == "unknown" and was_searched(row):
            ledger.adopt(row)
            standing = ledger.standing(row)[0]
        if standing not in ENDED or (measure and standing == "done" and not ledger.is_measured(row.id)):
            yield row


def former_texts(run_dir: Path, pairs: Path) -> Judgement:
    """Whether a pair is what a former version searched under its id.

    It did not keep the text. But trajectories.jsonl holds the texts of the searches that were kept, and the manifest
    names the hash of the file as it was when the last search began. Turns before the query were not searched with.
    """
    same_files = _same_files(run_dir, pairs)
    kept: dict[str, str] = {}
    if (path := run_dir / "trajectories.jsonl").exists():
        with path.open(encoding="utf-8") as file:
            for row in map(json.loads, file):
                kept[row["id"]] = content_of(_example(row))

    def was_searched(example: Example) -> bool:
        if example.id in kept:
            return kept[example.id] == content_of(example)
        return same_files and not example.history

    return was_searched


def _same_files(run_dir: Path, pairs: Path) -> bool:
    path = run_dir / "manifest.json"
    inputs = json.loads(path.read_text(encoding="utf-8"))["inputs"] if path.exists() else []
    return bool(inputs) and [file["sha256"] for file in inputs] == [sha256(file) for file in files_of(pairs)]


def _example(row: dict[str, Any]) -> Example:
    history = tuple(Message(**message) for message in row.get("history") or ())
    return Example(id=row["id"], query=row["query"], answer=row["answer"], history=history, language=row["language"])


def _rows(count: int) -> str:
    return f"{count:,} row{'s' * (count != 1)}"
