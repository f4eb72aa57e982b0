"""Stored rows become results.json: means over prompts with intervals, and what has no score counted beside them.

A pure function of the rows: no model, no clock. Repeats, judges and criteria of one prompt are averaged before
prompts are, so that a prompt is the unit of uncertainty.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

from reer.manifest import seed_of
from reer.types import FORMAT_VERSION, Example, Rubric

from .judge import settled
from .lift import current_lifts
from .respond import current_answers
from .rubric import FLOOR
from .statistics import bootstrap_mean
from .store import Row

Scores = Mapping[str, float | None]


@dataclass(frozen=True, slots=True)
class Stored:
    """The rows of one evaluation, as they stand in its run folder."""

    answers: Sequence[Row]
    verdicts: Sequence[Row]
    lifts: Sequence[Row]


def summarise(
    stored: Stored,
    examples: Sequence[Example],
    rubric: Rubric,
    *,
    model: str,
    judges: Sequence[str],
    repeats: int,
    seed: int,
    lift_measured: bool = True,
) -> dict[str, Any]:
    """The content of results.json. `n` counts prompts asked, `n_ok` those whose score enters the mean."""
    answers = current_answers(stored.answers, examples)
    verdicts = settled(stored.verdicts, list(answers.values()), rubric, judges)
    cells, failures = _cells(answers, verdicts, rubric, judges, repeats)
    failures["not_answered"] = len(examples) - len(answers)
    lifts = current_lifts(stored.lifts, examples)
    return {
        "model": model,
        "benchmarks": {
            rubric.name: {
                **_dimensions(cells, rubric, len(examples), seed),
                "failures": {status: n for status, n in sorted(failures.items()) if n},
                "judges": list(judges),
                "rubric": rubric.version,
            }
        },
        "reference_lift": _reference_lift(list(lifts.values()), len(examples), seed) if lift_measured else None,
        "outputs": _outputs(list(answers.values()), seed),
        "format_version": FORMAT_VERSION,
    }


def _cells(
    answers: Mapping[str, Row],
    verdicts: Mapping[tuple[str, str, int], Row],
    rubric: Rubric,
    judges: Sequence[str],
    repeats: int,
) -> tuple[dict[str, list[Scores]], Counter[str]]:
    """Scores of every answered prompt, one mapping per ok verdict, and how many verdicts have none and why.

    A failed answer gets the floor on every criterion and is counted as `answer_failed`, once per prompt.
    """
    cells: dict[str, list[Scores]] = defaultdict(list)
    failures: Counter[str] = Counter()
    for id_, answer in answers.items():
        if not answer["answer"]:
            cells[id_].append({criterion.name: float(FLOOR) for criterion in rubric.criteria})
            failures["answer_failed"] += 1
            continue
        for key in ((judge, id_, repeat) for judge in judges for repeat in range(repeats)):
            verdict = verdicts.get(key)
            if verdict is not None and verdict["status"] == "ok":
                cells[id_].append(verdict["scores"])
            else:
                failures[verdict["status"] if verdict else "not_judged"] += 1
    return cells, failures


def _dimensions(cells: Mapping[str, Sequence[Scores]], rubric: Rubric, n: int, seed: int) -> dict[str, Any]:
    scores, by_prompt = {}, defaultdict(list)
    for criterion in rubric.criteria:
        means, not_applicable = [], 0
        for id_, verdicts in cells.items():
            given = [score for verdict in verdicts if (score := verdict[criterion.name]) is not None]
            not_applicable += not given
            if given:
                means.append(fmean(given))
                by_prompt[id_].append(means[-1])
        scores[criterion.name] = _interval(means, n, seed, criterion.name)
        if criterion.may_not_apply:
            scores[criterion.name]["not_applicable"] = not_applicable
    overall = _interval([fmean(means) for means in by_prompt.values()], n, seed, "overall")
    return {"scores": scores, "overall": overall}


def _reference_lift(rows: Sequence[Row], n: int, seed: int) -> dict[str, Any]:
    ok = [row for row in rows if row["status"] == "ok"]
    names = ("base", "model", "model_with_thinking")
    return {
        **asdict(bootstrap_mean([row["lift"] for row in ok], seed_of(seed, "lift"))),
        "n_asked": n,
        "missing": len(rows) - len(ok),
        "nll": {name: fmean(row["nll"][name] for row in ok) if ok else None for name in names},
    }


def _outputs(answers: Sequence[Row], seed: int) -> dict[str, Any]:
    facts = {"well_formed": "well_formed", "loop_rate": "loop", "words": "words"}
    outputs = {
        name: asdict(bootstrap_mean([float(row[key]) for row in answers], seed_of(seed, name)))
        for name, key in facts.items()
    }
    cut = [float(row["finish_reason"] == "length") for row in answers]
    return outputs | {"truncated": asdict(bootstrap_mean(cut, seed_of(seed, "truncated")))}


def _interval(values: Sequence[float], n: int, seed: int, name: str) -> dict[str, Any]:
    estimate = bootstrap_mean(values, seed_of(seed, name))
    return {"mean": estimate.mean, "low": estimate.low, "high": estimate.high, "n_ok": estimate.n, "n": n}
