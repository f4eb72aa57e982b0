"""Stored rows of a step, and the loop that fills them: what is stored is not done again.

A row is one line of JSON, written as soon as it is there, so a kill loses only the work in flight. Knows nothing
of what the rows mean.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from tqdm import tqdm

from reer.errors import BackendError, DataError, RunDirError, UserError
from reer.run.executor.stopping import draining
from reer.run.launch import hold

Row = dict[str, Any]
Item = TypeVar("Item")


class Rows:
    """An append-only file of JSON lines, held by one process at a time."""

    def __init__(self, path: Path, fields: Sequence[str] = ()) -> None:
        """Read the rows that are there; a last line that a kill cut short is dropped.

        Raises:
            RunDirError: the file cannot be written, or another process holds it.
            DataError: a line before the last one is no JSON object, or lacks one of the fields.
        """
        self.path, self._fields = path, fields
        try:
            self._file = path.open("a+b")
        except OSError as error:
            raise RunDirError(f"{path}: cannot be written ({error.strerror or error})") from error
        try:
            hold(self._file, path)
            self.rows = self._read()
        except UserError:
            self._file.close()
            raise

    def append(self, row: Row) -> None:
        self._file.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
        self._file.flush()
        self.rows.append(row)

    def __enter__(self) -> "Rows":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def _read(self) -> list[Row]:
        self._file.seek(0)
        whole, _, rest = self._file.read().rpartition(b"\n")
        if rest:
            self._file.truncate(len(whole) + 1 if whole else 0)
        return _rows(self.path, whole, self._fields)


def peek(path: Path, fields: Sequence[str] = ()) -> list[Row]:
    """The rows of a file that is left as it is, whoever holds it; none where there is no file.

    Raises:
        DataError: a line before the last one is no JSON object, or lacks one of the fields.
    """
    return _rows(path, path.read_bytes().rpartition(b"\n")[0], fields) if path.exists() else []


def _rows(path: Path, whole: bytes, fields: Sequence[str]) -> list[Row]:
    return [_row(path, n, line, fields) for n, line in enumerate(whole.splitlines(), start=1) if line.strip()]


def _row(path: Path, number: int, line: bytes, fields: Sequence[str]) -> Row:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise DataError(f"{path}, row {number}: broken JSON ({error})") from error
    if not isinstance(row, dict):
        raise DataError(f"{path}, row {number}: not a JSON object")
    if absent := [field for field in fields if field not in row]:
        raise DataError(f"{path}, row {number}: it has no '{absent[0]}'")
    return row


async def fill(
    rows: Rows, work: Sequence[Item], one: Callable[[Item], Awaitable[Row]], *, concurrency: int, title: str
) -> dict[Item, str]:
    """Turn every item into a row, at most `concurrency` at once; rows are stored in the order they come.

    Returns the items whose model call failed, with the reason: they have no row and are tried again next time.

    Raises:
        KeyboardInterrupt: it was told to stop; rows that came within a few seconds are stored.
    """
    async with draining() as stop:
        return await _fill(rows, work, one, asyncio.Semaphore(concurrency), title, stop)


async def _fill(
    rows: Rows,
    work: Sequence[Item],
    one: Callable[[Item], Awaitable[Row]],
    slots: asyncio.Semaphore,
    title: str,
    stop: asyncio.Event,
) -> dict[Item, str]:
    failed: dict[Item, str] = {}

    async def attempt(item: Item) -> None:
        async with slots:
            if stop.is_set():
                return
            try:
                rows.append(await one(item))
            except BackendError as error:
                failed[item] = str(error)

    tasks = [asyncio.create_task(attempt(item)) for item in work]
    try:
        with tqdm(total=len(tasks), desc=title, disable=not tasks) as bar:
            for task in asyncio.as_completed(tasks):
                await task
                bar.update()
    finally:
        for pending in tasks:
            pending.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return failed
