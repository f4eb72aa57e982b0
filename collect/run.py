"""The stage reer-collect: a source in, pairs worth searching out. Start reading here.

read (clean, cut) ─▶ check ─▶ decontaminate ─▶ deduplicate ─▶ ask ─▶ tag ─▶ sample ─▶ pairs, held_out, rejected .jsonl

Passages of texts come without a query: a model writes it, with every reply in a ledger, so an interrupted run goes on
where it was. All else is simply done again, to the same bytes; files are replaced only when whole.
"""

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from reer.config import CollectConfig
from reer.errors import ConfigError, DataError
from reer.files.pairs import SHOWN, Notes, Quarantined
from reer.files.rows import files_of
from reer.method.cost import tokens
from reer.run.executor.processes import cores, in_order
from reer.run.launch import DONE, PARTIAL, command, exclusive, open_run_dir
from reer.run.ledger import Ledger
from reer.run.manifest import write_card, write_json, write_manifest
from reer.run.tracking import record
from reer.run.tracking.records import stage_lineage
from reer.types import FORMAT_VERSION, Example

from .ask.works import REFUSALS, Refused, ask_all, check, outcomes, spent, weighs
from .check.filters import FILTERS, masked, refused
from .check.grams import hashes_of
from .check.look import Look, bare
from .decontaminate import Guard, guarded
from .deduplicate import near_duplicates, signed
from .keep.spool import Spool
from .keep.written import Tally, Written
from .read.inputs import files_read
from .read.pairs import from_dataset, from_files
from .read.passages import from_texts, off_length
from .sample import drawn, is_held_out, wanted
from .tag.categories import counted_as
from .tag.model import tag_all, tagged
from .tag.rules import by_rules

SOURCES = {"files": from_files, "dataset": from_dataset, "texts": from_texts}
TAGS = ("none", "rules", "generator")
BEFORE_ASKING = ("short_passage", "long_passage", *FILTERS, "contaminated", "near_duplicates")
OF_QUERIES = (*REFUSALS, "contaminated_query")
REASONS = (*BEFORE_ASKING, *OF_QUERIES, "sampled_out")
"""Names under which rows are set aside, in the order in which that happens."""


@dataclass(slots=True)
class Stage:
    """What the steps share."""

    config: CollectConfig
    guard: Guard
    out: Written
    ledger: Ledger | None
    """Where a model is asked."""

    @property
    def tally(self) -> Tally:
        return self.out.tally


def run(config: CollectConfig) -> int:
    """Collect pairs; returns an exit code."""
    if config.source.kind not in SOURCES:
        raise ConfigError(f"source.kind={config.source.kind} is unknown (known: {', '.join(SOURCES)})")
    if config.tag.by not in TAGS:
        raise ConfigError(f"tag.by={config.tag.by} is unknown (known: {', '.join(TAGS)})")
    check(config)
    notes = Notes(group="source")
    if config.dry_run:
        print(_estimate(config, notes))
        return DONE
    guard = Guard(guarded(config.decontaminate.paths))
    next(_rows(config, Notes(group="source")))  # without one, no folder is made
    run_dir, started = Path(config.run_dir), time.monotonic()
    with exclusive(run_dir):
        begun = any((run_dir / name).exists() for name in ("manifest.json", "ledger.db"))
        open_run_dir(config, begun=begun, free=() if _asks(config) else ("ask", "generator", "scorer", "layout"))
        with ExitStack() as stack:
            ledger = stack.enter_context(closing(Ledger(run_dir / "ledger.db"))) if _asks(config) else None
            first, second = (stack.enter_context(Spool(run_dir)) for _ in range(2))
            stage = Stage(config, guard, stack.enter_context(Written(run_dir)), ledger)
            keys = _gather(stage, first, notes)
            facts = _answer(stage, first, keys, second)
            _write(stage, second)
        return _close(stage, notes, facts, time.monotonic() - started)


def _asks(config: CollectConfig) -> bool:
    """Whether a model is asked anything."""
    return config.source.kind == "texts" or config.tag.by == "generator"


def _rows(config: CollectConfig, notes: Notes) -> Iterator[Example | Quarantined]:
    return SOURCES[config.source.kind](config.source, notes)


def _estimate(config: CollectConfig, notes: Notes) -> str:
    """What a dry run says: rows, and of passages what asking for their queries costs at most."""
    found, shown = Counter[bool | str](), 0
    for row in _rows(config, notes):
        found[isinstance(row, Example)] += 1
        if isinstance(row, Example) and not row.query and off_length(row, config.source) is None:
            found["passages"] += 1
            shown += tokens(row.answer)
    lines = [f"{found[True]:,} pairs, {found[False]:,} broken rows (dry run: nothing was checked or written)"]
    if config.source.kind == "texts":
        draws = config.ask.queries * config.ask.attempts
        calls = draws * (1 + (config.ask.min_fit is not None))
        lines = [
            f"{found['passages']:,} passages of {found[True]:,} have a right length; {found[False]:,} broken texts",
            f"at most {found['passages'] * calls:,} calls, {shown * calls:,} tokens of passages read, "
            f"{found['passages'] * draws * config.ask.sampling.max_tokens:,} written"
            + (f", {shown * config.ask.queries * 2:,} scored" if weighs(config) else ""),
            "(dry run: nothing was asked, checked or written)",
        ]
    return "\n".join(lines)


def _gather(stage: Stage, spool: Spool, notes: Notes) -> NDArray[np.uint64]:
    """The first pass: every row is read, and set aside or kept for the second, whose signatures are returned."""
    config, out, keys = stage.config, stage.out, [signed([])]
    look = Look(partial(_refused, config), stage.guard.find, signed, config.quality.near_duplicates is not None)
    for rows, (verdicts, signatures) in in_order(look, _examples(stage, notes), bare, cores()):
        for row, verdict in zip(rows, verdicts, strict=True):
            if verdict.refused:
                out.reject(row, verdict.refused)
            elif verdict.hit:
                out.reject(row, "contaminated", asdict(verdict.hit))
            else:
                spool.append(row)
        keys.append(signatures)
    return np.concatenate(keys)


def _examples(stage: Stage, notes: Notes) -> Iterator[Example]:
    """The usable rows; the others are set aside."""
    for row in tqdm(_rows(stage.config, notes), desc="collect", unit="row"):
        stage.tally.read += 1
        if isinstance(row, Quarantined):
            stage.out.quarantine(row)
            continue
        if stage.config.quality.mask:
            row, count = masked(row)
            stage.tally.masked += count
        yield row


def _refused(config: CollectConfig, row: Example) -> str | None:
    return off_length(row, config.source) or refused(row, config.quality)


def _answer(stage: Stage, spool: Spool, keys: NDArray[np.uint64], passed: Spool) -> dict[str, Any]:
    """Later ones of rows that are alike are set aside; passages get their queries. Returns facts for the manifest."""
    threshold = stage.config.quality.near_duplicates
    gone = {} if threshold is None else near_duplicates(keys, spool.text, threshold)

    def passages() -> Iterator[Example]:
        return (row for number, row in enumerate(spool) if number not in gone and not row.query)

    facts: dict[str, Any] = {}
    if stage.ledger is not None:
        stage.ledger.reopen()
        facts = ask_all(stage.config, passages, stage.ledger) if stage.config.source.kind == "texts" else {}
        stage.tally.usage = spent(passages(), stage.ledger)
    for number, row in enumerate(spool):
        if number in gone:
            other, alike = gone[number]
            stage.out.reject(row, "near_duplicates", {"of": spool.read(other).id, "jaccard": alike})
        elif row.query:
            passed.append(row)
        else:
            _take(stage, row, passed)
    return facts


def _take(stage: Stage, passage: Example, passed: Spool) -> None:
    """What became of a passage: its pairs go on, refused queries are set aside with it."""
    assert stage.ledger is not None
    before = len(passed)
    for result in outcomes(passage, stage.ledger, weighed=weighs(stage.config)):
        stage.tally.drawn += not (isinstance(result, Refused) and result.name == "unasked")
        if isinstance(result, Refused):
            stage.out.reject(result.row, result.name, result.why)
        elif hit := stage.guard.find(hashes_of(result.query)):
            stage.out.reject(result, "contaminated_query", asdict(hit))
        else:
            passed.append(result)
    stage.tally.passages += 1
    stage.tally.answered += len(passed) > before


def _write(stage: Stage, passed: Spool) -> None:
    """The last pass: rows get their domain, are drawn by the mixture, divided and written."""
    config = stage.config
    if config.tag.by == "generator":
        assert stage.ledger is not None
        tag_all(config, lambda: iter(passed), stage.ledger)

    def rows() -> Iterator[tuple[Example, bool]]:
        for row in passed:
            yield _tagged(stage, row), is_held_out(str(row.extra["document"]), config.sample.held_out, config.seed)

    sampled = bool(config.sample.mixture or config.sample.size)
    taken = _drawn(config, [(row.id, row.domain) for row, held in rows() if not held]) if sampled else set()
    stage.tally.untagged, stage.tally.unknown = 0, Counter()  # counted while rows were counted
    for row, held in rows():
        if held or not sampled or row.id in taken:
            stage.out.keep(row, "held_out" if held else "pairs")
        else:
            stage.out.reject(row, "sampled_out", {"domain": row.domain})


def _drawn(config: CollectConfig, rows: list[tuple[str, str]]) -> set[str]:
    rows = [(name, counted_as(domain, config.sample.mixture)) for name, domain in rows]
    there = Counter(domain for _, domain in rows)
    counts = wanted(there, config.sample.mixture, config.sample.size)
    if not sum(counts.values()):
        lacking = [domain for domain in config.sample.mixture if not there[domain]]
        raise DataError(
            f"sample.mixture wants rows of {', '.join(lacking)}, and none passed (there are: "
            f"{', '.join(sorted(filter(None, there))) or 'no domains; tag.by=rules finds some'}); sample.size=N takes "
            "what there is"
        )
    return drawn(rows, counts, config.seed)


def _tagged(stage: Stage, row: Example) -> Example:
    """The row under its category; the domain that it brought is kept beside it."""
    domain = row.domain
    if stage.config.tag.by == "rules":
        domain = by_rules(row)
    elif stage.config.tag.by == "generator" and stage.ledger is not None:
        found = tagged(row, stage.ledger)
        if not (found and found.domain):
            stage.tally.untagged += 1
            stage.tally.unknown[found.reply if found else "no reply"] += 1
        domain = found.domain if found and found.domain else row.domain
    brought = {"domain_brought": row.domain} if row.domain and row.domain != domain else {}
    return replace(row, domain=domain, extra=dict(row.extra) | brought)


def _close(stage: Stage, notes: Notes, facts: dict[str, Any], seconds: float) -> int:
    """Manifest, summary, page, what the user is told, exit code."""
    from reer.page.report import write_page

    config, tally, run_dir = stage.config, stage.tally, stage.out.run_dir
    source = config.source
    inputs = [*files_read(config.source), *(file for path in config.decontaminate.paths for file in files_of(path))]
    described = {"kind": source.kind, "path": source.path, "hub": source.hub, "split": source.split}
    described["revision"] = source.revision
    write_manifest(run_dir, stage=config.stage, seed=config.seed, inputs=inputs, source=described, **facts)
    write_card(run_dir, {"pairs": "pairs.jsonl", "held_out": "held_out.jsonl"})
    write_json(run_dir / "summary.json", _summary(tally, notes, seconds))
    kept = tally.written["split"].total()
    page = write_page([run_dir], run_dir / "report.html")
    made = {"results": run_dir / "summary.json", "page": page}
    numbers = {"pairs": kept} | {f"rejected/{k}": v for k, v in tally.rejected.items()}
    lineage = partial(stage_lineage, run_dir, ("pairs.jsonl", "held_out.jsonl"))
    record(config, config.stage, numbers, made, lineage=lineage, units={"pairs": "rows", "rejected": "rows"})
    _tell(config, run_dir, tally, notes)
    print(f"{'page':<18}{'':>10}  {page}")
    if not kept:
        raise DataError(f"{run_dir}: no row passed; rejected.jsonl says why of each")
    return PARTIAL if tally.quarantined or tally.rejected["unasked"] or tally.rejected["not_weighed"] else DONE


def _summary(tally: Tally, notes: Notes, seconds: float) -> dict[str, Any]:
    kept = tally.written["split"].total()
    return {
        "pairs": {"read": tally.read, "written": kept, "quarantined": tally.quarantined, "masked": tally.masked},
        "queries": {"passages": tally.passages, "answered": tally.answered, "drawn": tally.drawn},
        "rejected": {name: tally.rejected[name] for name in REASONS},
        "untagged": tally.untagged,
        "unknown_categories": dict(tally.unknown.most_common(SHOWN)),
        "written": {name: dict(counts.most_common()) for name, counts in tally.written.items()},
        "words": {"mean": round(tally.words / kept, 1) if kept else None},
        "columns": notes.table(),
        "cleaned": dict(notes.cleaned),
        "usage": asdict(tally.usage),
        "seconds": round(seconds, 1),
        "format_version": FORMAT_VERSION,
    }


def _tell(config: CollectConfig, run_dir: Path, tally: Tally, notes: Notes) -> None:
    for line in notes.told(Path(config.source.path or config.source.hub or "sample").name):
        print(line)
    left = _tell_left("read", tally.read, [("quarantined", tally.quarantined), *_counts(tally, BEFORE_ASKING)])
    if tally.passages:
        left = _tell_left("queries drawn", tally.drawn, _counts(tally, OF_QUERIES))
        print(f"{'passages':<18}{tally.passages:>10,}  {tally.answered:,} of them got a query")
        cost = tally.usage
        print(
            f"{'cost':<18}{cost.calls:>10,}  calls, {cost.forward_tokens:,} tokens run, {cost.reused_tokens:,} reused"
        )
    if sampled := tally.rejected["sampled_out"]:
        print(f"{'sampled out':<18}{-sampled:>10,}  {left - sampled:>10,} left")
    if tally.untagged:
        [(said, n), *_] = tally.unknown.most_common(1)
        print(
            f"{'untagged':<18}{tally.untagged:>10,}  rows keep the domain they brought; replies: {said!r} ({n:,}), …"
        )
    if tally.masked:
        print(f"{'masked':<18}{tally.masked:>10,}  patterns of personal data (no names)")
    counts = tally.written["split"]
    print(f"{'written':<18}{counts['pairs']:>10,}  {run_dir / 'pairs.jsonl'}, held out {counts['held_out']:,}")


def _counts(tally: Tally, names: tuple[str, ...]) -> list[tuple[str, int]]:
    return [(name, tally.rejected[name]) for name in names]


def _tell_left(label: str, left: int, refusals: list[tuple[str, int]]) -> int:
    print(f"{label:<18}{left:>10,}")
    for name, n in refusals:
        left -= n if name != "unasked" else 0  # a passage, not a query
        if n:
            print(f"{name:<18}{-n:>10,}  {left:>10,} left")
    return left


main = command("collect", CollectConfig, run)

if __name__ == "__main__":
    main()
