"""The stage reer-export: trajectories, or any rows that training takes, as a dataset for others.

trajectories ─▶ form (columns) ─▶ dataset/data/*.parquet, README.md, domains.png; quarantine.jsonl beside it
No model is asked, so an interrupted run is simply done again, to the same bytes; the folder is replaced when whole.
"""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from reer.config import ExportingConfig
from reer.errors import ConfigError, DataError
from reer.files.columns import Named, Parts, take_apart
from reer.files.pairs import Notes, Quarantined, check_turns, identity_of
from reer.files.rows import BadRow, files_of, read_rows
from reer.run.launch import DONE, PARTIAL, command, exclusive, open_run_dir
from reer.run.manifest import write_json, write_jsonl, write_manifest, write_text
from reer.run.tracking import record
from reer.run.tracking.records import stage_lineage
from reer.text import seed_of
from reer.types import FORMAT_VERSION

from .card import card_of
from .facts import Facts, lineage
from .figure import draw_domains
from .forms import FORMS, Form
from .shards import Shards


@dataclass(slots=True)
class Written:
    """What one export did."""

    form: Form
    facts: Facts = field(default_factory=Facts)
    notes: Notes = field(default_factory=Notes)
    broken: list[dict[str, Any]] = field(default_factory=list)


def run(config: ExportingConfig) -> int:
    """Write the dataset; returns an exit code."""
    if config.export.form not in FORMS:
        raise ConfigError(f"export.form={config.export.form} is unknown: choose one of {', '.join(FORMS)}")
    if not 0 <= config.export.held_out < 1:
        raise ConfigError(f"export.held_out={config.export.held_out} is no share: from 0 to below 1")
    check_turns(config.data.turns)
    first = _first(config)
    if config.dry_run:
        rows = list(_rows(config, Notes()))
        broken = sum(isinstance(row, Quarantined) for row in rows)
        print(f"{len(rows) - broken:,} rows, {broken:,} broken (dry run: nothing was written)")
        return DONE
    run_dir = Path(config.run_dir)
    with exclusive(run_dir):
        open_run_dir(config, begun=False)
        written = _write(config, FORMS[config.export.form](first.row, config.export.steps), run_dir)
        return _close(config, run_dir, written)


def _first(config: ExportingConfig) -> Parts:
    """The first usable row, by which the columns are chosen.

    Raises:
        DataError: there is no such file, or no usable row in it.
    """
    found: Quarantined | None = None
    for row in _rows(config, Notes()):
        if isinstance(row, Parts):
            return row
        found = found or row
    why = f"has no usable row; row {found.row}: {found.reason}" if found else "is empty"
    raise DataError(f"data.trajectories={config.data.trajectories} {why}")


def _rows(config: ExportingConfig, notes: Notes) -> Iterator[Parts | Quarantined]:
    source, named = config.data.trajectories, Named(config.data.columns)
    wanted = config.export.form == "dataset" and config.export.steps
    try:
        for row in read_rows(source, without=() if wanted else ("steps",)):
            named.look(row.value)
            try:
                parts = take_apart(row.value, named.columns)
            except BadRow as error:
                yield Quarantined(row.file, row.number, str(error), row.text)
                continue
            notes.take(parts, config.data.turns, rides=False)
            yield parts
        named.refuse_unseen(source)
    except DataError as error:
        raise DataError(f"data.trajectories={error}") from error


def _write(config: ExportingConfig, form: Form, run_dir: Path) -> Written:
    """The shards of both splits, the card and the picture, in a folder that replaces the one before."""
    export, new, folder = config.export, run_dir / ".dataset.tmp", run_dir / "dataset"
    schema = form.schema(row.row for row in _rows(config, Notes()) if isinstance(row, Parts))
    shutil.rmtree(new, ignore_errors=True)
    (new / "data").mkdir(parents=True)
    written = Written(form)
    with ExitStack() as stack:
        splits = {
            split: stack.enter_context(Shards(new / "data", split, schema, export.shard_rows))
            for split in ("train", "test")
        }
        for row in _rows(config, written.notes):
            if isinstance(row, Quarantined):
                written.broken.append({"status": "quarantined", **asdict(row)})
                continue
            split = "test" if is_held_out(row, export.held_out, config.seed) else "train"
            try:
                splits[split].write(form.fill(row, split, splits[split].rows))
            except BadRow as error:
                written.broken.append({"status": "quarantined", "id": identity_of(row), "reason": str(error)})
                continue
            written.facts.add(row, split)
    before = list(lineage(Path(config.data.trajectories).parent))
    title = export.title or config.name
    write_text(new / "README.md", card_of(export.form, title, written.facts, form.columns, before, splits))
    draw_domains(written.facts.by["domain"], new / "domains.png")
    shutil.rmtree(folder, ignore_errors=True)
    new.rename(folder)
    return written


def is_held_out(parts: Parts, share: float, seed: int) -> bool:
    """By the document a row was cut from (of reer-collect), so that none is on both sides; else by its pair."""
    extra = parts.row.get("extra")
    document = extra.get("document") if isinstance(extra, dict) else parts.row.get("document")
    return seed_of(seed, "held out", str(document or identity_of(parts))) < share * 2**63


def _close(config: ExportingConfig, run_dir: Path, written: Written) -> int:
    """Manifest, summary, what the user is told, exit code."""
    write_jsonl(run_dir / "quarantine.jsonl", written.broken)
    inputs = files_of(config.data.trajectories)
    write_manifest(run_dir, stage=config.stage, seed=config.seed, inputs=inputs, form=config.export.form)
    summary = written.facts.summary() | {
        "quarantined": len(written.broken),
        "columns": written.notes.table(),
        "format_version": FORMAT_VERSION,
    }
    write_json(run_dir / "summary.json", summary)
    shards = sorted(str(path.relative_to(run_dir)) for path in (run_dir / "dataset" / "data").glob("*.parquet"))
    splits, made = written.facts.splits, {"results": run_dir / "summary.json"}
    found = partial(stage_lineage, run_dir, shards)
    record(config, config.stage, splits, made, lineage=found, units=dict.fromkeys(splits, "rows"))
    for line in written.notes.told(config.data.trajectories, "rows"):
        print(line)
    for split, rows in written.facts.splits.items():
        print(f"{split:<14}{rows:>8,} rows")
    if unnamed := written.facts.by["licence"][""]:
        print(f"{'licence':<14}{unnamed:>8,} rows name none: say so, or say which, before you publish them")
    if written.broken:
        print(f"{'quarantined':<14}{len(written.broken):>8,} rows: see {run_dir / 'quarantine.jsonl'}")
    print(f"{'written':<14}{run_dir / 'dataset'}: datasets.load_dataset reads it; to publish it,")
    print(f"{'':<14}hf upload NAME/DATASET {run_dir / 'dataset'} --repo-type dataset")
    return PARTIAL if written.broken else DONE


main = command("export", ExportingConfig, run)

if __name__ == "__main__":
    main()
