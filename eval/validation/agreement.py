"""How well a judge agrees with people, beside how well people agree among themselves.

A pure function of scores. A text is the unit of uncertainty: all its ratings are drawn together.
Agreement of people and judge pairs each person's rating with the judge's, so that it stands on the same footing as the
agreement among people.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from statistics import fmean, multimode
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..statistics import AGREEMENT_DRAWS, Estimate, Scale, alpha_of, bootstrap, spearman_of
from .ratings import Ratings

Unit = tuple[str, str]
"""Text and criterion."""
Columns = list[NDArray[np.float64]]
"""Of every text, an array of (ratings, units), or (units,) of a judge; NaN where people gave fewer ratings."""


def agreement(ratings: Ratings, judged: Mapping[Unit, float], seed: int) -> dict[str, Any]:
    """`judged` gives the judge's mean score of every unit that it has verdicts on; others do not count.

    Per criterion, over all of them, and of whole texts (mean over the criteria): Krippendorff's alpha among people
    (`human_human`) and of people and judge (`human_judge`), Spearman of the judge with the people's mean, and for
    yes-or-no questions how often the judge is right by majority, beside always giving the commoner answer.
    """
    names = [criterion.name for criterion in ratings.rubric.criteria]
    units = {name: [(text.id, name) for text in ratings.texts] for name in names}
    return {
        "level": "nominal" if ratings.binary else "interval",
        "criteria": {name: _facts(ratings, judged, [[unit] for unit in units[name]], seed) for name in names},
        "overall": _facts(ratings, judged, list(map(list, zip(*units.values(), strict=True))), seed),
        "by_text": _whole_texts(ratings, judged, seed) if len(names) > 1 else None,
    }


def _facts(
    ratings: Ratings, judged: Mapping[Unit, float], texts: Sequence[Sequence[Unit]], seed: int
) -> dict[str, Any]:
    """Agreement on some units, given text by text."""
    rated = [[unit for unit in text if unit in judged and ratings.scores.get(unit)] for text in texts]
    kept = [text for text in rated if text]
    most = max((len(ratings.scores[unit]) for text in kept for unit in text), default=0)
    people = [_table([list(ratings.scores[unit].values()) for unit in text], most) for text in kept]
    scores = [np.asarray([judged[unit] for unit in text]) for text in kept]
    low, high = ratings.rubric.criteria[0].scale[0], ratings.rubric.criteria[0].scale[-1]
    middle = fmean((low, high))
    said = [np.where(values >= middle, high, low) for values in scores] if ratings.binary else scores
    facts = _alphas(people, said, "nominal" if ratings.binary else "interval", seed)
    facts["spearman"] = _rank(people, scores, seed)
    if ratings.binary:
        facts |= _majority(people, said, seed)
    return {name: asdict(estimate) for name, estimate in facts.items()} | {"n": sum(map(len, kept))}


def _table(given: Sequence[Sequence[float]], rows: int) -> NDArray[np.float64]:
    """Ratings of some units as columns. Which rater stands in which row does not matter to alpha."""
    return np.asarray([[*scores, *[math.nan] * (rows - len(scores))] for scores in given]).T


def _alphas(people: Columns, judge: Columns, level: Scale, seed: int) -> dict[str, Estimate]:
    def of(parts: Columns) -> Estimate:
        if not parts:
            return Estimate(None, None, None, 0)
        return _drawn(len(parts), lambda chosen: alpha_of(np.hstack([parts[n] for n in chosen]), level), seed)

    paired = [_paired(table, said) for table, said in zip(people, judge, strict=True)]
    return {"human_human": of(people), "human_judge": of(paired)}


def _paired(people: NDArray[np.float64], judge: NDArray[np.float64]) -> NDArray[np.float64]:
    """(2, ratings): every person's rating above the judge's on the same unit."""
    given = ~np.isnan(people)
    return np.vstack([people[given], np.broadcast_to(judge, people.shape)[given]])


def _rank(people: Columns, judge: Columns, seed: int) -> Estimate:
    means = [np.nanmean(table, axis=0) for table in people]

    def rho(chosen: NDArray[np.int64]) -> float:
        return spearman_of(np.concatenate([judge[n] for n in chosen]), np.concatenate([means[n] for n in chosen]))

    return _drawn(len(means), rho, seed)


def _majority(people: Columns, judge: Columns, seed: int) -> dict[str, Estimate]:
    """Share of units on which the judge says what most people said; ties among people do not count."""
    votes = [[_vote(column) for column in table.T] for table in people]
    known = [vote for text in votes for vote in text if vote is not None]
    commonest = multimode(known)[0] if known else 0.0
    pairs = [
        [(vote, said) for vote, said in zip(text, answers, strict=True) if vote is not None]
        for text, answers in zip(votes, judge, strict=True)
    ]

    def share(right: Callable[[float, float], bool]) -> Estimate:
        hits = [np.asarray([right(vote, said) for vote, said in text], dtype=np.float64) for text in pairs]

        def mean(chosen: NDArray[np.int64]) -> float:
            drawn = np.concatenate([hits[n] for n in chosen])
            return float(drawn.mean()) if drawn.size else math.nan

        return _drawn(len(hits), mean, seed)

    return {
        "accuracy": share(lambda vote, said: vote == said),
        "commonest": share(lambda vote, said: vote == commonest),
    }


def _vote(column: NDArray[np.float64]) -> float | None:
    found = multimode(column[~np.isnan(column)].tolist())
    return found[0] if len(found) == 1 else None


def _drawn(n: int, statistic: Callable[[NDArray[np.int64]], float], seed: int) -> Estimate:
    return bootstrap(n, statistic, seed, AGREEMENT_DRAWS)


def _whole_texts(ratings: Ratings, judged: Mapping[Unit, float], seed: int) -> dict[str, Any]:
    """The same of each text's mean over all criteria, for texts and raters with a score on every one."""
    names = [criterion.name for criterion in ratings.rubric.criteria]
    given, judge = [], []
    for text in ratings.texts:
        units = [(text.id, name) for name in names]
        everywhere = set.intersection(*({*ratings.scores.get(unit, ())} for unit in units))
        if everywhere and all(unit in judged for unit in units):
            given.append([fmean(ratings.scores[unit][rater] for unit in units) for rater in sorted(everywhere)])
            judge.append(np.asarray([fmean(judged[unit] for unit in units)]))
    most = max(map(len, given), default=0)
    people = [_table([scores], most) for scores in given]
    facts = _alphas(people, judge, "interval", seed) | {"spearman": _rank(people, judge, seed)}
    return {name: asdict(estimate) for name, estimate in facts.items()} | {"n": len(people)}
