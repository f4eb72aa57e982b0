"""What a run writes to its disk, against what it does write."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from reer.config import PeftConfig, SftConfig
from reer.errors import DiskFullError
from train.examples.work import read
from train.planning import disk as module
from train.planning.arithmetic import Parameters, Setup
from train.planning.disk import check_room, disk, of_training, standing
from train.sft import run

Make = Callable[..., SftConfig]
EVERY_STEP = {"save_strategy": "steps", "save_steps": 1, "max_steps": 3, "save_total_limit": 2}
LORA = PeftConfig(method="lora", args={"r": 64, "lora_alpha": 8, "target_modules": "all-linear"})
SIZES = {"layers": 2, "matrices": 0, "head": 0, "largest": 0, "attention": 0, "hidden": 0, "trains_head": True}


def written(folder: Path, *names: str) -> int:
    return sum(path.stat().st_size for name in names for path in folder.glob(name))


@pytest.mark.parametrize("peft", [PeftConfig(), LORA], ids=["full", "lora"])
def test_it_is_what_a_run_writes(make_config: Make, tmp_path: Path, peft: PeftConfig) -> None:
    config = make_config(EVERY_STEP, peft=peft)
    work = read(config)
    need = of_training(config, work.dtype, work.amount)
    assert run(config) == 0
    checkpoint = tmp_path / "run" / "checkpoints" / "checkpoint-3"
    assert written(checkpoint, "*.safetensors") == pytest.approx(need.weights, rel=0.05)
    assert written(checkpoint, "optimizer.pt") == pytest.approx(need.states, rel=0.05)
    assert written(tmp_path / "run", "model/*.safetensors", "adapter/*.safetensors") == pytest.approx(
        need.model, rel=0.05
    )
    assert need.checkpoints == 3
    assert len(list(checkpoint.parent.glob("checkpoint-*"))) == 2


@pytest.mark.parametrize(
    ("stage", "weights", "states"),
    [(2, 25_828_592 + 25_833_957, 77_485_061 + 77_484_997), (3, 25_828_592, 2 * 77_484_229)],
)
def test_deepspeed_s_share_against_files_that_two_processes_wrote(stage: int, weights: int, states: int) -> None:
    """12,913,152 parameters in bfloat16 under DeepSpeed 0.19.8, one step, Adam; sizes of the files as listed then."""
    parameters = Parameters(total=12_913_152, trainable=12_913_152, **SIZES)
    need = disk(parameters, Setup(tokens=1, gpus=2, stage=stage), 1)
    assert need.weights == pytest.approx(weights, rel=0.001)
    assert need.states == pytest.approx(states, rel=0.001)
    assert need.model == pytest.approx(25_828_592, rel=0.001)


@pytest.mark.parametrize(
    ("args", "wanted"),
    [
        ({"save_strategy": "no"}, 0),
        ({"save_strategy": "steps", "save_steps": 10}, 10),
        ({"save_strategy": "steps", "save_steps": 0.25}, 4),
        ({"save_strategy": "steps", "save_steps": 10, "save_total_limit": 2}, 3),
        ({"save_strategy": "epoch", "save_total_limit": 5}, 3),
    ],
)
def test_checkpoints_that_stand_at_once(args: dict[str, Any], wanted: int) -> None:
    known = {"save_steps": 500, "num_train_epochs": 3, "save_total_limit": None}
    assert standing(SimpleNamespace(**known | args), 100) == wanted  # type: ignore[arg-type]


def test_too_small_a_disk_is_told_before_anything_is_trained(
    make_config: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    config = make_config(EVERY_STEP)
    work = read(config)
    need = of_training(config, work.dtype, work.amount)
    monkeypatch.setattr(module, "free", lambda _: int(need.total) - 1)
    check_room(config, work.dtype, work.amount)
    assert "the disk may be too small: this run has, at its most, 3 checkpoints of 0.00 GB" in caplog.text
    monkeypatch.setattr(module, "free", lambda _: int(need.checkpoint))
    with pytest.raises(DiskFullError, match="the disk is too small: this run writes 3 checkpoints of"):
        run(config)
    assert not (tmp_path / "run").exists()
