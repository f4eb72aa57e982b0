"""What is done once, when training has ended: the model folder, its card, the summary, and what the user is told.

Imports no torch at the top: a finished run answers at once.
"""

import json
from functools import partial
from pathlib import Path
from typing import Any

from reer.backend.models import fingerprint, weights_at_hand
from reer.config import SftConfig
from reer.run.launch import DONE, PARTIAL
from reer.run.manifest import write_card, write_json, write_text
from reer.run.tracking import Lineage, Tracker
from reer.run.tracking.records import model_item, stage_lineage
from reer.types import FORMAT_VERSION

from ..examples.data import count
from ..examples.work import Work
from .record import trained_folder


def finish(config: SftConfig, work: Work, tracker: Tracker) -> None:
    """What is done once, after training: the model folder, its NLL on the held-out trajectories, card and summary.

    summary.json is written last and marks the run as finished.
    """
    from reer.page.report import write_page
    from reer.page.tables import training_tables

    from ..arguments.trainer import max_length
    from ..model import complete_model
    from .card import model_card
    from .measure import measure
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
    write_card(run_dir, {"metrics": "metrics.jsonl"})
    write_json(run_dir / "summary.json", summary)
    write_page([run_dir], run_dir / "report.html")
    tracker.summary(summary)
    tracker.lineage(partial(lineage_of, config, run_dir))
    tracker.tables(partial(training_tables, run_dir))
    for kind, path in {"results": run_dir / "summary.json", "page": run_dir / "report.html", "model": folder}.items():
        tracker.artifact(path, kind)
    tracker.finish()


def lineage_of(config: SftConfig, run_dir: Path) -> Lineage:
    """The rows and the model that training began with, to the model it made."""
    base = model_item(config.model.path, weights_at_hand(config.model), config.model.revision)
    read, folder = stage_lineage(run_dir, (), models=[base]).inputs, run_dir / "model"
    return Lineage(read, {model_item(str(folder), fingerprint(folder)): read})


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
        "mix": work.prepared.tally.summary(),
        "model": str(run_dir / "model"),
        "format_version": FORMAT_VERSION,
    }


def _what(summary: dict[str, Any]) -> str:
    """What the examples are; summaries of earlier versions know trajectories alone."""
    general = summary.get("mix", {}).get("rows", {}).get("general", 0)
    return f"rows ({general} of them general)" if general else "trajectories"


def report(run_dir: Path) -> int:
    """Draw the page if it is not there yet, tell the user, choose the exit code. Needs no model and no torch."""
    from reer.page.report import write_page

    summary = json.loads((run_dir / "summary.json").read_text(encoding="utf-8"))
    page = run_dir / "report.html"
    if not page.exists():
        write_page([run_dir], page)
    loss, held_out, too_long = summary["loss"], summary["held_out"], summary["dropped"]["too_long"]
    print(f"trained on    {summary['examples']} {_what(summary)}, {summary['tokens']:,} tokens an epoch, "
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
