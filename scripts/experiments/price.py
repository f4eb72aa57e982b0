"""What a table will take, told before it starts: GPU-hours, and what its judge is asked.

Arithmetic, nothing measured. A search: tokens as `dry_run` reckons them, of the shipped pairs, and two operations
for each parameter and token. A training: reer-plan. Judging: the stage's own dry run.
"""

import re
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from experiments.stages import Stage, compose, hydra
from experiments.work import BIN, in_order
from reer.config import PlanningConfig, SynthesizeConfig, load
from reer.files.pairs import path_of, read_pairs
from reer.run.estimate import predict
from reer.run.overrides import as_typed
from train.plan import MATMUL, find_card, schedule
from train.planning.setup import read

DECODING = 0.1
"""Speed at which tokens are written, as a share of that at which they are read: memory is what they wait for."""


def told(lasts: Sequence[Stage]) -> Iterator[str]:
    """The estimate as lines of text, of the last stages of all rows."""
    stages = in_order(lasts)
    searches, trainings = ([s for s in stages if s.command == kind] for kind in ("synthesize", "sft"))
    hours = 0.0
    with hydra():
        planning = _loaded(trainings[0] if trainings else stages[-1], "plan", PlanningConfig)
        for search in searches:
            config = _loaded(search.budget_of or search, "synthesize", SynthesizeConfig)
            took = _search_hours(config, planning)
            hours += took
            yield f"search     {_experiment(search):<32}{took:>9,.0f} GPU-hours  {planning.plan.examples:,} pairs"
        if trainings:
            took = schedule(read(_mixed(planning)), find_card(planning)).gpu_hours
            hours += took * len(trainings)
            yield f"trainings  {len(trainings)} at most like the first{'':<9}{took * len(trainings):>9,.0f} GPU-hours"
    price = planning.plan.price_per_gpu_hour
    dollars = f"  ${hours * price:,.0f}" if price else "  (plan.price_per_gpu_hour=... says how many dollars)"
    gpus = planning.launch.processes
    yield f"in all     {'':<32}{hours:>9,.0f} GPU-hours of {planning.plan.gpu}{dollars}"
    yield f"           {'':<32}{hours / gpus:>9,.0f} hours on {gpus}"
    evaluations = [stage for stage in stages if stage.benchmarks]
    yield f"\n{len(evaluations)} models are evaluated, each on (GPU-hours of their answers are not in the sum):"
    for benchmark in evaluations[0].benchmarks if evaluations else ():
        yield from _dry_run(evaluations[0], benchmark)
    yield f"\nassumed: {planning.plan.utilisation} (plan.utilisation) of {MATMUL} of the card's data sheet is reached;"
    yield f"writing at {DECODING} of the speed of reading; lengths of the 24 shipped pairs; sizes by the models' names"


def _experiment(stage: Stage) -> str:
    return stage.words[0].partition("=")[2]


def _loaded(stage: Stage, command: str, view: type) -> Any:
    return load(compose(command, overrides=as_typed([*stage.words, "name=plan"]).arguments), view)


def _mixed(planning: PlanningConfig) -> PlanningConfig:
    """With the public data that are mixed in."""
    examples = round(planning.plan.examples * (1 + (planning.mix.general.ratio or 0.0)))
    return replace(planning, plan=replace(planning.plan, examples=examples))


def _search_hours(config: SynthesizeConfig, planning: PlanningConfig) -> float:
    """GPU-hours of one search over all pairs."""
    examples = read_pairs(path_of(None), None, config.data).examples
    used = predict(examples, config)
    speed = 1e12 * MATMUL * find_card(planning).tflops * planning.plan.utilisation
    read_by_generator = used.prefilled_tokens + used.generated_tokens / DECODING
    work = 2 * (_size(config.generator) * read_by_generator + _size(config.scorer) * used.scored_tokens)
    return work * planning.plan.examples / len(examples) / speed / 3600


def _size(backend: object) -> float:
    """Parameters by the model's name: Qwen3-8B-Base has 8 billion."""
    path = getattr(getattr(backend, "model", None), "path", "") or getattr(backend, "model_name", "")
    named = re.search(r"(\d+(?:\.\d+)?)B\b", path)
    return float(named.group(1)) * 1e9 if named else 0.0


def _dry_run(stage: Stage, benchmark: str) -> Iterator[str]:
    words: Sequence[str] = (*stage.words, f"benchmark={benchmark}", "name=plan", "dry_run=true")
    done = subprocess.run([BIN / "reer-evaluate", *words], capture_output=True, text=True, check=False)
    lines = done.stdout.splitlines() if done.returncode == 0 else done.stderr.splitlines()[-1:]
    yield from (f"  {line}" for line in lines if not line.startswith("(dry run"))
