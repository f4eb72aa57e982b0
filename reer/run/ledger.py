"""The store of record of a search: SQLite in WAL mode, one writing process per run folder.

Every event of a search is one transaction, so a kill at any moment loses at most the work in flight. Events are
stored as JSON and never changed; what a run produced is exported from here. Knows nothing of models or prompts.
"""

import json
import sqlite3
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from reer.errors import RunDirError
from reer.types import Attribution, Baseline, Candidate, Event, First, Step, Usage

Status = Literal["done", "failed", "quarantined"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS events (
    example TEXT NOT NULL, n INTEGER NOT NULL, kind TEXT NOT NULL, body TEXT NOT NULL,
    PRIMARY KEY (example, n)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS outcomes (
    example TEXT PRIMARY KEY, status TEXT NOT NULL, reason TEXT NOT NULL) WITHOUT ROWID;
"""


class Ledger:
    """Events and outcomes of the examples of one run."""

    def __init__(self, path: Path) -> None:
        """Open or create the ledger and keep every other process out.

        Raises:
            RunDirError: the file cannot be written, or another process holds it.
        """
        try:
            self._db = sqlite3.connect(path, isolation_level=None, timeout=0)
            self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.executescript(f"BEGIN EXCLUSIVE; {_SCHEMA} COMMIT;")
        except sqlite3.OperationalError as error:
            raise RunDirError(f"{path}: {_why(error)}") from error
        except sqlite3.DatabaseError as error:
            raise RunDirError(f"{path}: not a ledger ({error}); choose another run_dir") from error

    def close(self) -> None:
        self._db.close()

    def commit(self, example: str, n: int, event: Event) -> None:
        """Record the n-th event of an example (0: its baseline)."""
        row = (example, n, type(event).__name__, json.dumps(asdict(event), ensure_ascii=False))
        self._db.execute("INSERT INTO events VALUES (?, ?, ?, ?)", row)

    def finish(self, example: str, status: Status, reason: str = "") -> None:
        """Record how an example ended. A failed one is tried again by the next run."""
        self._db.execute("INSERT OR REPLACE INTO outcomes VALUES (?, ?, ?)", (example, status, reason))

    def reopen(self) -> None:
        """Forget which examples failed, so that this run tries them again."""
        self._db.execute("DELETE FROM outcomes WHERE status = 'failed'")

    def events(self, example: str) -> list[Event]:
        rows = self._db.execute("SELECT kind, body FROM events WHERE example = ? ORDER BY n", (example,))
        return [decode(kind, json.loads(body)) for kind, body in rows]

    def outcome(self, example: str) -> tuple[Status, str] | None:
        row = self._db.execute("SELECT status, reason FROM outcomes WHERE example = ?", (example,)).fetchone()
        return (row[0], row[1]) if row else None


def decode(kind: str, body: dict[str, Any]) -> Event:
    """An event from its stored form."""
    body["usage"] = Usage(**body["usage"])
    if kind == "Baseline":
        return Baseline(**body)
    if kind == "Attribution":
        return Attribution(**body | {"changes": tuple(body["changes"])})
    body["candidates"] = tuple(Candidate(**candidate) for candidate in body["candidates"])
    if kind == "First":
        return First(**body | {"segments": tuple(body["segments"])})
    return Step(**body)


def _why(error: sqlite3.OperationalError) -> str:
    if "locked" in str(error):
        return "another process is working in this run folder"
    return f"cannot be written ({error})"
