"""What a training run keeps in its folder: inputs, where it stands, summary, and what the user is told of them.

config.yaml, manifest.json ─▶ metrics.jsonl, checkpoints/ ─▶ training.json (trained) ─▶ model/ ─▶ summary.json (done)
Imports no torch at the top: a finished run answers at once.
"""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reer.config import SftConfig
from reer.errors import RunDirError
from reer.files.rows import exists, files_of
from reer.run.manifest import sha256, write_json, write_jsonl, write_manifest
from reer.run.tracking import Tracker, open_tracker

from ..examples.data import Prepared
from ..mixing.general import inputs_of

if TYPE_CHECKING:
    from trl import SFTTrainer

UNITS = {
    "loss": "nats per supervised token",
    "entropy": "nats per supervised token",
    "nll_answer": "nats per answer token of held-out rows",
    "nll_thinking": "nats per thinking token of held-out rows",
    "num_tokens": "tokens since the start",
    "learning_rate": "of the optimiser",
    "tokens": "of one epoch",
    "seconds": "since the run was last started",
}
"""Of the numbers that the tracker is told."""
FOLLOW = 10.0
"""Seconds between two looks at what other processes have measured."""


def begun(run_dir: Path) -> bool:
    """Whether anything was trained here yet; before that, the folder may be used with other settings."""
    metrics = run_dir / "metrics.jsonl"
    return is_trained(run_dir) or (metrics.exists() and metrics.stat().st_size > 0)


def is_trained(run_dir: Path) -> bool:
    """Whether training came to its end and what was trained is saved."""
    return (run_dir / "training.json").exists()


def is_finished(run_dir: Path) -> bool:
    """summary.json is written last."""
    return (run_dir / "summary.json").exists() and (run_dir / "model").is_dir()


def refuse_other_data(config: SftConfig) -> None:
    """A run is continued only on the files it began with. (A finished one does not need them any more.)"""
    run_dir, sources = Path(config.run_dir), [config.data.trajectories, *filter(None, [config.mix.general.path])]
    manifest = run_dir / "manifest.json"
    if manifest.exists() and all(map(exists, sources)):
        began = [entry["sha256"] for entry in json.loads(manifest.read_text(encoding="utf-8"))["inputs"]]
        if began != [sha256(path) for source in sources for path in files_of(source)]:
            raise RunDirError(
                f"{run_dir} was made from another version of {' or '.join(sources)}; choose another name= or run_dir="
            )


def write_inputs(config: SftConfig, run_dir: Path, prepared: Prepared, dtype: str) -> None:
    """What this run is made of, before it starts: manifest.json, and the rows that are left out."""
    write_manifest(
        run_dir,
        stage=config.stage,
        seed=config.seed,
        inputs=[*files_of(config.data.trajectories), *inputs_of(config.mix.general)],
        models={"base": {"model": config.model.path, "revision": config.model.revision, "dtype": dtype}},
        layout=config.layout.name,
        date=config.layout.date,
        columns=prepared.notes.table(),
        mix=prepared.tally.summary(),
    )
    left_out: list[dict[str, Any]] = [{"status": "quarantined", **asdict(row)} for row in prepared.quarantined]
    left_out += [{"status": "dropped", "id": identity, "reason": "too_long"} for identity in prepared.too_long]
    write_jsonl(run_dir / "quarantine.jsonl", left_out + prepared.tally.listed)


def trained_folder(config: SftConfig) -> str:
    """Where in the run folder the processes save what they trained: adapters stay there, weights move into model/."""
    return "weights" if config.peft.method is None else "adapter"


def write_training(run_dir: Path, trainer: "SFTTrainer", facts: dict[str, Any], seconds: float) -> None:
    """Mark training as ended; `facts` are processes and rows_per_step.

    `seconds` are those since the run was last started.
    """
    state, chosen = trainer.state, trainer.args.load_best_model_at_end
    best = int(state.best_global_step or 0) or None if chosen else None
    ended = {"steps": state.global_step, "planned_steps": state.max_steps, "best_step": best}
    write_json(run_dir / "training.json", {**ended, **facts, "seconds": round(seconds, 1)})


def tracker_of(config: SftConfig) -> Tracker:
    """The run's tracker; opened again, it continues the same run."""
    run_dir = Path(config.run_dir)
    return open_tracker(
        config.tracking, name=config.name, stage=config.stage, run_dir=run_dir, config=asdict(config), units=UNITS
    )


@contextmanager
def followed(run_dir: Path, tracker: Tracker) -> Iterator[None]:
    """Tells the tracker what other processes write into metrics.jsonl, while they do."""
    ended, told = threading.Event(), [-1]

    def watch() -> None:
        while not ended.wait(FOLLOW):
            told.append(tell(run_dir, tracker, after=told[-1], complete=False))

    watching = threading.Thread(target=watch, daemon=True)
    watching.start()
    try:
        yield
    finally:
        ended.set()
        watching.join()
    tell(run_dir, tracker, after=told[-1])


def tell(run_dir: Path, tracker: Tracker, *, after: int = -1, complete: bool = True) -> int:
    """Tells the tracker the rows of metrics.jsonl behind a step; returns the last step told.

    Unless they are `complete` the last row is left: more may be measured at its step.
    """
    path = run_dir / "metrics.jsonl"
    rows = list(map(json.loads, path.read_text(encoding="utf-8").splitlines())) if path.exists() else []
    for row in rows if complete else rows[:-1]:
        if row["step"] > after:
            tracker.log(row, step=row["step"])
            after = row["step"]
    return after
