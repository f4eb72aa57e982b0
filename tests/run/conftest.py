"""Stages as a user starts them, in this process."""

import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import pytest

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Command]:
    """Calls a stage's `main` in tmp_path with these arguments; gives its exit code and what it printed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")  # the command sets it: undone after the test
    before = signal.getsignal(signal.SIGTERM)

    def call(main: Callable[[], NoReturn], *arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["reer", *arguments])
        with pytest.raises(SystemExit) as stop:
            main()
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        return int(stop.value.code or 0), said.out, said.err

    yield call
    signal.signal(signal.SIGTERM, before)
