"""The figures of an evaluation: scores with intervals, radar, histogram, differences between models, reference lift.

Knows numbers and their labels; `plots` renders what is drawn here. The same numbers give the same bytes.
"""

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import Any

from reer.page.plots import INK, MODELS, MUTED, NARROW, NONE, RULE, faint, render, short, title

Interval = tuple[float, float, float]
"""Mean, low and high."""


@dataclass(frozen=True, slots=True)
class Lift:
    """NLL of reference answers under one evaluated model: base, model, and model with its own thinking."""

    label: str
    index: int
    """Of the model among all on the page, which decides its colour."""
    means: tuple[float, float, float]
    examples: tuple[tuple[float, float, float], ...]
    thinking: float | None = None
    """Mean tokens of the thinking; None where nobody counted them."""


def dimensions(
    benchmark: str, models: Mapping[str, Mapping[str, Interval]], scale: tuple[float, float] | None = None
) -> str:
    """Mean raw scores with their intervals: one row per criterion, one dot per model.

    The axis shows where the scores lie; `scale`, the lowest and highest score there are, is named beside it.
    """
    criteria = list(dict.fromkeys(chain.from_iterable(models.values())))

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        for index, (label, scores) in enumerate(models.items()):
            if not scores:
                continue
            offset = (index - (len(models) - 1) / 2) * min(0.26, 0.8 / len(models))
            rows = [criteria.index(name) + offset for name in scores]
            means, lows, highs = zip(*scores.values(), strict=True)
            colour = MODELS[index % len(MODELS)]
            axes.hlines(rows, lows, highs, color=colour, linewidth=2, alpha=0.55)
            axes.scatter(means, rows, s=34, color=colour, label=label, zorder=3, linewidths=0)
        wrap = 26 if figure.get_figwidth() > NARROW else 14
        axes.set_yticks(range(len(criteria)), ["\n".join(textwrap.wrap(title(name), wrap)[:3]) for name in criteria])
        axes.set_ylim(len(criteria) - 0.5, -0.5)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        if scale:
            axes.set_xlim(
                *_window([end for found in models.values() for ends in found.values() for end in ends], scale)
            )
        axes.set_xlabel(f"raw score{f' (of {scale[0]:g} to {scale[1]:g})' if scale else ''}, with 95% interval")
        axes.grid(axis="x")
        figure.legend(loc="outside upper left", ncols=3)

    alt = f"Scores by criterion on {benchmark}, one dot per model"
    return render(f"dimensions-{benchmark}", alt, draw, 1.1 + 0.42 * max(3, len(criteria)))


def _window(ends: Sequence[float], scale: tuple[float, float]) -> tuple[float, float]:
    """Ends of an axis: the scores with a margin, at least a quarter of the scale, and nothing beyond the scale."""
    low, high, span = min(ends), max(ends), scale[1] - scale[0]
    margin = max(0.04 * span, (0.25 * span - (high - low)) / 2)
    edge = 0.015 * span
    return max(scale[0] - edge, low - margin), min(scale[1] + edge, high + margin)


def radar(
    benchmark: str, models: Mapping[str, Mapping[str, Interval]], scale: tuple[float, float], labels: Sequence[str]
) -> str:
    """The same raw means on one axis each, over the whole scale; all models have all criteria, at least three."""
    criteria = list(next(iter(models.values())))
    angles = [2 * math.pi * n / len(criteria) for n in range(len(criteria))]

    def draw(figure: Any) -> None:
        axes = figure.subplots(subplot_kw={"projection": "polar"})
        axes.set_theta_zero_location("N")
        axes.set_theta_direction(-1)
        for label, scores in models.items():
            colour = MODELS[labels.index(label) % len(MODELS)]
            means = [scores[name][0] for name in criteria]
            axes.plot([*angles, angles[0]], [*means, means[0]], color=colour, linewidth=1.8)
            axes.fill(angles, means, color=colour, alpha=0.07)
        wrap = 16 if figure.get_figwidth() > NARROW else 11
        axes.set_xticks(
            angles, ["\n".join(textwrap.wrap(title(name), wrap, break_long_words=False)[:3]) for name in criteria]
        )
        axes.set_ylim(*scale)
        ticks = [scale[0] + part * (scale[1] - scale[0]) for part in (0.25, 0.5, 0.75, 1)]
        axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks], fontsize=7.5)
        axes.tick_params(axis="y", labelcolor=MUTED)
        axes.tick_params(axis="x", pad=9, labelsize=8)
        axes.grid(color=RULE, linewidth=0.6)
        axes.spines["polar"].set_visible(False)

    alt = f"The same means as a radar on {benchmark}, one outline per model"
    return render(f"radar-{benchmark}", alt, draw, 3.3)


def histogram(benchmark: str, models: Mapping[str, Mapping[str, Any]], labels: Sequence[str]) -> str:
    """How many prompts got which score: one small panel per model; `edges` has one number more than `counts`."""
    columns = min(3, len(models))
    rows = -(-len(models) // columns)

    def draw(figure: Any) -> None:
        panels = figure.subplots(rows, columns, sharey=True, sharex=True, squeeze=False)
        for axes in panels.flat[len(models) :]:
            axes.set_visible(False)
        for axes, (label, found) in zip(panels.flat, models.items(), strict=False):
            edges, counts = found["edges"], found["counts"]
            colour = MODELS[labels.index(label) % len(MODELS)]
            axes.bar(edges[:-1], counts, [b - a for a, b in pairwise(edges)], align="edge", color=colour, alpha=0.75,
                     edgecolor="white", linewidth=0.8)  # fmt: skip
            axes.set_title(short(label, 24), loc="left", color=INK, fontsize=9, fontweight="bold")
            axes.yaxis.get_major_locator().set_params(integer=True)
            axes.set_xlim(edges[0], edges[-1])
            axes.grid(axis="y")
        panels[0][0].set_ylabel("prompts")
        figure.supxlabel("score of a prompt", fontsize=9, color=MUTED)

    alt = f"How many prompts of {benchmark} got which score"
    return render(f"histogram-{benchmark}", alt, draw, 1.1 + 1.25 * rows)


def differences(name: str, model: str, against: str, rows: Mapping[str, Interval], colour: str) -> str:
    """Paired differences of one model's scores to another's, with their intervals; the line is no difference."""

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        means, lows, highs = zip(*rows.values(), strict=True)
        at = range(len(rows))
        axes.axvline(0, color=NONE, linewidth=1, linestyle=(0, (4, 3)))
        axes.hlines(at, lows, highs, color=colour, linewidth=2, alpha=0.55)
        axes.scatter(means, at, s=34, color=colour, zorder=3, linewidths=0)
        wrap = 26 if figure.get_figwidth() > NARROW else 14
        axes.set_yticks(at, ["\n".join(textwrap.wrap(title(row), wrap)[:3]) for row in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.set_xlabel(f"{short(model, 24)} minus {short(against, 24)}, with 95% interval")
        axes.grid(axis="x")

    alt = f"Differences between {model} and {against} on the same prompts"
    return render(f"differences-{name}", alt, draw, 0.8 + 0.36 * max(3, len(rows)))


def lift(models: Sequence[Lift]) -> str:
    """NLL of the reference answer under the base model, the model, and the model with its own thinking."""

    def draw(figure: Any) -> None:
        wide = figure.get_figwidth() > NARROW
        columns = min(3 if wide else 2, len(models))
        rows = -(-len(models) // columns)
        figure.set_figheight(0.2 + 2.9 * rows)
        panels = figure.subplots(rows, columns, sharey=True, squeeze=False).flat
        for axes in panels[len(models) :]:
            axes.set_visible(False)
        for axes, model in zip(panels, models, strict=False):
            colour = MODELS[model.index % len(MODELS)]
            for example in model.examples:
                axes.plot(example, color=colour, alpha=faint(len(model.examples)), linewidth=0.9)
            axes.plot(model.means, color=colour, linewidth=2.4, marker="o", markersize=4.5)
            for x, mean in enumerate(model.means):
                axes.annotate(f"{mean:.2f}", (x, mean), (0, 7), textcoords="offset points", ha="center", color=INK)
            axes.set_title(short(model.label), loc="left", color=INK, fontsize=9, fontweight="bold")
            texts = ("base,\nno thinking", "model,\nno thinking", "model,\nthinking")
            axes.set_xticks(range(3), texts if wide and len(models) <= 2 else ("base", "model", "model\n+ think"))
            axes.set_xlim(-0.45, 2.45)
            if model.thinking is not None:
                axes.set_xlabel(f"{model.thinking:,.0f} tokens of thinking")
            axes.grid(axis="y")
        for axes in panels[::columns]:
            axes.set_ylabel("NLL of the reference\n(nats per token)")

    alt = "NLL of the reference answer under base model, model, and model with thinking"
    return render("lift", alt, draw, 3.1)
