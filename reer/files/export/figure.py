"""The domains of a dataset as a picture: a bar for each, with its share. The same numbers give the same bytes."""

import warnings
from collections.abc import Mapping
from pathlib import Path

MOST = 25
"""Domains shown; the paper has as many. What is left is one bar."""


def draw_domains(counts: Mapping[str, int], path: Path) -> None:
    """Write a PNG; `counts` is rows by domain, an empty name those that say none."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    bars = shares(counts)
    with mpl.rc_context({"font.size": 9}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")  # the table under the picture names it
        figure = Figure(figsize=(7, 0.6 + 0.28 * len(bars)), dpi=144, layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        names = [name.replace("$", r"\$") for name, _ in bars]
        drawn = axes.barh(range(len(bars)), [share for _, share in bars], color="#1f5fbf", height=0.7)
        axes.bar_label(drawn, [f"{share:.1f} %" for _, share in bars], padding=3)
        axes.set_yticks(range(len(bars)), names)
        axes.invert_yaxis()
        axes.set_xlabel("share of the rows (%)")
        axes.margins(x=0.12)
        axes.spines[["top", "right"]].set_visible(False)
        figure.savefig(path, format="png", metadata={"Software": None})


def shares(counts: Mapping[str, int]) -> list[tuple[str, float]]:
    """Domains by share of the rows, in per cent, the largest first."""
    total = sum(counts.values())
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    bars = [(name or "not named", 100 * n / total) for name, n in ordered[:MOST]]
    rest = sum(n for _, n in ordered[MOST:])
    return [*bars, ("others", 100 * rest / total)] if rest else bars
