"""What the tracker hears of a training: one run, from the first step to the summary."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from reer.config import SftConfig, TrackingConfig
from reer.run.manifest import write_jsonl
from reer.run.tracking import NoTracker
from train.running import record
from train.running.record import followed, tell
from train.sft import run


class Heard(NoTracker):
    """Remembers steps and values."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, float]] = []

    def log(self, values: Mapping[str, float], step: int) -> None:
        self.rows.append((step, values["loss"]))


def test_what_other_processes_measure_is_told_once_and_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record, "FOLLOW", 0.01)
    heard, path = Heard(), tmp_path / "metrics.jsonl"
    rows = [{"step": step, "loss": float(step)} for step in (1, 2, 3, 4)]
    with followed(tmp_path, heard):
        for n in range(1, 4):
            write_jsonl(path, rows[:n])
            while len(heard.rows) < n - 1:
                pass
        assert heard.rows == [(1, 1.0), (2, 2.0)], "more may be measured at the last step"
        write_jsonl(path, rows)
    assert heard.rows == [(1, 1.0), (2, 2.0), (3, 3.0), (4, 4.0)]
    assert tell(tmp_path, heard, after=3) == 4
    assert heard.rows[4:] == [(4, 4.0)]
    assert tell(tmp_path / "nowhere", heard) == -1


@pytest.mark.usefixtures("keyless")
def test_a_training_is_one_run_of_wandb_and_its_model_stays_here(
    make_config: Callable[..., SftConfig], tmp_path: Path
) -> None:
    import wandb

    def begun() -> list[Path]:
        return sorted((tmp_path / "run" / "wandb").glob("offline-run-*"), key=lambda path: path.stat().st_mtime_ns)

    def kept(folder: Path) -> bytes:
        return next(folder.glob("*.wandb")).read_bytes()

    config: Any = make_config(tracking=TrackingConfig(kind="wandb"))
    assert run(config) == 0
    wandb.teardown()
    [first] = begun()
    (tmp_path / "run" / "summary.json").unlink()  # as if it had been killed while it finished
    assert run(config) == 0
    wandb.teardown()
    second = next(folder for folder in begun() if folder != first)
    losses = [json.loads(line)["loss"] for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert len(losses) == 2
    for found in map(kept, (first, second)):
        assert b"supervised_tokens" in found
        assert all(str(loss).encode() in found for loss in losses), "each run holds every step, whichever is sent last"
        assert b"test-sft-summary" in found
        assert b"test-sft-report" in found
        assert b"test-sft-model" not in found
