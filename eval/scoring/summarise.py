"""Stored rows become results.json and scores.jsonl: means over prompts with intervals, what is missing beside them.

A pure function of the rows: no model, no clock. How verdicts become a prompt's score is in `scores.py`,
how those become estimates in `summary.py`.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from reer.config import ModelJudgeConfig
from reer.files.results import served_models

from ..answering.answers import answer_counts
from ..answering.outputs import measure_outputs
from ..answering.respond import current_answers
from ..benchmarks.items import Benchmark
from ..benchmarks.rubric import WORDING
from ..judging.ask import settled
from ..judging.budget import cost_of
from ..store import Row
from .lifts import reference_lift
from .scores import score_prompts
from .summary import Summary, counts

RESULTS_VERSION = 2
Judges = Mapping[str, ModelJudgeConfig]


@dataclass(frozen=True, slots=True)
class Stored:
    """The rows of one evaluation, as they stand in its run folder."""

    answers: Sequence[Row]
    verdicts: Sequence[Row]
    lifts: Sequence[Row]
    anchors: Sequence[Row] = ()


def summarise(
    stored: Stored,
    benchmark: Benchmark,
    judges: Judges,
    *,
    model: str,
    seed: int,
    lift_measured: bool = True,
    training: Iterable[str] | None = None,
) -> tuple[dict[str, Any], list[Row]]:
    """The content of results.json and the rows of scores.jsonl."""
    answers = current_answers(stored.answers, benchmark.items)
    verdicts = settled(stored.verdicts, answers)
    repeats = {name: config.repeats for name, config in judges.items()}
    prompts, failures = score_prompts(benchmark.items, answers, verdicts, repeats)
    found = Summary(benchmark, prompts, answers, seed)
    required = {item.id: item.required_words for item in benchmark.items if item.required_words}
    references = [item.reference for item in benchmark.items if item.reference]
    lift = reference_lift(stored.lifts, references, seed) if lift_measured and references else None
    paid = [*stored.verdicts, *stored.anchors]
    result = found.scores() | {
        "answers": answer_counts(benchmark.items, answers),
        "failures": counts(sum(failures.values(), Counter())),
        "judges": list(judges),
        "by_judge": {name: found.of_judge(name, failures[name], repeats[name]) for name in judges},
        "served_models": served_models(verdicts.values()),
        "agreement": found.agreement(list(judges)),
        "length": found.length(),
        "histograms": found.histograms(),
        "cost": {name: cost_of((row for row in paid if row["judge"] == name), judges[name]) for name in judges},
        "rubric": benchmark.version,
        "prompts": WORDING,
        "weights": benchmark.weights,
        "data": asdict(benchmark.source) | {"items": len(benchmark.known), "asked": len(benchmark.items)},
    }
    results = {
        "model": model,
        "benchmarks": {benchmark.name: result},
        "reference_lift": lift,
        "outputs": measure_outputs(list(answers.values()), required, training, seed),
        "format_version": RESULTS_VERSION,
    }
    return results, found.rows()
