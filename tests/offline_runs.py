"""Reads what wandb keeps offline: the records of a .wandb file, by wandb's own protocol, without wandb's service.

The file is LevelDB's log: blocks of 32 KiB with pieces of records in them, each piece with a header of seven bytes
(checksum, length, whether it is whole or begins, goes on, or ends a record); the file itself begins with seven more.
"""

import json
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

BLOCK, HEADER = 32768, 7
WHOLE, LAST = 1, 4


def pieces(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = HEADER
    while at + HEADER <= len(data):
        if BLOCK - at % BLOCK < HEADER:
            at += BLOCK - at % BLOCK
            continue
        _, length, kind = struct.unpack_from("<IHB", data, at)
        yield kind, data[at + HEADER : at + HEADER + length]
        at += HEADER + length


def records(path: Path) -> Iterator[Any]:
    """Every record of a run, in order."""
    from wandb.proto import wandb_internal_pb2 as protocol

    begun = b""
    for kind, piece in pieces(path.read_bytes()):
        begun += piece
        if kind in (WHOLE, LAST):
            record = protocol.Record()
            record.ParseFromString(begun)
            yield record
            begun = b""


def _values(items: Any) -> dict[str, Any]:
    return {".".join(item.nested_key) or item.key: json.loads(item.value_json) for item in items}


class OfflineRun:
    """What a run says of itself."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.history: list[Mapping[str, Any]] = []
        self.config: dict[str, Any] = {}
        self.summary: dict[str, Any] = {}
        self.artifacts: dict[str, Any] = {}
        for record in records(next(folder.glob("*.wandb"))):
            kind = record.WhichOneof("record_type")
            if kind == "run":
                self.run = record.run
                self.config |= _values(record.run.config.update)
            elif kind == "config":
                self.config |= _values(record.config.update)
            elif kind == "history":
                self.history.append(_values(record.history.item))
            elif kind == "summary":
                self.summary |= _values(record.summary.update)
            elif kind == "artifact":
                self.artifacts[record.artifact.name] = record.artifact
            elif kind == "request" and record.request.WhichOneof("request_type") == "log_artifact":
                artifact = record.request.log_artifact.artifact
                self.artifacts[artifact.name] = artifact

    def logged(self, key: str) -> Any:
        """The last value of a key in the history."""
        return [row[key] for row in self.history if key in row][-1]

    def table(self, key: str) -> dict[str, Any]:
        """A table that was logged: its columns and rows."""
        path = self.folder / "files" / self.logged(f"{key}.path")
        return dict(json.loads(path.read_text(encoding="utf-8")))

    def content(self, artifact: str) -> dict[str, Any]:
        """What stands in the one file of an artifact."""
        [entry] = self.artifacts[artifact].manifest.contents
        return dict(json.loads(Path(entry.local_path).read_text(encoding="utf-8")))


def runs(folder: Path) -> list[OfflineRun]:
    """Of a run folder, oldest first, once wandb has written all of them."""
    import wandb

    wandb.teardown()
    found = (folder / "wandb").glob("offline-run-*")
    return [OfflineRun(path) for path in sorted(found, key=lambda path: path.stat().st_mtime_ns)]
