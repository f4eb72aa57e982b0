"""What bench/sft and bench/plan share: rows of real text at given lengths, and what a process holds in memory."""

import json
from pathlib import Path

from hydra import compose, initialize_config_module

from reer.config import PlanningConfig, load, register
from reer.layout import Encoded, Layout
from train.examples.data import Prepared, TrainingExample
from train.examples.work import Work
from train.planning.setup import Data

TEXTS = Path(__file__).parents[2] / "reer/files/data/pairs.jsonl"


def compose_config(overrides: list[str]) -> PlanningConfig:
    """The config of reer-sft, with the keys of reer-plan beside it."""
    register()
    with initialize_config_module("reer.conf", version_base="1.3"):
        return load(compose("plan", overrides=overrides), PlanningConfig)


def made_work(layout: Layout, lengths: list[int], dtype: str) -> Work:
    """Examples of exactly so many tokens: a query of 16, then thinking and answer in halves."""
    texts = [json.loads(line)["answer"] for line in TEXTS.read_text(encoding="utf-8").splitlines()]
    ids = layout.tokenizer.encode("\n\n".join(texts))
    ids = ids * (sum(lengths) // len(ids) + 1)
    examples, at = [], 0
    for number, length in enumerate(lengths):
        row = ids[at : at + length - 1] + (layout.tokenizer.end_of_turn,)
        at += length - 1
        encoded = Encoded(row, 16, (16 + length) // 2, length - 1)
        examples.append(TrainingExample(id=str(number), encoded=encoded, source="", licence=""))
    return Work(layout=layout, prepared=Prepared(examples), training=examples, held_out=[], dtype=dtype)


def made_data(lengths: list[int]) -> Data:
    """The same as reer-plan sees it."""
    total = sum(lengths)
    context = sum(n * n for n in lengths) / total
    return Data(examples=len(lengths), tokens=total, longest=max(lengths), context=context, source="made")


def resident(key: str) -> int:
    """VmRSS (now) or VmHWM (the most since `forget_peak`) of this process, in bytes."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(key))
    return int(line.split()[1]) * 1024


def forget_peak() -> None:
    """VmHWM starts anew from what is resident now."""
    Path("/proc/self/clear_refs").write_text("5")
