"""A disk that fills up while something is saved: one sentence, and what was whole before still is."""

import json
import resource
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from reer.config import SftConfig
from reer.errors import DiskFullError
from train.running import checkpoints
from train.sft import run

Make = Callable[..., SftConfig]
EVERY_STEP = {"save_strategy": "steps", "save_steps": 1, "max_steps": 3, "per_device_train_batch_size": 1}


@pytest.fixture
def limit() -> Iterator[Callable[[int], None]]:
    """No file of this process may grow beyond so many bytes, as if the disk were full there."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize(("size", "file"), [(100_000, "the weights in {}"), (600_000, "{}/")])
def test_a_checkpoint_without_room_is_one_sentence_and_the_last_whole_one_is_gone_on_from(
    make_config: Make,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    limit: Callable[[int], None],
    size: int,
    file: str,
) -> None:
    config, folder = make_config(EVERY_STEP), tmp_path / "run" / "checkpoints"
    marked = checkpoints.mark

    def fills_up(checkpoint: Path, facts: dict[str, Any]) -> None:
        marked(checkpoint, facts)
        limit(size)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "mark", fills_up)
        with pytest.raises(DiskFullError) as caught:
            run(config)
    limit(resource.RLIM_INFINITY)
    said = str(caught.value)
    assert said.startswith(f"the disk is full: {file.format(folder / 'checkpoint-2')}")
    assert " could not be written whole, " in said
    assert said.endswith(f"make room, and the same command continues from {folder / 'checkpoint-1'}")
    assert "\n" not in said
    assert [path.name for path in folder.glob("checkpoint-*")] == ["checkpoint-1"]  # the half one would only take room
    assert run(config) == 0
    steps = [json.loads(line)["step"] for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert steps == [1, 2, 3]


def test_a_model_without_room_loses_no_training(
    make_config: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: Callable[[int], None]
) -> None:
    config = make_config()
    trained = tmp_path / "run" / "training.json"

    def fills_up(*rest: Any) -> None:
        limit(4_000)
        wrote(*rest)

    from train.model import save

    wrote = save.save_tokenizer
    with monkeypatch.context() as patch:
        patch.setattr(save, "save_tokenizer", fills_up)
        with pytest.raises(DiskFullError, match="make room, and the same command continues from the trained weights"):
            run(config)
    limit(resource.RLIM_INFINITY)
    assert trained.exists()
    before = trained.stat().st_mtime_ns
    assert run(config) == 0
    assert trained.stat().st_mtime_ns == before
