"""From verdicts to one score per prompt: by judge, over judges, and between what bounds where verdicts are missing.

Repeats of a judge are averaged before judges are, so that each judge counts the same. A criterion's value is the mean
of its usable repeats; a prompt without any usable verdict for a criterion has no value. The bounds put the lowest, the
highest score in place of every missing verdict, missing repeats included. Knows rows and rubrics, no statistics.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, variance

from ..benchmarks.items import Item
from ..judging.ask import Cell, calls_of
from ..store import Row
from ..types import Criterion, Rubric

MISSING = "missing"
Score = float | None
"""None: the criterion does not apply."""


@dataclass(frozen=True, slots=True)
class Bounded:
    """A prompt's score, and what it would be if every missing verdict were the lowest, the highest."""

    value: float | None
    """None where a criterion has no usable verdict, or none applies."""
    worst: float | None
    best: float | None
    applies: bool = True


@dataclass(frozen=True, slots=True)
class JudgeView:
    """What one judge said of one answer."""

    criteria: Mapping[str, Bounded]
    overall: Bounded
    variance: float | None
    """Of its repeats' overall scores; None for fewer than two."""


@dataclass(frozen=True, slots=True)
class PromptScore:
    """What all judges together said of one answer; criteria on the rubric's own scale."""

    item: Item
    words: int
    answered: bool
    criteria: Mapping[str, Bounded]
    overall: Bounded
    by_judge: Mapping[str, JudgeView]


def score_prompts(
    items: Sequence[Item], answers: Mapping[str, Row], verdicts: Mapping[Cell, Row], judges: Mapping[str, int]
) -> tuple[list[PromptScore], dict[str, Counter[str]]]:
    """A score for every item, in their order; `judges` maps each judge to its number of repeats.

    Returns also each judge's verdicts that have no score: how many, by status. An answer that is not there has none
    either, an empty one the floor on every criterion.
    """
    failures: dict[str, Counter[str]] = {judge: Counter() for judge in judges}
    scored = []
    for item in items:
        answer = answers.get(item.id)
        views = {}
        for judge, repeats in judges.items():
            cells: Sequence[Mapping[str, Score | str]]
            if answer is None:
                cells = [dict.fromkeys(_names(item.rubric), MISSING)] * repeats
            elif not answer["answer"]:
                cells = [{criterion.name: criterion.scale[0] for criterion in item.rubric.criteria}]
            else:
                cells = [_cell(item, verdicts, judge, repeat, failures[judge]) for repeat in range(repeats)]
            views[judge] = _view(item.rubric, cells)
        scored.append(_together(item, answer, views))
    return scored, failures


def _names(rubric: Rubric) -> list[str]:
    return [criterion.name for criterion in rubric.criteria]


def _cell(
    item: Item, verdicts: Mapping[Cell, Row], judge: str, repeat: int, failures: Counter[str]
) -> dict[str, Score | str]:
    """One repeat's score on each criterion, `MISSING` where its verdict failed."""
    found: dict[str, Score | str] = {}
    for call in calls_of(item.rubric):
        asked = [call.name] if call else _names(item.rubric)
        row = verdicts.get((judge, item.id, repeat, call.name if call else None))
        if row is not None and row["status"] == "ok":
            found |= {name: row["scores"][name] for name in asked}
        else:
            failures[row["status"] if row else "not_judged"] += 1
            found |= dict.fromkeys(asked, MISSING)
    return found


def _view(rubric: Rubric, cells: Sequence[Mapping[str, Score | str]]) -> JudgeView:
    criteria = {c.name: _criterion(c, [cell[c.name] for cell in cells]) for c in rubric.criteria}
    whole = [cell for cell in cells if MISSING not in cell.values()]
    repeats = [score for cell in whole if (score := _overall(rubric, cell.__getitem__)) is not None]
    return JudgeView(
        criteria=criteria,
        overall=_bounded(rubric, criteria),
        variance=variance(repeats) if len(repeats) > 1 else None,
    )


def _criterion(criterion: Criterion, given: Sequence[Score | str]) -> Bounded:
    """Mean of the repeats that have a score; none if no repeat has one."""
    ok = [score for score in given if score != MISSING]
    numbers = [float(score) for score in ok if score is not None]
    missing = len(given) - len(ok)
    low, high = criterion.scale[0], criterion.scale[-1]
    bounds = [_mean([*numbers, *[bound] * missing]) for bound in (low, high)]
    applies = bool(numbers) or not ok
    return Bounded(fmean(numbers) if numbers else None, bounds[0], bounds[1], applies)


def _mean(values: Sequence[float]) -> float | None:
    return fmean(values) if values else None


def _overall(rubric: Rubric, score: Callable[[str], Score | str]) -> float | None:
    """The answer's score from its criteria's; None where none applies."""
    given = [
        (criterion.weight, found) for criterion in rubric.criteria if (found := score(criterion.name)) is not None
    ]
    total = sum(weight for weight, _ in given)
    return rubric.points(sum(weight * float(found) for weight, found in given) / total) if given else None


def _bounded(rubric: Rubric, criteria: Mapping[str, Bounded]) -> Bounded:
    complete = all(part.value is not None or not part.applies for part in criteria.values())
    return Bounded(
        _overall(rubric, lambda name: criteria[name].value) if complete else None,
        _overall(rubric, lambda name: criteria[name].worst),
        _overall(rubric, lambda name: criteria[name].best),
        any(part.applies for part in criteria.values()),
    )


def _together(item: Item, answer: Row | None, views: Mapping[str, JudgeView]) -> PromptScore:
    criteria = {name: _over_judges([view.criteria[name] for view in views.values()]) for name in _names(item.rubric)}
    return PromptScore(
        item=item,
        words=answer["words"] if answer else 0,
        answered=answer is not None,
        criteria=criteria,
        overall=_over_judges([view.overall for view in views.values()]),
        by_judge=views,
    )


def _over_judges(parts: Sequence[Bounded]) -> Bounded:
    """Mean over judges; none if one that finds the criterion applicable has no score."""
    applicable = [part for part in parts if part.applies]
    values = [part.value for part in applicable if part.value is not None]
    return Bounded(
        fmean(values) if values and len(values) == len(applicable) else None,
        _mean([part.worst for part in parts if part.worst is not None]),
        _mean([part.best for part in parts if part.best is not None]),
        bool(applicable),
    )
