"""Parquet shards, named as the Hub does: data/SPLIT-00000-of-00003.parquet. Knows nothing of what rows mean."""

from pathlib import Path
from types import TracebackType
from typing import Any

BATCH = 256
"""Rows of one row group: what is held in memory."""


class Shards:
    """The shards of one split, written row by row; they get their names when all rows are in."""

    def __init__(self, folder: Path, split: str, schema: Any, shard_rows: int) -> None:
        self._folder, self._split, self._schema, self._most = folder, split, schema, shard_rows
        self._writer: Any = None
        self._batch: list[dict[str, Any]] = []
        self.rows = self.files = 0
        self.arrow_bytes = self.parquet_bytes = 0
        """In memory, and on the disk once all rows are in."""

    def write(self, row: dict[str, Any]) -> None:
        if self.rows == self.files * self._most:
            self._close()
            self._open()
        self._batch.append(row)
        self.rows += 1
        if len(self._batch) == BATCH:
            self._flush()

    def __enter__(self) -> "Shards":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()
        for number in range(self.files if kind is None else 0):
            name = f"{self._split}-{number:05}-of-{self.files:05}.parquet"
            self.parquet_bytes += self._path(number).rename(self._folder / name).stat().st_size

    def _path(self, number: int) -> Path:
        return self._folder / f".{self._split}-{number}.tmp"

    def _open(self) -> None:
        import pyarrow.parquet as pq

        self._writer = pq.ParquetWriter(self._path(self.files), self._schema)
        self.files += 1

    def _flush(self) -> None:
        import pyarrow as pa

        table = pa.Table.from_pylist(self._batch, schema=self._schema)
        self._writer.write_table(table)
        self.arrow_bytes += table.nbytes
        self._batch = []

    def _close(self) -> None:
        if self._writer is not None:
            self._flush()
            self._writer.close()
            self._writer = None
