"""What the page shows of a search and of a training, as plain values for the templates, with edits marked.

Knows results and figures; knows nothing of HTML. Samples are seeded: the same folders give the same page.
"""

import random
from collections import defaultdict
from collections.abc import Iterable, Sequence
from statistics import fmean, stdev
from typing import Any

from reer.files.results import Curve, Row, Run, read_curve
from reer.page import plots
from reer.page.diff import diff

View = dict[str, Any]

SAMPLES = 8
"""Texts of a training that a page holds at most."""
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
    """A training: its loss, what was measured on held-out trajectories, and what the model wrote on the way."""
    rows = [row for row in run.rows("metrics.jsonl") if "step" in row]
    losses, answer, thinking = (_points(rows, key) for key in ("loss", "nll_answer", "nll_thinking"))
    figures = [("Training loss", "Over thinking, answer and end of turn.", plots.loss(losses))] if losses else []
    if answer:
        seen = "On trajectories that were not trained on: the answer given its thinking, and the thinking."
        figures.append(("Held-out NLL", seen, plots.held_out(answer, thinking)))
    samples = list(run.rows("samples.jsonl"))
    last = max((row["step"] for row in samples), default=None)
    return {
        "run": run,
        "summary": run.summary,
        "plots": figures,
        "samples": [row for row in samples if row["step"] == last][:SAMPLES],
    }


def _points(rows: Sequence[Row], key: str) -> list[tuple[float, float]]:
    return [(row["step"], row[key]) for row in rows if row.get(key) is not None]
