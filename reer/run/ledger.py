"""The store of record of a search: SQLite in WAL mode, one writing process per run folder, any number of readers.

Every event of a search is one transaction, so a kill at any moment loses at most the work in flight. Power that fails
may also take the last second's events, which are then searched again; the file stays whole. Events are stored as
JSON and never changed; what a run produced is exported from here. An example is its id and the hash of what decides
its search: under other content, what was recorded does not count. Knows nothing of models or prompts.
"""

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from reer.errors import RunDirError
from reer.run.launch import hold
from reer.text import digest
from reer.types import (
    Asked,
    Attribution,
    Baseline,
    Candidate,
    Event,
    Example,
    First,
    Start,
    Step,
    Tagged,
    Usage,
    Weighed,
    Worth,
)

Status = Literal["open", "done", "failed", "quarantined"]
"""open: the search is under way, or was interrupted."""
Standing = Literal["new", "changed", "unknown", "open", "done", "failed", "quarantined"]
"""Or: no search under this id; one of other content; one that a former version recorded without its content."""

FORMAT = 2
"""Of the file, as its `user_version`. 1 (written as 0) had no content hashes."""
UNKNOWN = ""
"""Content of a search that was recorded before contents were."""
SYNC_SECONDS = 1.0
"""Events of so long a time may be lost with the power; a kill of the process loses none."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS events (
    example TEXT NOT NULL, n INTEGER NOT NULL, kind TEXT NOT NULL, body TEXT NOT NULL, PRIMARY KEY (example, n));
CREATE TABLE IF NOT EXISTS outcomes (
    example TEXT PRIMARY KEY, status TEXT NOT NULL, reason TEXT NOT NULL, content TEXT NOT NULL) WITHOUT ROWID;
"""
_FROM_1 = """
ALTER TABLE outcomes ADD COLUMN content TEXT NOT NULL DEFAULT '';
INSERT OR IGNORE INTO outcomes SELECT DISTINCT example, 'open', '', '' FROM events;
"""


def content_of(example: Example) -> str:
    """Hash of what decides how a search of this example goes, besides its id, the settings and the models."""
    history = [[message.role, message.content] for message in example.history]
    return digest(example.query, example.answer, history, example.language)[:16]


class Ledger:
    """Events and outcomes of the examples of one run."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        """Open or create the ledger, see that it is whole, and keep every other writing process out.

        `read_only` looks into one that another process may be writing.

        Raises:
            RunDirError: the file cannot be written, is damaged or of a newer version, or another process holds it.
        """
        self.path = path
        self._synced = float("-inf")
        self._lock = None if read_only else _locked(path)
        try:
            with self._sentences():
                mode = "rw" if read_only else "rwc"
                uri = f"{path.absolute().as_uri()}?mode={mode}"
                self._db = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=10)
                self._prepare(read_only)
        except RunDirError:
            self._unlock()
            raise

    def _prepare(self, read_only: bool) -> None:
        [(version,)] = self._db.execute("PRAGMA user_version")
        if version > FORMAT:
            raise RunDirError(f"{self.path}: was written by a newer version of this program; update it")
        if read_only:
            self._db.execute("PRAGMA query_only = ON")
            return
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")
        if (found := self._db.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
            raise RunDirError(_damaged(self.path, found))
        old = version == 0 and self._db.execute("SELECT 1 FROM sqlite_master WHERE name = 'outcomes'").fetchone()
        self._db.executescript(
            f"BEGIN IMMEDIATE; {_FROM_1 if old else _SCHEMA} PRAGMA user_version = {FORMAT}; COMMIT;"
        )

    def close(self) -> None:
        self._db.close()
        self._unlock()

    def _unlock(self) -> None:
        if self._lock is not None:
            self._lock.close()

    def begin(self, example: Example) -> list[Event]:
        """What is recorded of this example as it is now; what was recorded of its former content is forgotten."""
        now = content_of(example)
        found = self._row(example.id)
        if found is None or found[2] != now:
            with self._sentences(), self._db:
                self._db.execute("BEGIN")
                self._db.execute("DELETE FROM events WHERE example = ?", (example.id,))
                self._db.execute("INSERT OR REPLACE INTO outcomes VALUES (?, 'open', '', ?)", (example.id, now))
            return []
        return self.events(example.id)

    def adopt(self, example: Example) -> None:
        """Take what a former version recorded under this id, and without its content, for this example's."""
        self._write("UPDATE outcomes SET content = ? WHERE example = ?", (content_of(example), example.id))

    def commit(self, example: str, n: int, event: Event) -> None:
        """Record the n-th event of an example (0: its baseline)."""
        body = json.dumps(event, default=_fields, ensure_ascii=False)
        self._write("INSERT INTO events VALUES (?, ?, ?, ?)", (example, n, type(event).__name__, body))

    def finish(self, example: str, status: Status, reason: str = "") -> None:
        """Record how an example that was begun ended. A failed one is tried again by the next run.

        A search that is done stays so, whatever becomes of what is measured later.
        """
        sql = "UPDATE outcomes SET status = ?, reason = ? WHERE example = ? AND status != 'done'"
        self._write(sql, (status, reason, example))

    def reopen(self) -> None:
        """Forget which examples failed, so that this run tries them again."""
        self._write("UPDATE outcomes SET status = 'open', reason = '' WHERE status = 'failed'", ())

    def events(self, example: str) -> list[Event]:
        with self._sentences():
            rows = self._db.execute("SELECT kind, body FROM events WHERE example = ? ORDER BY n", (example,))
            return [decode(kind, json.loads(body)) for kind, body in rows]

    def standing(self, example: Example) -> tuple[Standing, str]:
        """How the search of this example, as it is now, stands, and why, where it did not end well."""
        found = self._row(example.id)
        if found is None:
            return "new", ""
        status, reason, content = found
        if content != content_of(example):
            return ("unknown" if content == UNKNOWN else "changed"), ""
        return status, reason

    def finished(self) -> int:
        """Examples that have been searched to the end."""
        with self._sentences():
            [(count,)] = self._db.execute("SELECT count(*) FROM outcomes WHERE status = 'done'")
            return int(count)

    def is_measured(self, example: str) -> bool:
        """Whether the last event of its search, `Worth`, is there."""
        with self._sentences():
            sql = "SELECT 1 FROM events WHERE example = ? AND kind = 'Worth' LIMIT 1"
            return self._db.execute(sql, (example,)).fetchone() is not None

    def is_former(self) -> bool:
        """Whether it holds searches that a former version recorded without their content."""
        with self._sentences():
            sql = "SELECT 1 FROM outcomes WHERE content = ? LIMIT 1"
            return self._db.execute(sql, (UNKNOWN,)).fetchone() is not None

    def _row(self, example: str) -> tuple[Status, str, str] | None:
        with self._sentences():
            sql = "SELECT status, reason, content FROM outcomes WHERE example = ?"
            found: tuple[Status, str, str] | None = self._db.execute(sql, (example,)).fetchone()
            return found

    def _write(self, statement: str, values: tuple[object, ...]) -> None:
        """One transaction. At most once a second it also waits for the disk, for all that came before it."""
        with self._sentences():
            now = time.monotonic()
            if now - self._synced < SYNC_SECONDS:
                self._db.execute(statement, values)
                return
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.execute(statement, values)
            self._db.execute("PRAGMA synchronous = NORMAL")
            self._synced = now

    @contextmanager
    def _sentences(self) -> Iterator[None]:
        """Raises: RunDirError: what SQLite says of the file."""
        try:
            yield
        except sqlite3.IntegrityError:
            raise  # a mistake of ours
        except sqlite3.OperationalError as error:
            raise RunDirError(f"{self.path}: {_why(error)}") from error
        except sqlite3.DatabaseError as error:
            if error.sqlite_errorcode == sqlite3.SQLITE_NOTADB:
                raise RunDirError(f"{self.path}: not a ledger ({error}); choose another run_dir") from error
            raise RunDirError(_damaged(self.path, str(error))) from error


def _fields(value: Any) -> dict[str, Any]:
    """The fields of an event, one level of it: what `asdict` gives, but for the copies."""
    return {name: getattr(value, name) for name in value.__slots__}


_FLAT: dict[str, type[Event]] = {"Baseline": Baseline, "Asked": Asked, "Weighed": Weighed, "Tagged": Tagged}
"""Events that hold nothing but texts, numbers and what they cost."""


def decode(kind: str, body: dict[str, Any]) -> Event:
    """An event from its stored form."""
    body["usage"] = Usage(**body["usage"])
    if (flat := _FLAT.get(kind)) is not None:
        return flat(**body)
    if kind == "Attribution":
        return Attribution(**body | {"changes": tuple(body["changes"])})
    if kind == "Worth":
        removals = body["removals"]
        blind = tuple(Candidate(**candidate) for candidate in body["blind"])
        return Worth(**body | {"blind": blind, "removals": None if removals is None else tuple(removals)})
    body["candidates"] = tuple(Candidate(**candidate) for candidate in body["candidates"])
    if kind == "First":
        others = tuple(Start(**other | {"segments": tuple(other["segments"])}) for other in body.get("others", ()))
        return First(**body | {"segments": tuple(body["segments"]), "others": others})
    return Step(**body)


def _locked(path: Path) -> Any:
    """Held until the file is closed; a lock of its own, so that others may read the ledger."""
    try:
        file = path.with_name(f".{path.name}.lock").open("w")
    except OSError as error:
        raise RunDirError(f"{path}: cannot be written ({error.strerror or error})") from error
    try:
        hold(file, path)
    except RunDirError:
        file.close()
        raise
    return file


def is_locked(path: Path) -> bool:
    """Whether a process is writing the ledger."""
    try:
        _locked(path).close()
    except RunDirError:
        return True
    return False


def _damaged(path: Path, detail: str) -> str:
    detail = " ".join(detail.split())
    return (
        f"{path}: damaged ({detail}): put a copy of it back, or choose another run_dir= to search anew; the "
        "trajectories beside it are those of the last export"
    )


def _why(error: sqlite3.OperationalError) -> str:
    if "locked" in str(error):
        return "another process is working in this run folder"
    return f"cannot be written ({error})"
