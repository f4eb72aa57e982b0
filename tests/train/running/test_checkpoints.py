import logging
from pathlib import Path

import pytest

from reer.config import DeepSpeedConfig, LaunchConfig, SftConfig
from reer.errors import RunDirError
from train.running import checkpoints


def written(folder: Path, step: int, *, marked: bool = True) -> Path:
    checkpoint = folder / f"checkpoint-{step}"
    (checkpoint / "global_step").mkdir(parents=True)
    (checkpoint / "trainer_state.json").write_text("{}")
    (checkpoint / "global_step" / "rank_1.pt").write_bytes(b"0" * 100)
    if marked:
        checkpoints.mark(checkpoint, {"processes": 2, "rows_per_step": 4, "last": False})
    return checkpoint


def test_the_newest_is_that_of_the_highest_step(tmp_path: Path) -> None:
    assert checkpoints.newest(tmp_path) is None
    written(tmp_path, 9)
    last = written(tmp_path, 10)
    assert checkpoints.newest(tmp_path) == last


def test_one_that_was_cut_short_is_passed_over_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Not all processes had written; a file shorter than it was; a file gone."""
    whole = written(tmp_path, 1)
    written(tmp_path, 2, marked=False)
    (written(tmp_path, 3) / "global_step" / "rank_1.pt").write_bytes(b"0" * 99)
    (written(tmp_path, 4) / "trainer_state.json").unlink()
    with caplog.at_level(logging.WARNING):
        assert checkpoints.newest(tmp_path) == whole
    assert [name for name in ("checkpoint-2", "checkpoint-3", "checkpoint-4") if name not in caplog.text] == []


def test_what_is_added_later_does_no_harm(tmp_path: Path) -> None:
    """DeepSpeed's universal form is written beside the rest."""
    checkpoint = written(tmp_path, 1)
    (checkpoint / "latest_universal").write_text("x")
    assert checkpoints.is_complete(checkpoint)


def test_a_run_is_not_continued_with_another_batch(tmp_path: Path) -> None:
    checkpoint = written(tmp_path, 1)
    checkpoints.refuse_other_batch(checkpoint, 4)
    with pytest.raises(RunDirError, match="made with 4 rows per optimiser step, and these settings make 8"):
        checkpoints.refuse_other_batch(checkpoint, 8)


@pytest.mark.parametrize(("deepspeed", "processes", "wanted"), [({}, 2, False), ({}, 4, True), (None, 4, False)])
def test_only_what_deepspeed_has_divided_is_converted(
    tmp_path: Path, deepspeed: dict | None, processes: int, wanted: bool
) -> None:
    config = SftConfig(
        stage="sft",
        run_dir="run",
        launch=LaunchConfig(processes=processes),
        deepspeed=DeepSpeedConfig(config=deepspeed),
    )
    assert checkpoints.other_processes(written(tmp_path, 1), config) == wanted


def test_a_checkpoint_that_cannot_be_converted_is_one_sentence(tmp_path: Path) -> None:
    checkpoint = written(tmp_path, 1)
    (checkpoint / "latest").write_text("global_step")
    with pytest.raises(RunDirError, match="cannot be continued with another launch.processes: DeepSpeed's converter"):
        checkpoints.convert(checkpoint)
    assert not (checkpoint / "latest_universal").exists()
