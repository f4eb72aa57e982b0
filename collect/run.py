"""The stage reer-collect: a source in, pairs worth searching out. Start reading here.

read ─▶ check (filters) ─▶ decontaminate ─▶ deduplicate ─▶ sample ─▶ pairs.jsonl, held_out.jsonl, rejected.jsonl

No model is asked, so an interrupted run is simply done again, to the same bytes; files are replaced only when whole.
"""

import json
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

from tqdm import tqdm

from reer.config import CollectConfig
from reer.errors import ConfigError, DataError
from reer.files.pairs import Notes, Quarantined, path_of
from reer.files.rows import files_of
from reer.files.trajectories import plain
from reer.run.launch import DONE, PARTIAL, command, exclusive, open_run_dir
from reer.run.manifest import replacing, write_card, write_json, write_manifest
from reer.run.tracking import record
from reer.text import words
from reer.types import FORMAT_VERSION, Example

from .check.filters import FILTERS, masked, refused
from .decontaminate import Guard, guarded
from .deduplicate import near_duplicates
from .read.pairs import from_dataset, from_files
from .sample import is_held_out
from .spool import Spool

SOURCES = {"files": from_files, "dataset": from_dataset}
FILES = ("pairs", "held_out", "rejected", "quarantine")
REASONS = (*FILTERS, "contaminated", "near_duplicates")


@dataclass(slots=True)
class Tally:
    """What became of the rows."""

    read: int = 0
    quarantined: int = 0
    masked: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    written: dict[str, Counter[str]] = field(
        default_factory=lambda: {name: Counter() for name in ("split", "domain", "licence", "language", "source")}
    )
    words: int = 0
    """Of all answers that were written."""

    def keep(self, row: Example, split: str) -> None:
        self.written["split"][split] += 1
        for name in ("domain", "licence", "language", "source"):
            self.written[name][getattr(row, name) or "none"] += 1
        self.words += len(words(row.answer))


def run(config: CollectConfig) -> int:
    """Collect pairs; returns an exit code."""
    if config.source.kind not in SOURCES:
        raise ConfigError(f"source.kind={config.source.kind} is unknown (known: {', '.join(SOURCES)})")
    notes = Notes()
    if config.dry_run:
        found = Counter(type(row) is Example for row in _rows(config, notes))
        print(f"{found[True]:,} pairs, {found[False]:,} broken rows (dry run: nothing was checked or written)")
        return DONE
    guard = Guard(guarded(config.decontaminate.paths))
    next(_rows(config, Notes()))  # without one, no folder is made
    run_dir = Path(config.run_dir)
    begun = (run_dir / "manifest.json").exists()
    with exclusive(run_dir):
        open_run_dir(config, begun=begun)
        tally, started = Tally(), time.monotonic()
        with ExitStack() as stack:
            files = {name: stack.enter_context(replacing(run_dir / f"{name}.jsonl")) for name in FILES}
            spool = stack.enter_context(Spool(run_dir))
            _gather(config, guard, spool, files, tally, notes)
            _write(config, spool, files, tally)
        return _close(config, run_dir, tally, notes, time.monotonic() - started)


def _rows(config: CollectConfig, notes: Notes) -> Iterator[Example | Quarantined]:
    return SOURCES[config.source.kind](config.source, notes)


def _gather(
    config: CollectConfig, guard: Guard, spool: Spool, files: dict[str, IO[str]], tally: Tally, notes: Notes
) -> None:
    """The first pass: every row is read, and set aside or kept for the second."""
    for row in tqdm(_rows(config, notes), desc="collect", unit="row"):
        tally.read += 1
        if isinstance(row, Quarantined):
            tally.quarantined += 1
            _put(files["quarantine"], {"status": "quarantined", **asdict(row)})
            continue
        if config.quality.mask:
            row, count = masked(row)
            tally.masked += count
        if name := refused(row, config.quality):
            _reject(files, tally, row, name)
        elif hit := guard.find(row.query) or guard.find(row.answer):
            _reject(files, tally, row, "contaminated", asdict(hit))
        else:
            spool.append(row)


def _write(config: CollectConfig, spool: Spool, files: dict[str, IO[str]], tally: Tally) -> None:
    """The second pass: later ones of rows that are alike are set aside, the others divided and written."""
    threshold = config.quality.near_duplicates

    def text_of(number: int) -> str:
        row = spool.read(number)
        return f"{row.query}\n{row.answer}"

    gone: dict[int, tuple[int, float]] = {}
    if threshold is not None and len(spool):
        gone = near_duplicates(map(text_of, range(len(spool))), text_of, threshold)
    for number, row in enumerate(spool):
        if number in gone:
            other, alike = gone[number]
            _reject(files, tally, row, "near_duplicates", {"of": spool.read(other).id, "jaccard": alike})
            continue
        held = is_held_out(str(row.extra["document"]), config.sample.held_out, config.seed)
        split = "held_out" if held else "pairs"
        _put(files[split], _as_row(row))
        tally.keep(row, split)


def _as_row(row: Example) -> dict[str, Any]:
    """One object of pairs.jsonl: our own columns first, what else the row brought beside them."""
    fields = asdict(row)
    extra = {key: value for key, value in fields.pop("extra").items() if key not in fields}
    if not row.history:
        del fields["history"]
    return dict(plain(fields | extra))


def _reject(
    files: dict[str, IO[str]], tally: Tally, row: Example, name: str, why: dict[str, Any] | None = None
) -> None:
    tally.rejected[name] += 1
    _put(files["rejected"], {"reason": name, "why": why, "row": _as_row(row)})


def _put(file: IO[str], value: dict[str, Any]) -> None:
    file.write(json.dumps(value, ensure_ascii=False) + "\n")


def _close(config: CollectConfig, run_dir: Path, tally: Tally, notes: Notes, seconds: float) -> int:
    """Manifest, summary, what the user is told, exit code."""
    source = config.source
    inputs = [*_inputs(config), *(file for path in config.decontaminate.paths for file in files_of(path))]
    described = {"kind": source.kind, "path": source.path, "hub": source.hub, "split": source.split}
    write_manifest(
        run_dir, stage=config.stage, seed=config.seed, inputs=inputs, source=described | {"revision": source.revision}
    )
    write_card(run_dir, {"pairs": "pairs.jsonl", "held_out": "held_out.jsonl"})
    kept = tally.written["split"].total()
    summary = {
        "pairs": {"read": tally.read, "written": kept, "quarantined": tally.quarantined, "masked": tally.masked},
        "rejected": {name: tally.rejected[name] for name in REASONS},
        "written": {name: dict(counts.most_common()) for name, counts in tally.written.items()},
        "words": {"mean": round(tally.words / kept, 1) if kept else None},
        "columns": notes.table(),
        "seconds": round(seconds, 1),
        "format_version": FORMAT_VERSION,
    }
    write_json(run_dir / "summary.json", summary)
    made = {"results": run_dir / "summary.json"}
    record(config, config.stage, {"pairs": kept} | {f"rejected/{k}": v for k, v in tally.rejected.items()}, made)
    _tell(config, run_dir, tally, notes)
    if not kept:
        raise DataError(f"{run_dir}: no row passed; rejected.jsonl says why of each")
    return PARTIAL if tally.quarantined else DONE


def _inputs(config: CollectConfig) -> list[Path]:
    """Files whose hashes the manifest records."""
    source = config.source
    if source.kind == "files":
        return files_of(path_of(Path(source.path) if source.path else None))
    found = Path(source.path) if source.path else None
    return sorted(f for f in ([found] if found.is_file() else found.rglob("*")) if f.is_file()) if found else []


def _tell(config: CollectConfig, run_dir: Path, tally: Tally, notes: Notes) -> None:
    for line in notes.told(Path(config.source.path or config.source.hub or "sample").name):
        print(line)
    left = tally.read
    print(f"{'read':<18}{left:>10,}")
    for name, n in (("quarantined", tally.quarantined), *((name, tally.rejected[name]) for name in REASONS)):
        left -= n
        if n:
            print(f"{name:<18}{-n:>10,}  {left:>10,} left")
    if tally.masked:
        print(f"{'masked':<18}{tally.masked:>10,}  patterns of personal data (no names)")
    counts = tally.written["split"]
    print(f"{'written':<18}{counts['pairs']:>10,}  {run_dir / 'pairs.jsonl'}, held out {counts['held_out']:,}")


main = command("collect", CollectConfig, run)

if __name__ == "__main__":
    main()
