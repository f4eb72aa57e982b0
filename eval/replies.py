"""Replies of judges by content hash, across runs: what a judge was asked once on this machine it is not asked again.

The key is everything that decides a reply: judge and address, messages, parameters, schema, repeat, version of the
rubric. Only replies that were usable are kept, and none expires. One SQLite file in the user's cache folder; whatever
goes wrong with it, the judge is asked instead.
"""

import logging
import sqlite3
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path

from reer.backend.models import cache_dir
from reer.manifest import digest
from reer.types import GenerateRequest

log = logging.getLogger(__name__)

WAIT = 1.0
"""Seconds to wait for another process that writes."""


class Replies:
    """Texts that one judge replied."""

    def __init__(self, identity: str, path: Path) -> None:
        """`identity` names the judge and where it is served."""
        self._identity = identity
        self._path = path
        self._db: sqlite3.Connection | None = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, isolation_level=None, timeout=WAIT, check_same_thread=False)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")
            self._db.execute(
                "CREATE TABLE IF NOT EXISTS replies (key BLOB PRIMARY KEY, text TEXT NOT NULL) WITHOUT ROWID"
            )
        except (OSError, sqlite3.Error) as error:
            self._do_without(error)

    @classmethod
    def open(cls, identity: str) -> "Replies":
        """Those in the user's cache folder."""
        return cls(identity, cache_dir() / "cache.db")

    def key(self, call: GenerateRequest, repeat: int, version: str) -> bytes:
        return sha256(digest(self._identity, asdict(call), repeat, version).encode()).digest()

    def get(self, key: bytes) -> str | None:
        if self._db is None:
            return None
        try:
            row = self._db.execute("SELECT text FROM replies WHERE key = ?", (key,)).fetchone()
        except sqlite3.Error as error:
            self._do_without(error)
            return None
        return str(row[0]) if row else None

    def put(self, key: bytes, text: str) -> None:
        if self._db is None:
            return
        try:
            self._db.execute("INSERT OR IGNORE INTO replies VALUES (?, ?)", (key, text))
        except sqlite3.Error as error:
            self._do_without(error)

    def _do_without(self, error: Exception) -> None:
        log.warning("%s cannot be used (%s): judges are asked anew", self._path, error)
        self._db = None
