"""A trajectories file and a config for the tiny model."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from reer.config import DataConfig, ModelConfig, PeftConfig, SftConfig, TrainerConfig
from reer.types import Example

THINKING = "I will begin with a picture.\n\nThen, 慢慢地, I turn it 🐕 around."
ARGS = {
    "max_steps": 2,
    "learning_rate": 1e-3,
    "per_device_train_batch_size": 2,
    "logging_steps": 1,
    "save_strategy": "no",
    "dataloader_pin_memory": False,
}


@pytest.fixture
def trajectories(pairs: list[Example], tmp_path: Path) -> Path:
    path = tmp_path / "trajectories.jsonl"
    rows = [
        {
            "id": e.id,
            "query": e.query,
            "thinking": THINKING,
            "answer": e.answer,
            "source": e.source,
            "licence": e.licence,
        }
        for e in pairs
    ]
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def make_config(trajectories: Path, tiny_model: Path, tmp_path: Path) -> Callable[..., SftConfig]:
    """Config of a two-step run in tmp_path; `args` are added to the trainer's."""

    def make(args: dict[str, Any] | None = None, peft: PeftConfig | None = None, **keys: Any) -> SftConfig:
        return SftConfig(
            name="test",
            stage="sft",
            run_dir=str(tmp_path / "run"),
            data=DataConfig(trajectories=str(trajectories)),
            model=ModelConfig(path=str(tiny_model), dtype="float32", device="cpu", max_length=512),
            trainer=TrainerConfig(args={**ARGS, **(args or {})}, held_out=keys.pop("held_out", 0)),
            peft=peft or PeftConfig(),
            **keys,
        )

    return make


@pytest.fixture(autouse=True)
def few_threads() -> Iterator[None]:
    """Two threads wait for each other longer than a tiny model computes."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
