"""The stage reer-mix: the rows that reer-sft would train on with the same words, as files. Start reading in `mixing`.

trajectories, general data ─▶ mix.jsonl, mix.parquet, quarantine.jsonl, summary.json
No model is asked, so an interrupted run is simply done again, to the same bytes; files are replaced only when whole.
"""

import json
from collections import Counter
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from reer.config import MixingConfig
from reer.errors import DataError
from reer.files.pairs import Quarantined
from reer.files.rows import files_of
from reer.run.launch import DONE, PARTIAL, command, exclusive, open_run_dir
from reer.run.manifest import replacing, write_card, write_json, write_jsonl, write_manifest
from reer.run.tracking import record
from reer.run.tracking.records import stage_lineage
from reer.types import FORMAT_VERSION

from .mixing.general import inputs_of
from .mixing.mix import Mixture, find
from .mixing.rules import Entry
from .mixing.settings import rules_of

BATCH = 256
"""Rows of one Parquet row group: what is held in memory."""


def run(config: MixingConfig) -> int:
    """Mix and write; returns an exit code."""
    path = find(config.data.trajectories)
    mixture = Mixture(path=path, data=config.data, rules=rules_of(config))
    inputs_of(config.mix.general)  # a mistake is told before anything is written
    if config.dry_run:
        broken = sum(isinstance(row, Quarantined) for row in mixture.rows())
        _tell(mixture, config.data.trajectories, broken)
        print("(dry run: nothing was written)")
        return DONE
    run_dir = Path(config.run_dir)
    with exclusive(run_dir):
        open_run_dir(config, begun=False)
        left_out = _write(mixture, run_dir)
        if not mixture.tally.taken:
            raise DataError(f"{run_dir}: no row is in the mix; quarantine.jsonl says why of each")
        return _close(config, mixture, left_out)


def as_row(entry: Entry) -> dict[str, Any]:
    """One object of mix.jsonl."""
    parts = entry.parts
    return {
        "id": entry.id,
        "query": parts.query,
        "thinking": entry.thinking,
        "answer": parts.answer,
        "history": [asdict(message) for message in parts.history],
        "language": entry.language,
        "domain": entry.domain,
        "source": entry.source,
        "licence": entry.licence,
        "origin": entry.origin,
    }


def schema() -> Any:
    """The columns of mix.parquet."""
    import pyarrow as pa

    text = pa.string()
    turns = pa.list_(pa.struct([("role", text), ("content", text)]))
    names = ("id", "query", "thinking", "answer", "history", "language", "domain", "source", "licence", "origin")
    return pa.schema([(name, turns if name == "history" else text) for name in names])


def _write(mixture: Mixture, run_dir: Path) -> list[dict[str, Any]]:
    """Both files of the mix, row by row; returns the rows that are broken."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    broken, batch, table = [], [], run_dir / ".mix.parquet.tmp"
    with replacing(run_dir / "mix.jsonl") as lines, pq.ParquetWriter(table, schema()) as parquet:
        for entry in mixture.rows():
            if isinstance(entry, Quarantined):
                broken.append({"status": "quarantined", **asdict(entry)})
                continue
            batch.append(as_row(entry))
            lines.write(json.dumps(batch[-1], ensure_ascii=False) + "\n")
            if len(batch) == BATCH:
                parquet.write_table(pa.Table.from_pylist(batch, schema=schema()))
                batch = []
        parquet.write_table(pa.Table.from_pylist(batch, schema=schema()))
    table.replace(run_dir / "mix.parquet")
    write_jsonl(run_dir / "quarantine.jsonl", [*broken, *mixture.tally.listed])
    return broken


def _close(config: MixingConfig, mixture: Mixture, broken: list[dict[str, Any]]) -> int:
    """Manifest, summary, what the user is told, exit code."""
    run_dir, general = Path(config.run_dir), config.mix.general
    write_manifest(
        run_dir,
        stage=config.stage,
        seed=mixture.rules.seed,
        inputs=[*files_of(config.data.trajectories), *inputs_of(general)],
        general={"path": general.path, "hub": general.hub, "split": general.split, "revision": general.revision},
    )
    write_card(run_dir, {"mix": "mix.parquet"})
    summary = mixture.tally.summary() | {
        "quarantined": len(broken),
        "columns": mixture.notes.table(),
        "format_version": FORMAT_VERSION,
    }
    write_json(run_dir / "summary.json", summary)
    made, lineage = (
        {"results": run_dir / "summary.json"},
        partial(stage_lineage, run_dir, ("mix.jsonl", "mix.parquet")),
    )
    record(config, config.stage, summary["rows"], made, lineage=lineage, units=dict.fromkeys(summary["rows"], "rows"))
    _tell(mixture, config.data.trajectories, len(broken))
    print(f"{'written':<14}{run_dir / 'mix.jsonl'}")
    return PARTIAL if broken else DONE


def _tell(mixture: Mixture, name: str, broken: int) -> None:
    tally = mixture.tally
    for line in [*mixture.notes.told(name, "rows"), *tally.told()]:
        print(line)
    licences: Counter[tuple[str, str]] = Counter()
    for (origin, _, licence), rows in tally.taken.items():
        licences[origin, licence] += rows
    for (where, licence), rows in licences.most_common(20):
        print(f"{where:<14}{rows:>8,}  licence {licence}")
    if broken:
        print(f"{'quarantined':<14}{broken:>8,}  broken rows")


main = command("mix", MixingConfig, run)

if __name__ == "__main__":
    main()
