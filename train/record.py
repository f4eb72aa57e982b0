"""What a training run keeps in its folder: inputs, where it stands, summary, and what the user is told of them.

config.yaml, manifest.json ─▶ metrics.jsonl, checkpoints/ ─▶ training.json (trained) ─▶ model/ ─▶ summary.json (done)
Imports no torch at the top: a finished run answers at once.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reer.config import SftConfig
from reer.errors import RunDirError
from reer.launch import DONE, PARTIAL
from reer.manifest import sha256, write_json, write_jsonl, write_manifest, write_text
from reer.types import FORMAT_VERSION

from .data import Prepared, count
from .work import Work

if TYPE_CHECKING:
    from trl import SFTTrainer

    from reer.tracking import Tracker


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


def refuse_other_data(run_dir: Path, trajectories: Path) -> None:
    """A run is continued only on the file it began with. (A finished one does not need the file any more.)"""
    manifest = run_dir / "manifest.json"
    if manifest.exists() and trajectories.is_file():
        began = json.loads(manifest.read_text(encoding="utf-8"))["inputs"][0]["sha256"]
        if began != sha256(trajectories):
            raise RunDirError(
                f"{run_dir} was made from another version of {trajectories}; choose another name= or run_dir="
            )


def write_inputs(config: SftConfig, run_dir: Path, prepared: Prepared, dtype: str) -> None:
    """What this run is made of, before it starts: manifest.json, and the rows that are left out."""
    write_manifest(
        run_dir,
        stage=config.stage,
        seed=config.seed,
        inputs=[Path(config.data.trajectories)],
        models={"base": {"model": config.model.path, "revision": config.model.revision, "dtype": dtype}},
        layout=config.layout.name,
    )
    left_out = [{"status": "quarantined", **asdict(row)} for row in prepared.quarantined]
    left_out += [{"status": "dropped", "id": identity, "reason": "too_long"} for identity in prepared.too_long]
    write_jsonl(run_dir / "quarantine.jsonl", left_out)


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


def tracker_of(config: SftConfig) -> "Tracker":
    """The run's tracker; opened again, it continues the same run."""
    from reer.tracking import open_tracker

    run_dir = Path(config.run_dir)
    return open_tracker(config.tracking, name=config.name, stage=config.stage, run_dir=run_dir, config=asdict(config))


def finish(config: SftConfig, work: Work) -> None:
    """What is done once, after training: the model folder, its NLL on the held-out trajectories, card and summary.

    summary.json is written last and marks the run as finished.
    """
    from .arguments import max_length
    from .card import model_card
    from .measure import measure
    from .model import complete_model
    from .training import runnable

    run_dir = Path(config.run_dir)
    folder, trained = run_dir / "model", run_dir / trained_folder(config)
    if trained.is_dir():  # else it stands in model/ already: this step was interrupted after it
        complete_model(config, trained, work.layout.tokenizer, folder, work.dtype)  # type: ignore[arg-type]
    device = "auto" if config.model.device.startswith("cuda") else config.model.device  # the others are hidden
    longest = max(config.model.max_length, max_length(config))
    with runnable(config):
        nll = measure(folder, work.held_out, longest, device) if work.held_out else None
    summary = summarise(run_dir, work, nll)
    write_text(folder / "README.md", model_card(config, summary, work.training, work.dtype))
    write_json(run_dir / "summary.json", summary)
    tracker = tracker_of(config)
    tracker.summary(summary)
    tracker.artifact(folder, "model")
    tracker.finish()


def summarise(run_dir: Path, work: Work, held_out: dict[str, float] | None) -> dict[str, Any]:
    """The content of summary.json. Tokens are those of one epoch; losses are in nats per supervised token."""
    rows = map(json.loads, (run_dir / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
    losses = [row["loss"] for row in rows if "loss" in row]
    training = json.loads((run_dir / "training.json").read_text(encoding="utf-8"))
    tokens, supervised = count(work.training)
    return {
        "examples": len(work.training),
        **training,
        "tokens": tokens,
        "supervised_tokens": supervised,
        "loss": {"first": losses[0], "last": losses[-1]},
        "held_out": held_out,
        "dropped": {"too_long": len(work.prepared.too_long)},
        "quarantined": len(work.prepared.quarantined),
        "model": str(run_dir / "model"),
        "format_version": FORMAT_VERSION,
    }


def report(run_dir: Path) -> int:
    """Draw the page if it is not there yet, tell the user, choose the exit code. Needs no model and no torch."""
    from reer.report import write_page

    summary = json.loads((run_dir / "summary.json").read_text(encoding="utf-8"))
    page = run_dir / "report.html"
    if not page.exists():
        write_page([run_dir], page)
    loss, held_out, too_long = summary["loss"], summary["held_out"], summary["dropped"]["too_long"]
    print(f"trained on    {summary['examples']} trajectories, {summary['tokens']:,} tokens an epoch, "
          f"{summary['steps']} steps, {summary['seconds']:.0f} s"
          + (f", {processes} processes" if (processes := summary["processes"]) > 1 else ""))  # fmt: skip
    if summary["steps"] < summary["planned_steps"]:
        print(f"              stopped early: the model is that of step {summary['best_step']}")
    if too_long or summary["quarantined"]:
        print(f"              {too_long} too long and dropped, {summary['quarantined']} quarantined: see "
              f"{run_dir / 'quarantine.jsonl'}")  # fmt: skip
    print(f"loss          {loss['first']:.3f} -> {loss['last']:.3f} (nats per supervised token)")
    if held_out:
        thinking = "" if held_out["nll_thinking"] is None else f", {held_out['nll_thinking']:.3f} thinking"
        print(f"held out      {held_out['nll_answer']:.3f} answer{thinking} "
              f"(nats per token, {held_out['examples']} trajectories)")  # fmt: skip
    print(f"model         {summary['model']}")
    print(f"page          {page}")
    return PARTIAL if too_long or summary["quarantined"] else DONE
