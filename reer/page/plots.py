"""Figures as inline SVG, each drawn twice (for a wide screen and for a phone), and those of a search and a training.

Knows numbers and their labels; knows nothing of files, models or HTML around it. The same numbers give the same
bytes. NLL is in nats per answer token everywhere.
"""

import io
import warnings
from collections.abc import Callable, Sequence
from html import escape
from typing import Any

from reer.files.results import Curve

INK, MUTED, RULE, GRID = "#1c2430", "#5b6675", "#c3cad4", "#edf0f4"
NONE, FIRST, FINAL = "#8c96a5", "#c98a1b", "#1f5fbf"
MODELS = ("#8c96a5", "#1f5fbf", "#b4532a", "#2c8a5b", "#7a4fb5", "#b03a78")
"""The first evaluated model is the quiet one the others are compared with."""

WIDE, NARROW = 5.4, 3.5
"""Inches: at the width the page shows them in, 9 pt text comes out at about 12 px on both."""

TITLES = {
    "longbench_write": "LongBench-Write", "hellobench": "HelloBench", "writingbench": "WritingBench",
    "open_ended_qa": "Open-ended QA", "S_q": "Quality, S_q", "S_l": "Length, S_l", "en": "English", "zh": "Chinese",
    "distinct_1": "distinct-1", "distinct_2": "distinct-2", "overlap": "13-grams copied from training data",
    "copied_run": "Longest copied run (words)", "loop_rate": "Ends in a loop", "truncated": "Cut at the token limit",
    "length_compliance": "Within a fifth of the length asked",
}  # fmt: skip
"""Keys that are not written like the words they are."""
LABELLED_ROWS = 24
"""A plot with one row per example names the examples up to this many."""


class MeanPath:
    """The mean change of NLL along many searches, added up one by one; a finished search keeps its last value."""

    def __init__(self) -> None:
        self._sums: list[float] = []
        self._ends = 0.0
        """Sum of the last values: what every column beyond the longest search so far would hold."""
        self._count = 0

    def add(self, curve: Curve) -> None:
        length = 2 + len(curve.steps)
        self._sums += [self._ends] * (length - len(self._sums))
        path = curve.change(max(length, len(self._sums)))
        self._sums = [total + change for total, change in zip(self._sums, path, strict=True)]
        self._ends += path[-1]
        self._count += 1

    def mean(self) -> list[float]:
        """At: none, first, after each step of the longest search."""
        return [total / self._count for total in self._sums]


def descent(mean: Sequence[float], shown: Sequence[Curve]) -> str:
    """Change of NLL along the search: a thin line per shown example, the mean of all in bold."""
    length = len(mean)
    alpha = faint(len(shown))

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        axes.axhline(0, color=NONE, linewidth=1, linestyle=(0, (4, 3)))
        for curve in shown:
            path = curve.change(2 + len(curve.steps))
            axes.plot(path, color=FINAL, alpha=alpha, linewidth=0.9)
            axes.plot(len(path) - 1, path[-1], "o", color=FINAL, alpha=1.5 * alpha, markersize=2.4)
        axes.plot(mean, color=FINAL, linewidth=2.4, marker="o", markersize=4.5)
        stride = max(1, round((length - 2) / 10))
        ticks = [0, 1, *range(1 + stride, length, stride)]
        axes.set_xticks(ticks, ["none", "first", *(str(tick - 1) for tick in ticks[2:])])
        axes.set_xlabel("thinking: none, first, then after each step")
        axes.set_ylabel("change of NLL (nats per token)")
        axes.grid(axis="y")

    return render("descent", "Change of the answer's NLL along the search, one line per example", draw, _tall(shown))


def gains(shown: Sequence[Curve]) -> str:
    """NLL without, with first and with final thinking: one row per example, the largest gain on top."""
    curves = sorted(shown, key=lambda curve: curve.gain)
    rows = range(len(curves))
    named = len(curves) <= LABELLED_ROWS

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        axes.hlines(
            rows, [c.final for c in curves], [c.none for c in curves], color=RULE, linewidth=1.6 if named else 0.7
        )
        for name, colour, values in (
            ("no thinking", NONE, [c.none for c in curves]),
            ("first", FIRST, [c.first for c in curves]),
            ("final", FINAL, [c.final for c in curves]),
        ):
            axes.scatter(values, rows, s=26 if named else 7, color=colour, label=name, zorder=3, linewidths=0)
        axes.set_yticks(rows if named else [], [short(c.label) for c in curves] if named else [])
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel("NLL of the answer (nats per token)")
        axes.grid(axis="x")
        axes.spines["left"].set_visible(False)
        figure.legend(loc="outside upper left", ncols=3)

    alt = "NLL of each answer without thinking, with first and with final thinking"
    return render("gains", alt, draw, _tall(shown))


def loss(points: Sequence[tuple[float, float]]) -> str:
    """Training loss by optimiser step; points are (step, nats per supervised token)."""

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        marker = "o" if len(points) <= LABELLED_ROWS else None
        axes.plot(*zip(*points, strict=True), color=FINAL, linewidth=1.8, marker=marker, markersize=3.5)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.set_xlabel("optimiser step")
        axes.set_ylabel("loss (nats per supervised token)")
        axes.grid(axis="y")

    return render("loss", "Training loss by optimiser step", draw, 2.9)


def held_out(answer: Sequence[tuple[float, float]], thinking: Sequence[tuple[float, float]]) -> str:
    """Held-out NLL by optimiser step, of the answer and of the thinking; points are (step, nats per token)."""

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        for points, colour, label in ((answer, FINAL, "answer"), (thinking, FIRST, "thinking")):
            if points:
                axes.plot(*zip(*points, strict=True), color=colour, linewidth=1.8, marker="o", label=label)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.set_xlabel("optimiser step")
        axes.set_ylabel("NLL (nats per token)")
        axes.grid(axis="y")
        axes.legend(frameon=False)

    return render("held_out", "Held-out NLL of answer and thinking by optimiser step", draw, 2.9)


def title(name: str) -> str:
    """A key as words: problem_deconstruction -> Problem deconstruction."""
    if name in TITLES:
        return TITLES[name]
    words = name.replace("_", " ").strip()
    return words[:1].upper() + words[1:]


def render(name: str, alt: str, draw: Callable[[Any], None], height: float) -> str:
    """Both sizes of one figure as HTML; the style sheet shows the one that fits."""
    sizes = (("wide", WIDE), ("narrow", NARROW))
    return "".join(
        f'<div class="plot {size}" role="img" aria-label="{escape(alt)}">'
        f"{_svg(draw, width, height, salt=f'{name}-{size}')}</div>"
        for size, width in sizes
    )


def _svg(draw: Callable[[Any], None], width: float, height: float, salt: str) -> str:
    """One <svg> element. The salt keeps the ids of several figures on one page apart."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_style() | {"svg.hashsalt": salt}), warnings.catch_warnings():
        # the browser's fonts draw the text; which glyphs matplotlib's own font has does not matter
        warnings.filterwarnings("ignore", message="Glyph .* missing", category=UserWarning)
        figure = Figure(figsize=(width, height), layout="constrained")
        draw(figure)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    markup = buffer.getvalue()
    return markup[markup.index("<svg") :]


def _style() -> dict[str, Any]:
    return {
        "svg.fonttype": "none",
        "text.parse_math": False,  # a label with a dollar sign is a label
        "font.size": 9,
        "text.color": INK,
        "axes.edgecolor": RULE,
        "axes.labelcolor": MUTED,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.axisbelow": True,
        "axes.unicode_minus": True,
        "grid.color": GRID,
        "grid.linewidth": 0.9,
        "xtick.color": RULE,
        "ytick.color": RULE,
        "xtick.labelcolor": MUTED,
        "ytick.labelcolor": INK,
        "legend.frameon": False,
        "legend.handletextpad": 0.3,
        "legend.borderaxespad": 0.0,
        "figure.facecolor": "none",
        "axes.facecolor": "none",
        "savefig.facecolor": "none",
    }


def _tall(shown: Sequence[Curve]) -> float:
    """Height in inches of the two figures of a search, which stand side by side."""
    return max(3.1, min(4.4, 1.0 + 0.2 * len(shown)))


def faint(lines: int) -> float:
    """Opacity of thin lines: the more there are, the fainter each."""
    return max(0.08, min(0.3, 5 / max(1, lines)))


def short(label: str, limit: int = 16) -> str:
    return label if len(label) <= limit else f"{label[: limit - 1]}…"
