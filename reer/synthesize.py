"""The stage reer-synthesize: pairs in, trajectories out. Start reading here.

pairs ─▶ search (propose ⇄ score) ─▶ ledger ─▶ trajectories.jsonl + .parquet, summary.json, report.html
"""

import asyncio
import functools
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from reer.backend import (
    build_draft,
    build_generator,
    build_scorer,
    describe,
    known_weights,
    parameters,
    prepare,
    served,
)
from reer.config import SynthesizeConfig
from reer.errors import PromptError
from reer.files.export import export, mark_pending, rows_of
from reer.files.pairs import Notes, look_ahead, path_of, read_pairs, rows_in_words
from reer.files.rows import files_of
from reer.files.survey import Survey, former_texts, survey, unfinished
from reer.layout import build_layout
from reer.method import policy
from reer.method.prompts import PromptSet, load_set, spoken
from reer.method.propose import Proposer, check_compose
from reer.method.screen import Measure, Screen, check
from reer.method.search import Search
from reer.run.day import dated
from reer.run.estimate import estimate
from reer.run.executor.cluster import Cluster, check_executor
from reer.run.executor.examples import Searcher, run_examples
from reer.run.launch import DONE, PARTIAL, command, open_run_dir
from reer.run.ledger import Ledger
from reer.run.manifest import write_manifest
from reer.run.tracking import Lineage, record
from reer.run.tracking.records import engine_item, stage_lineage
from reer.types import Event, Example, Step, Usage

QUICK = 2000
"""Finished examples that are written within about three seconds."""
UNITS = {"nll": "nats per answer token", "trajectories": "rows"}
"""Of the numbers that a tracker is told."""
Note = Callable[..., None]
"""Writes the manifest, all but `models`."""
Work = Callable[[Searcher, int], Coroutine[Any, Any, None]]
"""Searches all that is open, so many at once."""


def run(config: SynthesizeConfig) -> int:
    """Search the thinking of every pair; returns an exit code."""
    check(config)
    check_executor(config.executor)
    config = dated(config)
    path = path_of(Path(config.data.path) if config.data.path else None)
    if config.dry_run:
        pairs = read_pairs(path, config.data.limit, config.data)
        tell(pairs.notes, path)
        print(estimate(pairs.examples, config))
        return DONE
    look_ahead(path, config.data)  # without a usable row no folder is made, nor for a column that no row has
    run_dir = open_run_dir(config, begun=(Path(config.run_dir) / "manifest.json").exists())
    ledger = Ledger(run_dir / "ledger.db")
    try:
        summary = search_and_export(config, path, run_dir, ledger)
    finally:
        ledger.close()
    return close(config, run_dir, summary)


def search_and_export(config: SynthesizeConfig, path: Path, run_dir: Path, ledger: Ledger) -> dict[str, Any]:
    """Work on what is unfinished, then write all that is finished; returns the summary."""
    started = time.monotonic()
    ledger.reopen()
    former = former_texts(run_dir, path) if ledger.is_former() else lambda example: False
    notes = Notes()
    found = survey(rows_of(config.data, notes), ledger, former, policy.asks_worth(config.search))
    tell(notes, path)
    for sentence in found.told():
        print(sentence)
    try:
        if found.todo:
            mark_pending(run_dir, found.todo)
            search_all(found, config, path, run_dir, ledger)
    except KeyboardInterrupt:
        export_if_quick(config, run_dir, ledger, time.monotonic() - started)
        raise
    return export(config, run_dir, ledger, time.monotonic() - started, found.changed + found.unknown)


def tell(notes: Notes, path: Path) -> None:
    """Say what reading did to the rows."""
    for line in notes.told(path.name):
        print(line)


def export_if_quick(config: SynthesizeConfig, run_dir: Path, ledger: Ledger, seconds: float) -> None:
    """After an interruption: write what is finished, where that takes a few seconds, or say what will write it."""
    if (finished := ledger.finished()) > QUICK:
        print(f"{finished:,} examples are finished; `reer-report {run_dir}` writes them")
    elif finished:
        done = export(config, run_dir, ledger, seconds)["examples"]["done"]
        print(f"the {done:,} trajectories that are finished are in {run_dir / 'trajectories.jsonl'}")


def search_all(found: Survey, config: SynthesizeConfig, path: Path, run_dir: Path, ledger: Ledger) -> None:
    """Search every example that has no outcome yet, here or on a cluster."""
    hashes = prompt_hashes(sorted(found.languages), prompts_of(config))
    say_borrowed(found, config)
    note = functools.partial(
        write_manifest,
        run_dir,
        stage=config.stage,
        seed=config.seed,
        inputs=files_of(path),
        layout=config.layout.name,
        date=config.layout.date,
        prompts={"set": config.prompts.set, "sha256": hashes},
        changed=found.changed + found.unknown,
    )
    measure = policy.asks_worth(config.search)
    todo = unfinished(rows_of(config.data), ledger, measure=measure)
    steps = found.todo * (2 + config.search.max_steps + measure)

    async def work(searcher: Searcher, concurrency: int) -> None:
        with tqdm(total=steps, desc="synthesize", unit="step") as bar:  # not before the models are there
            await run_examples(todo, searcher, ledger, concurrency, _Progress(bar, config))

    if config.executor.kind == "ray":
        asyncio.run(search_on_cluster(config, work, note))
    else:
        search_here(config, work, note)


def search_here(config: SynthesizeConfig, work: Work, note: Note) -> None:
    """Build the models in this process, write the manifest, and search."""
    searching = Searching(config)
    before = searching.facts()
    note(models=before)
    try:
        asyncio.run(work(searching, config.executor.concurrency))
    finally:
        if (learned := searching.facts()) != before:  # the server refused something on the way
            note(models=learned)


async def search_on_cluster(config: SynthesizeConfig, work: Work, note: Note) -> None:
    """The same with the models in actors; they tell what the manifest says of them."""
    async with Cluster(config.executor, "reer.synthesize:Searching", config) as cluster:
        if before := await cluster.facts():
            note(models=before)
        await work(cluster, cluster.concurrency)
        if (learned := await cluster.facts()) and learned != before:
            note(models=learned)


class Searching:
    """The search with the models that it needs, wherever it runs."""

    def __init__(self, config: SynthesizeConfig) -> None:
        """Raises: UserError: a model cannot be used."""
        self.config = config
        scorer = build_scorer(config.scorer)
        layout = build_layout(config.layout, scorer.tokenizer)
        generator = build_generator(config.generator)
        screen = build_screen(config)
        proposer = Proposer(generator, prompts_of(config), layout, config.search, config.seed)
        self.search = Search(proposer, scorer, layout, config.search, screen)
        prepare(generator)
        self.models = models_of(config)

    def run(self, example: Example, recorded: Sequence[Event] = ()) -> AsyncGenerator[Event]:
        return self.search.run(example, recorded)

    def facts(self) -> dict[str, dict[str, Any]]:
        """What the manifest says of the models."""
        learned = served(self.config.generator) | {"parameters": self.models["generator"]["parameters"]}
        return self.models | {"generator": learned}


def prompts_of(config: SynthesizeConfig) -> Callable[[str], PromptSet]:
    """The prompts by language. They raise what `load_set` and `check_compose` do."""
    start, blind = config.search.start, config.search.worth.blind > 0

    def load(language: str) -> PromptSet:
        found = load_set(config.prompts.set, language, start, blind)
        if config.search.compose:
            check_compose(found, start)
        return found

    return functools.cache(load)


def build_screen(config: SynthesizeConfig) -> Screen | None:
    """The draft in front of the scorer, where the config has one. A token of it counts as what the parameters it is
    multiplied with are of the scorer's, and as one of the scorer's where either is unknown."""
    if config.draft is None:
        return None
    draft = build_draft(config.draft, [config.generator, config.scorer])
    own, scorers = parameters(config.draft), parameters(config.scorer)
    measure = Measure(draft, build_layout(config.layout, draft.tokenizer), config.search)
    return Screen(measure, own / scorers if own and scorers else 1.0)


def models_of(config: SynthesizeConfig) -> dict[str, dict[str, Any]]:
    """What the manifest says of the models: the draft's only where there is one."""
    models: dict[str, dict[str, Any]] = {"generator": served(config.generator), "scorer": describe(config.scorer)}
    if config.draft is not None:
        models["draft"] = describe(config.draft)
    for role, model in models.items():
        model["parameters"] = parameters(getattr(config, role))
    return models


def say_borrowed(found: Survey, config: SynthesizeConfig) -> None:
    """Name the languages that have no prompts of their own."""
    for language, n in sorted(found.languages.items()):
        if spoken(language) != language and "/" not in config.prompts.set:
            print(f"language      {language!r} ({rows_in_words(n)}) has no prompts: those in English are used")


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
        self.planned = 2 + config.search.max_steps + policy.asks_worth(config.search)
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


def close(config: SynthesizeConfig, run_dir: Path, summary: dict[str, Any]) -> int:
    """Log, draw the page, tell the user, choose the exit code."""
    from reer.page.overview import told_of_draft, worth_in_words
    from reer.page.report import write_page
    from reer.page.tables import search_tables

    examples, nll, steps = summary["examples"], summary["nll"], summary["steps"]
    cost = Usage(**summary["usage"])
    page = write_page([run_dir], run_dir / "report.html")
    numbers = {"trajectories": examples["done"]} | {f"nll/{k}": v for k, v in nll.items() if v is not None}
    made = {"results": run_dir / "summary.json", "page": page, "trajectories": run_dir / "trajectories.jsonl"}
    record(config, config.stage, numbers, made, lineage=functools.partial(lineage_of, config, run_dir),
           tables=functools.partial(search_tables, run_dir), units=UNITS)  # fmt: skip
    lost = examples["failed"] + examples["quarantined"]
    print(f"trajectories  {examples['done']} of {examples['input']} kept")
    if examples["dropped"]:
        print("dropped       " + ", ".join(f"{reason} {n}" for reason, n in examples["dropped"].items()))
    if lost:
        print(f"              {examples['quarantined']} quarantined, {examples['failed']} failed: see "
              f"{run_dir / 'quarantine.jsonl'}")  # fmt: skip
    if examples["done"]:
        print(
            f"mean NLL of y {nll['none']:.3f} without thinking, {nll['first']:.3f} with the first, "
            f"{nll['final']:.3f} with the final thinking (nats per token; {summary['thinking_words']:.0f} words)"
        )
        print("worth         " + ", ".join(f"{name} {value}" for name, value in worth_in_words(summary["worth"])))
        print(f"steps         {steps['accepted']} of {steps['done']} changed the thinking")
        print(f"cost          {cost.forward_tokens:,} tokens run, {cost.reused_tokens:,} reused; "
              f"models busy {cost.seconds:.0f} s in {summary['seconds']:.0f} s")  # fmt: skip
        if line := told_of_draft(summary):
            print(f"draft         {line}")
    print(f"page          {page}")
    return PARTIAL if lost else DONE


def lineage_of(config: SynthesizeConfig, run_dir: Path) -> Lineage:
    """Pairs, and the models that wrote and scored, to trajectories."""
    roles = [role for role in (config.generator, config.scorer, config.draft) if role is not None]
    models = [engine_item(describe(role), known_weights(role)) for role in roles]
    made = ("trajectories.jsonl", "trajectories.parquet")
    return stage_lineage(run_dir, made, models=models, otherwise="pairs")


main = command("synthesize", SynthesizeConfig, run)

if __name__ == "__main__":
    main()
