"""The estimates of one benchmark, from one score per prompt: overall, by criterion, group, requirement and judge.

The prompt is the unit of uncertainty throughout. Knows scores and statistics; knows no rows of verdicts.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import combinations
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reer.text import seed_of

from ..benchmarks import hellobench
from ..benchmarks.items import Benchmark
from ..benchmarks.longbench_write import length, length_score
from ..statistics import (
    Estimate,
    bootstrap,
    bootstrap_mean,
    cluster_bootstrap,
    histogram,
    krippendorff_alpha,
    length_adjusted,
    spearman,
)
from ..store import Row
from .scores import Bounded, PromptScore

BINS = 10
Entry = dict[str, Any]
"""An estimate as it stands in results.json."""


class Summary:
    """The estimates of one benchmark."""

    def __init__(
        self, benchmark: Benchmark, prompts: Sequence[PromptScore], answers: Mapping[str, Row], seed: int
    ) -> None:
        self.benchmark, self.prompts, self.answers, self.seed = benchmark, prompts, answers, seed
        rubrics = {prompt.item.rubric.version: prompt.item.rubric for prompt in prompts}
        self.shared = next(iter(rubrics.values())) if len(rubrics) == 1 else None
        """The rubric, where all items have the same one."""
        self.mean_of = "task" if benchmark.name == "hellobench" else None
        """The facet whose groups count the same, however many prompts they have; None: prompts do."""
        self.lengths = {p.item.id: _length_bound(p, answers.get(p.item.id)) for p in prompts if p.item.required_words}

    def scores(self) -> dict[str, Any]:
        """Overall, by criterion and by group, with the bounds of the scale."""
        benchmark = self.benchmark
        return {
            "scale": {"low": benchmark.low, "high": benchmark.high},
            "mean_of": self.mean_of,
            "overall": self._headline([self._overall(prompt) for prompt in self.prompts], "overall"),
            "scores": self._criteria(lambda prompt: prompt.criteria, ""),
            "groups": self._groups(),
        }

    def of_judge(self, judge: str, failures: Counter[str], repeats: int) -> dict[str, Any]:
        """What one judge alone says."""
        views = {prompt.item.id: prompt.by_judge[judge] for prompt in self.prompts}
        overall = [self._with_length(p, views[p.item.id].overall) for p in self.prompts]
        variances = [view.variance for view in views.values() if view.variance is not None]
        return {
            "overall": self._headline(overall, f"{judge} overall"),
            "scores": self._criteria(lambda prompt: views[prompt.item.id].criteria, judge),
            "failures": counts(failures),
            "repeats": repeats,
            "repeat_sd": math.sqrt(fmean(variances)) if variances else None,
        }

    def agreement(self, judges: Sequence[str]) -> dict[str, Any] | None:
        """Between judges, on the prompts that have answers to judge."""
        if len(judges) < 2:
            return None
        judged = [p for p in self.prompts if self.answers.get(p.item.id, {}).get("answer")]
        names = [criterion.name for criterion in self.shared.criteria] if self.shared else []
        ratings = {"overall": [[p.by_judge[judge].overall.value for p in judged] for judge in judges]}
        ratings |= {
            name: [[p.by_judge[judge].criteria[name].value for p in judged] for judge in judges] for name in names
        }
        return {name: _agreement(judges, rows) for name, rows in ratings.items()}

    def length(self) -> dict[str, Any]:
        """Of the judged score and the answer's length, over prompts."""
        judged = [p for p in self.prompts if p.overall.value is not None and p.words]
        values, words = [p.overall.value or 0.0 for p in judged], [float(p.words) for p in judged]
        effect = length_adjusted([values], [words]) if judged else None
        return {
            "spearman": spearman(values, words),
            "n": len(judged),
            "per_doubling": effect.slope if effect else None,
        }

    def histograms(self) -> dict[str, Any]:
        benchmark = self.benchmark
        values = [b.value for p in self.prompts if (b := self._overall(p)).value is not None]
        found = {"overall": _histogram(values, benchmark.low, benchmark.high)}
        for criterion in self.shared.criteria if self.shared else ():
            low, high = (self.shared.points(end) for end in (criterion.scale[0], criterion.scale[-1]))  # type: ignore[union-attr]
            parts = (self._points(prompt, prompt.criteria[criterion.name]) for prompt in self.prompts)
            found[criterion.name] = _histogram([part.value for part in parts if part.value is not None], low, high)
        return found

    def rows(self) -> list[Row]:
        """One row per prompt, for scores.jsonl."""
        return [
            {
                "id": prompt.item.id,
                "groups": dict(prompt.item.groups),
                "words": prompt.words,
                "overall": self._overall(prompt).value,
                "scores": {name: self._points(prompt, part).value for name, part in prompt.criteria.items()},
                "by_judge": {
                    judge: {
                        "overall": self._with_length(prompt, view.overall).value,
                        "scores": {name: self._points(prompt, part).value for name, part in view.criteria.items()},
                    }
                    for judge, view in prompt.by_judge.items()
                },
            }
            for prompt in self.prompts
        ]

    def _overall(self, prompt: PromptScore) -> Bounded:
        return self._with_length(prompt, prompt.overall)

    def _with_length(self, prompt: PromptScore, judged: Bounded) -> Bounded:
        """The score of a prompt: what judges say, and in equal parts how its length fits where one is required."""
        fit = self.lengths.get(prompt.item.id)
        return _mean_of(judged, fit) if fit else judged

    def _points(self, prompt: PromptScore, part: Bounded) -> Bounded:
        """A criterion's score on the scale of the answer's."""
        rubric = prompt.item.rubric
        value, worst, best = (None if x is None else rubric.points(x) for x in (part.value, part.worst, part.best))
        return Bounded(value, worst, best, part.applies)

    def _criteria(self, criteria: Callable[[PromptScore], Mapping[str, Bounded]], name: str) -> dict[str, Entry]:
        """Estimates of the criteria that all items share."""
        found: dict[str, Entry] = {}
        for criterion in self.shared.criteria if self.shared else ():
            parts = [self._points(prompt, criteria(prompt)[criterion.name]) for prompt in self.prompts]
            entry = self._mean([part for part in parts if part.applies], f"{name} {criterion.name}".strip())
            if criterion.may_not_apply:
                entry["not_applicable"] = sum(not part.applies for part in parts)
            found[criterion.name] = entry | {"n": len(parts)}
        return found

    def _groups(self) -> dict[str, dict[str, Entry]]:
        grouped: dict[str, dict[str, list[Bounded]]] = defaultdict(lambda: defaultdict(list))
        for prompt in self.prompts:
            for facet, group in prompt.item.groups.items():
                grouped[facet][group].append(self._overall(prompt))
        found = {
            facet: {name: self._mean(parts, f"{facet} {name}") for name, parts in sorted(groups.items())}
            for facet, groups in grouped.items()
        }
        if self.lengths:
            quality = self._mean([prompt.overall for prompt in self.prompts], "S_q")
            found = {"score": {"S_q": quality, "S_l": self._mean(list(self.lengths.values()), "S_l")}} | found
        if self.benchmark.name == "hellobench":
            found["task_rescaled"] = {name: _rescaled(entry) for name, entry in found["task"].items()}
        if requirements := self._requirements():
            found["requirement"] = requirements
        return found

    def _requirements(self) -> dict[str, Entry]:
        """R: queries that make a requirement. C: the criteria that test it, each counting the same."""
        names = sorted({name for prompt in self.prompts for name in prompt.item.requirements})
        found = {}
        for name in names:
            asked = [prompt for prompt in self.prompts if name in prompt.item.requirements]
            tested = [[self._points(p, p.criteria[c]) for c in p.item.requirements[name]] for p in asked]
            found[f"{name} R"] = self._mean([prompt.overall for prompt in asked], f"{name} R")
            found[f"{name} C"] = self._pooled(tested, f"{name} C")
        return found

    def _pooled(self, clusters: Sequence[Sequence[Bounded]], name: str) -> Entry:
        whole = [[b.value for b in parts if b.value is not None] for parts in clusters]
        complete = [values for values, parts in zip(whole, clusters, strict=True) if len(values) == len(parts)]
        estimate = cluster_bootstrap(complete, seed_of(self.seed, name), pooled=True)
        return _entry(estimate, len(clusters), [part for parts in clusters for part in parts])

    def _mean(self, parts: Sequence[Bounded], name: str) -> Entry:
        values = [part.value for part in parts if part.value is not None]
        return _entry(bootstrap_mean(values, seed_of(self.seed, name)), len(parts), parts)

    def _headline(self, parts: Sequence[Bounded], name: str) -> Entry:
        """Mean over prompts; of HelloBench the mean of its tasks, each counting the same."""
        if not self.mean_of:
            return self._mean(parts, name)
        tasks = [prompt.item.groups[self.mean_of] for prompt in self.prompts]
        kept = [(part.value, task) for part, task in zip(parts, tasks, strict=True) if part.value is not None]
        estimate = mean_of_groups([value for value, _ in kept], [task for _, task in kept], seed_of(self.seed, name))
        ends = {
            end: _group_mean(np.array([getattr(part, end) for part in parts], dtype=np.float64), _codes(tasks))
            for end in ("worst", "best")
        }
        return _entry(estimate, len(parts), parts) | ends


def _entry(estimate: Estimate, n: int, parts: Sequence[Bounded]) -> Entry:
    worst, best = (_known_mean(getattr(part, end) for part in parts) for end in ("worst", "best"))
    return {
        "mean": estimate.mean,
        "low": estimate.low,
        "high": estimate.high,
        "n_ok": estimate.n,
        "n": n,
        "worst": worst,
        "best": best,
    }


def _known_mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def _rescaled(entry: Entry) -> Entry:
    keys = ("mean", "low", "high", "worst", "best")
    return entry | {key: None if entry[key] is None else hellobench.rescaled(entry[key]) for key in keys}


def _length_bound(prompt: PromptScore, answer: Row | None) -> Bounded:
    """S_l of one answer; one that is not there could have any length."""
    if answer is None or prompt.item.required_words is None:
        return Bounded(None, 0.0, 100.0)
    fit = length_score(length(answer["answer"]), prompt.item.required_words)
    return Bounded(fit, fit, fit)


def _mean_of(a: Bounded, b: Bounded) -> Bounded:
    pairs = ((a.value, b.value), (a.worst, b.worst), (a.best, b.best))
    value, worst, best = (None if x is None or y is None else (x + y) / 2 for x, y in pairs)
    return Bounded(value, worst, best, a.applies and b.applies)


def mean_of_groups(values: Sequence[float], groups: Sequence[str], seed: int) -> Estimate:
    """Unweighted mean of group means, prompts drawn with replacement; a draw that misses a group goes without it."""
    data, codes = np.asarray(values, dtype=np.float64), _codes(groups)
    return bootstrap(len(data), lambda chosen: _group_mean(data[chosen], codes[chosen]), seed)


def _codes(groups: Sequence[str]) -> NDArray[np.intp]:
    return np.unique(np.asarray(groups), return_inverse=True)[1]


def _group_mean(values: NDArray[np.float64], codes: NDArray[np.intp]) -> float:
    counts = np.bincount(codes)
    sums = np.bincount(codes, weights=values)[counts > 0]
    return float((sums / counts[counts > 0]).mean())


def _histogram(values: Sequence[float], low: float, high: float) -> dict[str, Any]:
    edges = [low + (high - low) * step / BINS for step in range(BINS + 1)]
    return {"edges": edges, "counts": histogram(values, low, high, BINS)}


def _agreement(judges: Sequence[str], ratings: Sequence[Sequence[float | None]]) -> dict[str, Any]:
    """`ratings`: a row per judge, a column per prompt."""
    correlations = {}
    for (a, first), (b, second) in combinations(zip(judges, ratings, strict=True), 2):
        both = [(x, y) for x, y in zip(first, second, strict=True) if x is not None and y is not None]
        correlations[f"{a} and {b}"] = spearman([x for x, _ in both], [y for _, y in both])
    rated = sum(sum(value is not None for value in column) > 1 for column in zip(*ratings, strict=True))
    return {"alpha": krippendorff_alpha(ratings, "interval"), "spearman": correlations, "n": rated}


def counts(counter: Mapping[str, int]) -> dict[str, int]:
    return {status: n for status, n in sorted(counter.items()) if n}
