"""How likely held-out answers are to each model of a table, over prompts and seeds, from finished evaluations alone.

Nats per token of the reference answer, each model behind its own thinking (eval/scoring/lifts.py). Counted are the
prompts that every row and seed has such a number for.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

import numpy as np

from eval.scoring.lifts import comparable, own_nll
from eval.scoring.table import signed
from eval.statistics import Floats, crossed_bootstrap, holm, paired_difference
from experiments.work import Workplace
from reer.files.results import Row, read_run

BENCHMARK = "reasoning"
"""The one that comes with reference answers."""
FEWEST = 4
"""Prompts of one source that make a group of their own."""
Lifts = Mapping[str, Row]
"""Rows of lift.jsonl by prompt."""


@dataclass(frozen=True)
class Likelihood:
    """One row of the table: `nlls` is (seeds, prompts), in nats per answer token."""

    title: str
    experiment: str
    nlls: Floats
    thinking_tokens: float
    scored: float
    """Thoughts of a prompt, of those that were asked for."""


def likelihood_lines(state: Mapping[str, Any], workplace: Workplace, finished: Sequence[str]) -> Iterator[str]:
    """The section as Markdown; nothing where fewer than two finished rows were measured. `finished`: experiments."""
    rows = [row for row in state["rows"] if row["experiment"] in finished]
    read = {row["experiment"]: _lifts(row, workplace) for row in rows}
    measured = {name: found for name, found in read.items() if found and all(found)}
    if len(measured) < 2 or state["reference"] not in measured:
        return
    prompts, _ = comparable([lifts for found in measured.values() for lifts in found])
    table = [_likelihood(row, measured[row["experiment"]], prompts) for row in rows if row["experiment"] in measured]
    [reference] = [row for row in table if row.experiment == state["reference"]]
    seeds = f", mean over seeds {', '.join(map(str, state['seeds']))}" if len(state["seeds"]) > 1 else ""
    yield f"\nNLL of {len(prompts)} held-out answers behind the model's own thinking, nats per token{seeds}\n"
    if not prompts:
        yield "no answer has a usable number in every row"
        return
    yield f"| | NLL | thinking tokens | thoughts scored | less `{reference.title}` [95 %] | p | after Holm |"
    yield f"|---{'|---' * 6}|"
    yield from _compared(table, reference, state["decides"])
    yield f"\n{_intervals(state)}"
    yield from _by_source(table, reference, _sources(rows[0], workplace, prompts))


def _lifts(row: Mapping[str, Any], workplace: Workplace) -> list[Lifts]:
    """Of each seed, by prompt."""
    runs = [read_run(workplace.path / folder / BENCHMARK) for folder in row["folders"]]
    return [{lift["id"]: lift for lift in run.rows("lift.jsonl")} for run in runs]


def _likelihood(row: Mapping[str, Any], found: Sequence[Lifts], prompts: Sequence[str]) -> Likelihood:
    chosen = [[lifts[name] for name in prompts] for lifts in found]
    lengths = [lift.get("thinking_tokens") or 0 for rows in chosen for lift in rows]
    nlls = np.asarray([[own_nll(lift) for lift in rows] for rows in chosen])
    scored = (
        fmean((lift.get("thoughts") or {}).get("scored", 0) for rows in chosen for lift in rows) if prompts else 0.0
    )
    return Likelihood(row["title"], row["experiment"], nlls, fmean(lengths) if lengths else 0.0, scored)


def _sources(row: Mapping[str, Any], workplace: Workplace, prompts: Sequence[str]) -> list[str]:
    """Where the answer to each prompt is from; sources of few prompts are taken together."""
    items = {item["id"]: item for item in read_run(workplace.path / row["folders"][0] / BENCHMARK).rows("items.jsonl")}
    named = [str(items.get(name, {}).get("source") or "unknown").partition(";")[0] for name in prompts]
    counts = Counter(named)
    return [name if counts[name] >= FEWEST else "all others" for name in named]


def _compared(table: Sequence[Likelihood], reference: Likelihood, decides: Sequence[str]) -> Iterator[str]:
    others = [row for row in table if row is not reference]
    p = {row.experiment: _p(row, reference) for row in others}
    decisive = {name: found for name, found in p.items() if name in decides and found is not None}
    missing = [1.0] * len(set(decides) - decisive.keys())  # the correction is for all that were to decide
    adjusted = dict(zip(decisive, holm([*decisive.values(), *missing]), strict=False))
    for row in table:
        cells = [f"{row.nlls.mean():.4f}", f"{row.thinking_tokens:,.0f}", f"{row.scored:.1f}"]
        cells.append("" if row is reference else _less(row, reference))
        cells += ["" if (found := tests.get(row.experiment)) is None else f"{found:.4f}" for tests in (p, adjusted)]
        yield f"| {row.title} | {' | '.join(cells)} |"


def _p(row: Likelihood, reference: Likelihood) -> float | None:
    """Of a permutation test over prompts, of the means over seeds."""
    ours, theirs = (dict(enumerate(found.nlls.mean(axis=0).tolist())) for found in (reference, row))
    return paired_difference(ours, theirs, 0).p


def _less(row: Likelihood, reference: Likelihood, chosen: Sequence[int] | slice = slice(None)) -> str:
    """The difference with its interval, of the chosen prompts."""
    return signed(asdict(crossed_bootstrap((row.nlls - reference.nlls)[:, chosen], 0)), digits=4)


def _intervals(state: Mapping[str, Any]) -> str:
    over = "prompts and seeds" if len(state["seeds"]) > 1 else "prompts; one seed says nothing of another training"
    titles = {row["experiment"]: row["title"] for row in state["rows"]}
    named = [f"`{titles[name]}`" for name in state["decides"] if name in titles]
    decides = f" Said beforehand to decide, and corrected for being {len(named)}: {', '.join(named)}." if named else ""
    return (
        f"Intervals are of a bootstrap over {over}; p is of a permutation test over prompts and holds nothing of "
        f"seeds.{decides}"
    )


def _by_source(table: Sequence[Likelihood], reference: Likelihood, sources: Sequence[str]) -> Iterator[str]:
    """The differences by where the answers are from."""
    if len(set(sources)) < 2:
        return
    yield "\nby source of the answers"
    for source, n in Counter(sources).most_common():
        chosen = [place for place, name in enumerate(sources) if name == source]
        found = [f"{row.title} {_less(row, reference, chosen)}" for row in table if row is not reference]
        yield f"  {source} ({n}): {', '.join(found)}"
