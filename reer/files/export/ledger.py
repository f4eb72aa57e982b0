"""From the ledger to the files of reer-synthesize: at its end, when it is interrupted, or beside one at work.

Pairs and events are read one example at a time, so memory does not grow with them. A search counts for a pair only
as long as the pair's text is the one that was searched.
"""

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

from reer.config import DataConfig, SynthesizeConfig, load_search
from reer.errors import ConfigError, DataError, RunDirError
from reer.files.pairs import Notes, Quarantined, stream_pairs
from reer.files.trajectories import Tally, TrajectoryFiles, arithmetic, to_row
from reer.method.guards.filters import of_row, reason_to_drop
from reer.method.state import final
from reer.method.worth.lexical import ROWS, Frequencies
from reer.run.ledger import Ledger, is_locked
from reer.run.manifest import replacing, write_card, write_json
from reer.types import Example

Row = dict[str, Any]
LEFT_OUT = ("failed", "quarantined")


def rows_of(data: DataConfig, notes: Notes | None = None) -> Iterator[Example | Quarantined]:
    """The pairs of a config, and the rows that are none, in their order; `notes` counts what is done to them."""
    return stream_pairs(Path(data.path) if data.path else None, data.limit, data, notes=notes)


def frequencies_of(data: DataConfig) -> Frequencies:
    """In how many of the run's answers each word stands, whether they have been searched or not."""
    found = Frequencies()
    for row in islice(rows_of(data), ROWS):
        if isinstance(row, Example):
            found.add(row)
    return found


def export(config: SynthesizeConfig, run_dir: Path, ledger: Ledger, seconds: float = 0.0, changed: int = 0) -> Row:
    """Write what the ledger holds of the pairs as they are now; returns the summary.

    `seconds` and `changed` (rows of other text than in the last run) are those of this run.
    """
    tally, notes, count = Tally(), Notes(), 0
    frequencies = frequencies_of(config.data)
    with _alone(run_dir), TrajectoryFiles(run_dir) as files, replacing(run_dir / "quarantine.jsonl") as left_out:
        for row in rows_of(config.data, notes):
            count += 1
            if fact := _exported(row, config, ledger, frequencies, files, tally):
                left_out.write(json.dumps(fact, ensure_ascii=False) + "\n")
    write_card(run_dir, {"trajectories": "trajectories.parquet"})
    before = _summary(run_dir).get("seconds", 0.0)
    summary = tally.summary(examples=count, seconds=round(seconds + before, 1))
    models = _read(run_dir / "manifest.json").get("models", {})
    summary |= {"arithmetic": arithmetic(tally.usage, models), "changed": changed, "columns": notes.table()}
    write_json(run_dir / "summary.json", summary)
    return summary


def _exported(
    row: Example | Quarantined,
    config: SynthesizeConfig,
    ledger: Ledger,
    frequencies: Frequencies,
    files: TrajectoryFiles,
    tally: Tally,
) -> Row | None:
    """Write the row's trajectory. Returns what quarantine.jsonl says of a row without one; None if it is to come."""
    if isinstance(row, Quarantined):
        tally.refused["quarantined"] += 1
        return {"status": "quarantined", **asdict(row)}
    status, why = ledger.standing(row)
    if status != "done":
        tally.refused[status if status in LEFT_OUT else "pending"] += 1
        return {"status": status, "id": row.id, "reason": why} if status in LEFT_OUT else None
    state = final(ledger.events(row.id))
    tally.add(state, config.search.screen)
    trajectory = to_row(row, state, config, frequencies)
    if (name := reason_to_drop(of_row(trajectory), config.filter)) is None:
        files.write(trajectory)
        tally.keep(trajectory)
        return None
    tally.dropped[name] += 1
    return {"status": "dropped", "id": row.id, "reason": name, "thinking": trajectory["thinking"]}


def mark_pending(run_dir: Path, pending: int) -> None:
    """Have the summary of an earlier run say that its files do not hold all that the ledger will."""
    if summary := _summary(run_dir):
        write_json(run_dir / "summary.json", summary | {"pending": pending})


def bring_up_to_date(run_dir: Path) -> str | None:
    """Export what a run at work, or one that was interrupted, has finished since its last export.

    Returns why that could not be done, if so: the files are then what they were.
    """
    if not (run_dir / "ledger.db").exists() or not _is_behind(run_dir):
        return None
    try:
        config = load_search(run_dir / "config.yaml")
        ledger = Ledger(run_dir / "ledger.db", read_only=True)
        try:
            export(config, run_dir, ledger, changed=_summary(run_dir).get("changed", 0))
        finally:
            ledger.close()
    except (ConfigError, DataError, RunDirError, OSError) as error:
        return str(error)
    return None


def _is_behind(run_dir: Path) -> bool:
    summary = _summary(run_dir)
    return not summary or summary.get("pending", 0) > 0 or is_locked(run_dir / "ledger.db")


def _summary(run_dir: Path) -> Row:
    """The summary of an earlier export; empty where there is none."""
    return _read(run_dir / "summary.json")


def _read(path: Path) -> Row:
    found: Row = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return found


@contextmanager
def _alone(run_dir: Path) -> Iterator[None]:
    """One export at a time; where the file system knows no locks, there is no second one to wait for."""
    with (run_dir / ".export.lock").open("w") as file:
        with suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
