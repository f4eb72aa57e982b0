"""What a training run keeps in its folder besides the model: inputs, summary, and what the user is told of them.

Imports no torch: a finished run answers at once.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from reer.config import SftConfig
from reer.errors import RunDirError
from reer.launch import DONE, PARTIAL
from reer.manifest import sha256, write_jsonl, write_manifest
from reer.types import FORMAT_VERSION

from .data import Prepared, TrainingExample, count


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


def summarise(
    model: Path,
    prepared: Prepared,
    training: Sequence[TrainingExample],
    steps: int,
    metrics: Sequence[dict[str, Any]],
    held_out: dict[str, float] | None,
    seconds: float,
) -> dict[str, Any]:
    """The content of summary.json. Tokens are those of one epoch; losses are in nats per supervised token."""
    tokens, supervised = count(training)
    return {
        "examples": len(training),
        "steps": steps,
        "tokens": tokens,
        "supervised_tokens": supervised,
        "loss": {"first": metrics[0]["loss"], "last": metrics[-1]["loss"]},
        "held_out": held_out,
        "dropped": {"too_long": len(prepared.too_long)},
        "quarantined": len(prepared.quarantined),
        "seconds": round(seconds, 1),
        "model": str(model),
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
          f"{summary['steps']} steps, {summary['seconds']:.0f} s")  # fmt: skip
    if too_long or summary["quarantined"]:
        print(f"              {too_long} too long and dropped, {summary['quarantined']} quarantined: see "
              f"{run_dir / 'quarantine.jsonl'}")  # fmt: skip
    print(f"loss          {loss['first']:.3f} -> {loss['last']:.3f} (nats per supervised token)")
    if held_out:
        print(f"held out      {held_out['nll_answer']:.3f} answer, {held_out['nll_thinking']:.3f} thinking "
              f"(nats per token, {held_out['examples']} trajectories)")  # fmt: skip
    print(f"model         {summary['model']}")
    print(f"page          {page}")
    return PARTIAL if too_long or summary["quarantined"] else DONE
