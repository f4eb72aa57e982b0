"""The stage reer-synthesize: pairs in, trajectories out. Start reading here.

pairs ─▶ search (propose ⇄ score) ─▶ ledger ─▶ trajectories.jsonl + .parquet, summary.json, report.html
"""

import asyncio
import functools
import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tqdm import tqdm

from reer.backend import build_generator, build_scorer, describe, prepare, served
from reer.config import SynthesizeConfig
from reer.errors import PromptError
from reer.files.pairs import Pairs, read_pairs
from reer.files.rows import files_of
from reer.files.trajectories import Tally, TrajectoryFiles, to_row
from reer.layout import build_layout
from reer.method.guards.filters import of_row, reason_to_drop
from reer.method.prompts import PromptSet, load_set, spoken
from reer.method.propose import Proposer
from reer.method.search import Search
from reer.method.state import State
from reer.run.day import dated
from reer.run.estimate import estimate
from reer.run.execute import pending, run_examples
from reer.run.launch import DONE, PARTIAL, command, open_run_dir
from reer.run.ledger import Ledger
from reer.run.manifest import write_json, write_jsonl, write_manifest
from reer.run.tracking import open_tracker
from reer.types import Event, Example, Step, Usage


def run(config: SynthesizeConfig) -> int:
    """Search the thinking of every pair; returns an exit code."""
    config = dated(config)
    pairs = read_pairs(Path(config.data.path) if config.data.path else None, config.data.limit, config.data)
    for line in pairs.notes.told(pairs.path.name):
        print(line)
    if config.dry_run:
        print(estimate(pairs.examples, config))
        return DONE
    run_dir = open_run_dir(config, begun=(Path(config.run_dir) / "manifest.json").exists())
    ledger = Ledger(run_dir / "ledger.db")
    try:
        started = time.monotonic()
        ledger.reopen()
        if todo := list(pending(pairs.examples, ledger)):
            search_all(todo, pairs, config, run_dir, ledger)
        summary = export(pairs, config, run_dir, ledger, time.monotonic() - started)
    finally:
        ledger.close()
    return close(config, run_dir, summary)


def search_all(todo: list[Example], pairs: Pairs, config: SynthesizeConfig, run_dir: Path, ledger: Ledger) -> None:
    """Build the models, write the manifest, and search every example that has no outcome yet."""
    prompts = functools.cache(lambda language: load_set(config.prompts.set, language, config.search.start))
    for language, n in sorted(Counter(example.language for example in todo).items()):
        if spoken(language) != language and "/" not in config.prompts.set:
            print(f"{n:,} pairs are in {language!r}: there are no prompts in it, so those in English are used")
    hashes = prompt_hashes(sorted({example.language for example in todo}), prompts)
    scorer = build_scorer(config.scorer)
    layout = build_layout(config.layout, scorer.tokenizer)
    generator = build_generator(config.generator)
    search = Search(Proposer(generator, prompts, layout, config.search, config.seed), scorer, layout, config.search)
    prepare(generator)
    note = functools.partial(
        write_manifest,
        run_dir,
        stage=config.stage,
        seed=config.seed,
        inputs=files_of(pairs.path),
        layout=config.layout.name,
        date=config.layout.date,
        prompts={"set": config.prompts.set, "sha256": hashes},
    )
    models = {"generator": served(config.generator), "scorer": describe(config.scorer)}
    note(models=models)
    try:
        with tqdm(total=len(todo) * (2 + config.search.max_steps), desc="synthesize", unit="step") as bar:
            asyncio.run(run_examples(todo, search, ledger, config.executor.concurrency, _Progress(bar, config)))
    finally:
        if (learned := served(config.generator)) != models["generator"]:  # the server refused something on the way
            note(models=models | {"generator": learned})


def prompt_hashes(languages: Sequence[str], prompts: Callable[[str], PromptSet]) -> dict[str, str]:
    """By language. Pairs of a language without prompts will be quarantined.

    Raises:
        PromptError: no language has prompts that can be used.
    """
    hashes, faults = {}, []
    for language in languages:
        try:
            hashes[language] = prompts(language).sha256
        except PromptError as error:
            faults.append(error)
    if faults and not hashes:
        raise faults[0]
    return hashes


class _Progress:
    """Moves the bar by one per event, and by the steps an example did not need when it ends."""

    def __init__(self, bar: Any, config: SynthesizeConfig) -> None:
        self.bar = bar
        self.planned = 2 + config.search.max_steps
        self.seen: Counter[str] = Counter()
        self.steps = self.accepted = 0

    def __call__(self, example: Example, event: Event | None) -> None:
        if event is None:
            self.bar.update(max(0, self.planned - self.seen.pop(example.id, 0)))
            return
        self.seen[example.id] += 1
        if isinstance(event, Step):
            self.steps += 1
            self.accepted += event.kept is not None
            self.bar.set_postfix(accepted=f"{self.accepted}/{self.steps}", refresh=False)
        self.bar.update()


def export(pairs: Pairs, config: SynthesizeConfig, run_dir: Path, ledger: Ledger, seconds: float) -> dict[str, Any]:
    """Write what the ledger holds, one example at a time: trajectories, what is left out and why, the summary."""
    tally = Tally()
    left_out: list[dict[str, Any]] = [{"status": "quarantined", **asdict(row)} for row in pairs.quarantined]
    with TrajectoryFiles(run_dir) as files:
        for example in pairs.examples:
            status, why = ledger.outcome(example.id) or ("pending", "")
            if status != "done":
                left_out.append({"status": status, "id": example.id, "reason": why})
                continue
            state = State.of(ledger.events(example.id))
            tally.add(state)
            row = to_row(example, state, config)
            if (name := reason_to_drop(of_row(row), config.filter)) is None:
                files.write(row)
                tally.keep(row)
            else:
                tally.dropped[name] += 1
                left_out.append({"status": "dropped", "id": example.id, "reason": name, "thinking": row["thinking"]})
    tally.refused.update(row["status"] for row in left_out)
    write_jsonl(run_dir / "quarantine.jsonl", left_out)
    summary = tally.summary(
        examples=len(pairs.examples) + len(pairs.quarantined), seconds=round(seconds + _seconds_before(run_dir), 1)
    )
    write_json(run_dir / "summary.json", summary)
    return summary


def _seconds_before(run_dir: Path) -> float:
    """Seconds of the earlier runs that this one continued (those that ended by themselves)."""
    path = run_dir / "summary.json"
    return float(json.loads(path.read_text(encoding="utf-8"))["seconds"]) if path.exists() else 0.0


def close(config: SynthesizeConfig, run_dir: Path, summary: dict[str, Any]) -> int:
    """Log, draw the page, tell the user, choose the exit code."""
    from reer.page.report import write_page

    examples, nll, steps = summary["examples"], summary["nll"], summary["steps"]
    cost = Usage(**summary["usage"])
    tracker = open_tracker(
        config.tracking, name=config.name, stage=config.stage, run_dir=run_dir, config=asdict(config)
    )
    tracker.summary({"trajectories": examples["done"]} | {f"nll/{k}": v for k, v in nll.items() if v is not None})
    tracker.artifact(run_dir / "trajectories.jsonl", "dataset")
    tracker.finish()
    page = write_page([run_dir], run_dir / "report.html")
    lost = examples["failed"] + examples["quarantined"]
    print(f"trajectories  {examples['done']} of {examples['input']} kept")
    if examples["dropped"]:
        print("dropped       " + ", ".join(f"{reason} {n}" for reason, n in examples["dropped"].items()))
    if lost:
        print(f"              {examples['quarantined']} quarantined, {examples['failed']} failed: see "
              f"{run_dir / 'quarantine.jsonl'}")  # fmt: skip
    if examples["done"]:
        print(f"mean NLL of y {nll['none']:.3f} without thinking, {nll['first']:.3f} with the first, "
              f"{nll['final']:.3f} with the final thinking (nats per token)")  # fmt: skip
        print(f"steps         {steps['accepted']} of {steps['done']} changed the thinking")
        print(f"cost          {cost.forward_tokens:,} tokens run, {cost.reused_tokens:,} reused; "
              f"models busy {cost.seconds:.0f} s in {summary['seconds']:.0f} s")  # fmt: skip
    print(f"page          {page}")
    return PARTIAL if lost else DONE


main = command("synthesize", SynthesizeConfig, run)

if __name__ == "__main__":
    main()
