"""Replies of judges by content hash, across runs: what a judge was asked once on this machine it is not asked again.

The key is everything that decides a reply: judge and address, messages, parameters, schema, repeat, version of the
rubric. Only replies that were usable are kept, and none expires. One SQLite file in the user's cache folder; whatever
goes wrong with it, the judge is asked instead.
"""

from dataclasses import asdict
from hashlib import sha256
from pathlib import Path

from reer.backend.cache import Table
from reer.backend.models import cache_dir
from reer.text import digest
from reer.types import GenerateRequest


class Replies:
    """Texts that one judge replied."""

    def __init__(self, identity: str, path: Path) -> None:
        """`identity` names the judge and where it is served."""
        self._identity = identity
        self._table = Table(path, "replies", "text TEXT NOT NULL")

    @classmethod
    def open(cls, identity: str) -> "Replies":
        """Those in the user's cache folder."""
        return cls(identity, cache_dir() / "cache.db")

    def key(self, call: GenerateRequest, repeat: int, version: str) -> bytes:
        return sha256(digest(self._identity, asdict(call), repeat, version).encode()).digest()

    def get(self, key: bytes) -> str | None:
        row = self._table.get(key)
        return str(row[0]) if row else None

    def put(self, key: bytes, text: str) -> None:
        self._table.put([(key, text)])
