"""What the page shows of a search and of a training, as plain values for the templates, with edits marked.

Knows results and figures; knows nothing of HTML. Samples are seeded: the same folders give the same page.
"""

import random
from array import array
from collections import defaultdict
from collections.abc import Sequence
from statistics import fmean, stdev
from typing import Any

from reer.files.results import Curve, Row, Run, read_curve
from reer.page import plots
from reer.page.diff import diff
from reer.page.overview import told_of_draft

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
    """A synthesis: figures over every trajectory, of which a few numbers are held, and the texts of those shown."""
    gains, totals, path = array("d"), _Totals(), plots.MeanPath()
    domains: dict[str, _Totals] = defaultdict(_Totals)
    for row in run.rows("trajectories.jsonl"):
        curve = read_curve(row)
        gains.append(curve.gain if curve else 0.0)
        if curve:
            path.add(curve)
            totals.add(curve)
            domains[curve.domain].add(curve)
    wanted = {index: rank for rank, index in enumerate(sample(gains, shown))}
    rows = [(wanted[n], row) for n, row in enumerate(run.rows("trajectories.jsonl")) if n in wanted]
    views = [trajectory_view(row) for _, row in sorted(rows, key=lambda pair: pair[0])]
    visible = [view["curve"] for view in views if view["curve"]]
    return {
        "run": run,
        "summary": run.summary,
        "draft": told_of_draft(run.summary),
        "total": len(gains),
        "trajectories": views,
        "plots": [plots.descent(path.mean(), visible), plots.gains(visible)] if totals.gains else [],
        "means": totals.means() if totals.gains else None,
        "domains": [(name, domain.means()) for name, domain in sorted(domains.items())] if len(domains) > 1 else [],
    }


class _Totals:
    """The NLLs of some searches, eight bytes each."""

    def __init__(self) -> None:
        self.none, self.first, self.final, self.gains = (array("d") for _ in range(4))

    def add(self, curve: Curve) -> None:
        for values, nll in (
            (self.none, curve.none), (self.first, curve.first), (self.final, curve.final), (self.gains, curve.gain)
        ):  # fmt: skip
            values.append(nll)

    def means(self) -> View:
        """Mean NLLs, and the mean gain with the half-width of its 95% interval."""
        n = len(self.gains)
        return {
            "n": n,
            "none": fmean(self.none),
            "first": fmean(self.first),
            "final": fmean(self.final),
            "gain": fmean(self.gains),
            "half": 1.96 * stdev(self.gains) / n**0.5 if n > 1 else None,
            "better": sum(gain > 0 for gain in self.gains),
        }


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
