import asyncio
import errno
import os
import signal
from pathlib import Path

import pytest

from eval.store import Row, Rows, fill
from reer.errors import BackendError, ConfigError, DataError, RunDirError
from reer.run.executor.stopping import listen


def test_a_cut_last_line_is_dropped_and_the_file_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"id": 1}\n{"id": 2, "text": "\xe6\x9c')
    with Rows(path) as rows:
        assert rows.rows == [{"id": 1}]
        rows.append({"id": 2, "text": "月"})
    with Rows(path) as rows:
        assert [row["id"] for row in rows.rows] == [1, 2]


def test_a_broken_row_before_the_end_names_file_and_row(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"id": 1}\nnot json\n{"id": 2}\n')
    with pytest.raises(DataError, match=r"rows\.jsonl, row 2: broken JSON"):
        Rows(path)


def test_one_process_at_a_time(tmp_path: Path) -> None:
    with Rows(tmp_path / "rows.jsonl"), pytest.raises(RunDirError, match="another process"):
        Rows(tmp_path / "rows.jsonl")


def test_a_file_system_without_locks_is_said_and_worked_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def unsupported(*_: object) -> None:
        raise OSError(errno.ENOTSUP, "Operation not supported")

    monkeypatch.setattr("fcntl.flock", unsupported)
    with Rows(tmp_path / "rows.jsonl") as rows:
        rows.append({"id": 1})
    assert "no locks here (Operation not supported)" in caplog.text


def test_a_failed_call_leaves_no_row_and_its_reason(tmp_path: Path) -> None:
    async def one(item: str) -> Row:
        if item == "b":
            raise BackendError("server away")
        return {"id": item}

    with Rows(tmp_path / "rows.jsonl") as rows:
        failed = asyncio.run(fill(rows, ["a", "b", "c"], one, concurrency=2, title="test"))
        assert failed == {"b": "server away"}
        assert {row["id"] for row in rows.rows} == {"a", "c"}


def test_at_most_so_many_at_once(tmp_path: Path) -> None:
    running = most = 0

    async def one(item: int) -> Row:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.001)
        running -= 1
        return {"id": item}

    with Rows(tmp_path / "rows.jsonl") as rows:
        asyncio.run(fill(rows, range(20), one, concurrency=3, title="test"))
    assert most == 3


def test_a_mistake_of_the_user_stops_everything(tmp_path: Path) -> None:
    async def one(item: int) -> Row:
        await asyncio.sleep(0 if item == 0 else 60)
        raise ConfigError("wrong")

    with Rows(tmp_path / "rows.jsonl") as rows, pytest.raises(ConfigError):
        asyncio.run(fill(rows, range(3), one, concurrency=3, title="test"))


def test_rows_in_flight_at_ctrl_c_are_stored_and_no_others_begun(tmp_path: Path) -> None:
    async def one(item: int) -> Row:
        if item == 1:
            os.kill(os.getpid(), signal.SIGINT)
        await asyncio.sleep(0.05)
        return {"id": item}

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    listen()
    try:
        with Rows(tmp_path / "rows.jsonl") as rows:
            with pytest.raises(KeyboardInterrupt):
                asyncio.run(fill(rows, range(9), one, concurrency=2, title="test"))
            assert [row["id"] for row in rows.rows] == [0, 1]
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
