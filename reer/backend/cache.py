"""What is remembered across runs by content hash, in one SQLite file of the user's cache folder: scores, any table.

The same ids under the same weights are scored once on this machine. A score from the cache reports the tokens it once
cost, and no seconds. What it shared with others is not in memory then, so that the next ones may cost more tokens than
they would have: with a budget of tokens a search can end elsewhere. Where that matters (scripts/search/compare),
`score_cache=false`. Deleting the file costs only time, and whatever goes wrong with it, the
model is asked instead. Knows nothing of models.
"""

import hashlib
import logging
import sqlite3
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from reer.types import Score, Scored, Scorer, ScoreRequest, Tokenizer, Usage

log = logging.getLogger(__name__)

WAIT = 1.0
"""Seconds to wait for another process that writes."""


class Table:
    """Rows by key. A table that cannot be read or written is said to be so once, and is empty from then on."""

    def __init__(self, path: Path, name: str, columns: str) -> None:
        """`columns` in SQL, after the key."""
        self._path = path
        self._name = name
        self._db: sqlite3.Connection | None = None
        schema = f"CREATE TABLE IF NOT EXISTS {name} (key BLOB PRIMARY KEY, {columns}) WITHOUT ROWID"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, isolation_level=None, timeout=WAIT, check_same_thread=False)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")
            self._db.execute(schema)
        except (OSError, sqlite3.Error) as error:
            self._do_without(error)

    def get(self, key: bytes) -> tuple[Any, ...] | None:
        """The row's columns after the key, or None."""
        if self._db is None:
            return None
        try:
            row = self._db.execute(f"SELECT * FROM {self._name} WHERE key = ?", (key,)).fetchone()
        except sqlite3.Error as error:
            self._do_without(error)
            return None
        return None if row is None else tuple(row[1:])

    def put(self, rows: Sequence[tuple[object, ...]]) -> None:
        """Add rows, the key first; one that is there stays as it is."""
        if not rows or self._db is None:
            return
        places = ", ".join("?" * len(rows[0]))
        try:
            self._db.executemany(f"INSERT OR IGNORE INTO {self._name} VALUES ({places})", rows)
        except sqlite3.Error as error:
            self._do_without(error)

    def _do_without(self, error: Exception) -> None:
        log.warning("%s cannot be used (%s): %s are made anew", self._path, error, self._name)
        self._db = None


class CachedScorer:
    """A scorer that remembers."""

    def __init__(self, scorer: Scorer, identity: str, path: Path) -> None:
        """`identity` names weights and dtype: scores of two identities are never mixed."""
        self.scorer = scorer
        self._identity = identity.encode()
        columns = "nll REAL NOT NULL, tokens INTEGER NOT NULL, objective REAL, scored_tokens INTEGER NOT NULL"
        self._table = Table(path, "scores", f"{columns}, reused_tokens INTEGER NOT NULL")

    @property
    def tokenizer(self) -> Tokenizer:
        return self.scorer.tokenizer

    @property
    def max_length(self) -> int:
        return self.scorer.max_length

    async def score(self, requests: Sequence[ScoreRequest]) -> list[Scored]:
        """See `types.Scorer`."""
        keys = [self._key(request) for request in requests]
        found = {key: scored for key in keys if (scored := self._read(key))}  # none with parts: they are not kept
        missing = {key: request for key, request in zip(keys, requests, strict=True) if key not in found}
        fresh = dict(zip(missing, await self.scorer.score(list(missing.values())), strict=True)) if missing else {}
        self._write(fresh)
        found |= fresh
        return [found[key] for key in keys]

    async def next_token(self, prompts: Sequence[tuple[int, ...]], options: Sequence[int]) -> list[tuple[float, ...]]:
        """See `types.Scorer`; not remembered (the judge stores its verdicts)."""
        return await self.scorer.next_token(prompts, options)

    def _key(self, request: ScoreRequest) -> bytes:
        kind = "" if request.kind == "mean_nll" else f" {request.kind}"  # entries from before there were kinds count
        parts = f" {request.cuts}" if request.cuts else ""
        span = f"{request.start} {request.end} {request.skip} {request.clip}{kind}{parts}".encode()
        ids = array("q", request.ids[: request.end]).tobytes()
        return hashlib.sha256(b"\0".join((self._identity, span, ids))).digest()

    def _read(self, key: bytes) -> Scored | None:
        if (row := self._table.get(key)) is None:
            return None
        nll, tokens, objective, new, reused = row
        return Scored(Score(nll, tokens, objective), Usage(calls=1, scored_tokens=new, reused_tokens=reused))

    def _write(self, scored: dict[bytes, Scored]) -> None:
        self._table.put(
            [
                (key, s.score.nll, s.score.tokens, s.score.objective, s.usage.scored_tokens, s.usage.reused_tokens)
                for key, s in scored.items()
                if not s.score.parts
            ]
        )
