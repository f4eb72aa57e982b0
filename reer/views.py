"""What the page shows of each stage, as plain values for the templates: chosen, ordered, with edits marked.

Knows results and figures; knows nothing of HTML. Samples are seeded: the same folders give the same page.
"""

import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from statistics import fmean, stdev
from typing import Any

from reer import plots
from reer.diff import diff
from reer.results import Curve, Evaluation, Key, Row, Run, read_curve, read_evaluation

View = dict[str, Any]

EXTREMES = 10
"""Of a sample, so many come from either end."""


def sample(values: Sequence[float], limit: int) -> list[int]:
    """Indexes to show, the largest value first: everything, or the extremes and a seeded draw from the rest."""
    order = sorted(range(len(values)), key=lambda index: (-values[index], index))
    if len(order) <= limit:
        return order
    ends = min(EXTREMES, limit // 3)
    drawn = random.Random(0).sample(range(ends, len(order) - ends), limit - 2 * ends)
    return [order[rank] for rank in (*range(ends), *sorted(drawn), *range(len(order) - ends, len(order)))]


def search_view(run: Run, shown: int) -> View:
    """A synthesis: its curves from every trajectory, and the texts of those shown."""
    curves = [read_curve(row) for row in run.rows("trajectories.jsonl")]
    picked = sample([curve.gain if curve else 0.0 for curve in curves], shown)
    wanted = {index: rank for rank, index in enumerate(picked)}
    rows = [(wanted[n], row) for n, row in enumerate(run.rows("trajectories.jsonl")) if n in wanted]
    known = [curve for curve in curves if curve]
    visible = [curve for index in picked if (curve := curves[index])]
    return {
        "run": run,
        "summary": run.summary,
        "total": len(curves),
        "trajectories": [trajectory_view(row) for _, row in sorted(rows, key=lambda pair: pair[0])],
        "plots": [plots.descent(known, visible), plots.gains(visible)] if known else [],
        "means": _means(known) if known else None,
        "domains": _by_domain(known),
    }


def _means(curves: Sequence[Curve]) -> View:
    """Mean NLLs of some searches, and the mean gain with the half-width of its 95% interval."""
    gains = [curve.gain for curve in curves]
    return {
        "n": len(curves),
        "none": fmean(curve.none for curve in curves),
        "first": fmean(curve.first for curve in curves),
        "final": fmean(curve.final for curve in curves),
        "gain": fmean(gains),
        "half": 1.96 * stdev(gains) / len(gains) ** 0.5 if len(gains) > 1 else None,
        "better": sum(gain > 0 for gain in gains),
    }


def _by_domain(curves: Iterable[Curve]) -> list[tuple[str, View]]:
    """Means by domain, when there is more than one."""
    groups: dict[str, list[Curve]] = defaultdict(list)
    for curve in curves:
        groups[curve.domain].append(curve)
    return [(domain, _means(group)) for domain, group in sorted(groups.items())] if len(groups) > 1 else []


def trajectory_view(row: Row) -> View:
    """One trajectory with its edits marked."""
    curve = read_curve(row)
    first = row.get("first") or {}
    before, after = (part.get("segments") or [part.get("thinking") or ""] for part in (first, row))
    nll = curve.first if curve else None
    steps = []
    for step in row.get("steps") or ():
        steps.append(_step_view(step, nll))
        nll = step.get("nll")
    return {
        "row": row,
        "curve": curve,
        "spark": _spark(curve) if curve else "",
        "diff": diff(before, after) if first else [("same", "".join(after))],
        "steps": steps,
    }


def _step_view(step: Row, nll_before: float | None) -> View:
    candidates, kept, nll = step.get("candidates") or [], step.get("kept"), step.get("nll")
    before = step.get("before") or ""
    after = before if kept is None else candidates[kept].get("text") or ""
    return {
        **step,
        "candidates": candidates,
        "diff": diff([before.strip()], [after.strip()]) if kept is not None else [("same", before.strip())],
        "change": nll - nll_before if nll is not None and nll_before is not None else None,
    }


def _spark(curve: Curve, width: float = 84, height: float = 24) -> str:
    """Points of a small line through the curve, for <polyline>."""
    path = [curve.none, curve.first, *curve.steps]
    low, span = min(path), (max(path) - min(path)) or 1.0
    step = (width - 6) / (len(path) - 1)
    return " ".join(
        f"{3 + i * step:.1f},{height - 4 - (y - low) / span * (height - 8):.1f}" for i, y in enumerate(path)
    )


def training_view(run: Run) -> View:
    points = [
        (row["step"], row["loss"])
        for row in run.rows("metrics.jsonl")
        if row.get("loss") is not None and "step" in row
    ]
    return {"run": run, "summary": run.summary, "plots": [plots.loss(points)] if points else []}


def evaluation_view(runs: Sequence[Run], shown: int) -> View:
    """The evaluated models side by side; the first is what the others are compared with."""
    evaluations = _unique([read_evaluation(run) for run in runs])
    keys = list(dict.fromkeys(key for evaluation in evaluations for key in evaluation.answers))
    picked = sample([_advance(evaluations, key) for key in keys], max(1, shown // len(evaluations)))
    return {
        "models": [{"label": evaluation.label, **evaluation.run.summary} for evaluation in evaluations],
        "dimension_plots": _dimension_plots(evaluations),
        "lift_plot": _lift_plot(evaluations, shown),
        "benchmarks": _benchmarks(evaluations),
        "overall": _overall(evaluations),
        "output_names": list(dict.fromkeys(name for e in evaluations for name in e.run.summary.get("outputs") or {})),
        "total": len(keys),
        "prompts": [_prompt_view(evaluations, keys[index]) for index in picked],
    }


def _unique(evaluations: Sequence[Evaluation]) -> list[Evaluation]:
    """Evaluations whose labels differ: where two models go by one name, the folder tells them apart."""
    counts = Counter(evaluation.label for evaluation in evaluations)
    return [
        replace(evaluation, label=f"{evaluation.label} ({evaluation.run.path.name})")
        if counts[evaluation.label] > 1
        else evaluation
        for evaluation in evaluations
    ]


def _advance(evaluations: Sequence[Evaluation], key: Key) -> float:
    """How much better the last model scored on a prompt than the first; its score where there is one model."""
    last, first = evaluations[-1].score(key), evaluations[0].score(key) if len(evaluations) > 1 else 0.0
    return last - first if last is not None and first is not None else 0.0


def _benchmarks(evaluations: Sequence[Evaluation]) -> list[tuple[str, list[str]]]:
    """Benchmarks with their criteria, in the order in which the results name them."""
    found: dict[str, dict[str, None]] = {}
    for evaluation in evaluations:
        for name, result in (evaluation.run.summary.get("benchmarks") or {}).items():
            found.setdefault(name, {}).update(dict.fromkeys(result.get("scores") or {}))
    return [(name, list(criteria)) for name, criteria in found.items()]


def _dimension_plots(evaluations: Sequence[Evaluation]) -> list[tuple[str, str]]:
    """Benchmarks that any model has scores on, each with its figure."""
    drawn = []
    for benchmark, _ in _benchmarks(evaluations):
        models = {}
        for evaluation in evaluations:
            scores = ((evaluation.run.summary.get("benchmarks") or {}).get(benchmark) or {}).get("scores") or {}
            models[evaluation.label] = {name: _interval(score) for name, score in scores.items() if _scored(score)}
        if any(models.values()):
            drawn.append((benchmark, plots.dimensions(benchmark, models)))
    return drawn


def _overall(evaluations: Sequence[Evaluation]) -> list[tuple[str, list[Any]]]:
    """Benchmarks with the overall estimate of each model."""
    return [
        (
            name,
            [((e.run.summary.get("benchmarks") or {}).get(name) or {}).get("overall") for e in evaluations],
        )
        for name, _ in _benchmarks(evaluations)
    ]


def _scored(score: Any) -> bool:
    return isinstance(score, Mapping) and score.get("mean") is not None


def _interval(score: Mapping[str, Any]) -> tuple[float, float, float]:
    """Mean, low and high; a mean without an interval is its own."""
    mean = float(score["mean"])
    low, high = (mean if score.get(end) is None else float(score[end]) for end in ("low", "high"))
    return mean, low, high


def _lift_plot(evaluations: Sequence[Evaluation], shown: int) -> str:
    lifts = []
    for evaluation in evaluations:
        lift = evaluation.run.summary.get("reference_lift") or {}
        if (means := _three(lift)) is not None:
            examples = [three for row in evaluation.lifts.values() if (three := _three(row)) is not None]
            kept = [examples[index] for index in sample([base - last for base, _, last in examples], shown)]
            lifts.append(plots.Lift(evaluation.label, means, tuple(kept)))
    return plots.lift(lifts) if lifts else ""


def _three(row: Row) -> tuple[float, float, float] | None:
    nll = row.get("nll") or {}
    base, model, thinking = (nll.get(name) for name in ("base", "model", "model_with_thinking"))
    return None if base is None or model is None or thinking is None else (base, model, thinking)


def _prompt_view(evaluations: Sequence[Evaluation], key: Key) -> View:
    rows = [evaluation.answers[key] for evaluation in evaluations if key in evaluation.answers]
    return {
        "benchmark": key[0],
        "id": key[1],
        "epoch": key[2],
        "prompt": rows[0].get("prompt") or "",
        "cells": [_cell(evaluation, key) for evaluation in evaluations],
    }


def _cell(evaluation: Evaluation, key: Key) -> View:
    """One model's answer to one prompt, with what the judges said of it."""
    given: dict[str, list[float]] = defaultdict(list)
    reasons: dict[str, list[str]] = defaultdict(list)
    failures: Counter[str] = Counter()
    for row in evaluation.verdicts_of(key):
        if row.get("status") != "ok":
            failures[str(row.get("status"))] += 1
            continue
        for name, score in (row.get("scores") or {}).items():
            given[name] += [] if score is None else [score]
        for name, reason in (row.get("reasons") or {}).items():
            reasons[name] += [reason] if reason else []
    return {
        "label": evaluation.label,
        "answer": evaluation.answers.get(key),
        "overall": evaluation.score(key),
        "scores": [(name, fmean(scores) if scores else None, reasons[name]) for name, scores in given.items()],
        "failures": dict(failures),
        "lift": evaluation.lifts.get(key[1]),
    }
