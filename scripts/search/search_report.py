"""The tables and the plot of what scripts/search/compare found (docs/results/)."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from search_results import (
    DRAWS,
    Result,
    Results,
    Row,
    collect,
    differences,
    ended,
    estimate,
    first_person,
    forward_tokens,
    mean_curve,
    paired,
    reached,
    read_sets,
)

from reer.page import plots
from reer.run.manifest import write_text
from reer.text import words

TOLERANCE = 0.05
"""Share by which the tokens of two presets may differ and still count as equal."""
RIVALS = ("forward", "best_of_n")
CONTROLS_OF_ONE = ("none", "blind")
"""Presets that are one first trajectory and cannot spend a budget."""
TITLES = {
    "unseen": "Pairs on which no prompt was chosen", "seen": "The packaged pairs", "chinese": "Chinese pairs",
    "long": "Answers of 1,500 words",
}  # fmt: skip
COLOURS = {"none": 0, "forward": 1, "backward": 2, "attribution": 3, "random_accept": 4, "official": 5}
DASHED = {"blind": 0, "compose": 1, "multi_start": 2, "draft4": 3, "draft8": 4, "unsuppressed": 5, "refined": 5}
"""Colours again, for what is tried beside the classic six."""

Cell = Callable[[Results], str]


def budget(tokens: Mapping[str, float]) -> str:
    """Forward tokens a pair of each preset against those of `forward`, in a sentence."""
    change = {
        name: n / tokens["forward"] - 1 for name, n in tokens.items() if name not in (*CONTROLS_OF_ONE, "forward")
    }
    off = [name for name, x in change.items() if abs(x) > TOLERANCE]
    said = f"not within ±{TOLERANCE:.0%}: {', '.join(off)}" if off else f"all within ±{TOLERANCE:.0%}"
    listed = ", ".join(f"{name} {x:+.1%}" for name, x in change.items()).replace("-", "−")
    return (
        f"Tokens against forward's: {listed} ({said}). `none` and `blind` are one first trajectory and cannot spend "
        "the budget."
    )


def catching_up(presets: Mapping[str, Results]) -> str:
    """How soon each preset stands where `forward` ends, in a sentence."""
    paths = {name: [r.path for r in results.values()] for name, results in presets.items() if name != "official"}
    spent, ended = (fmean(path[-1, column] for path in paths["forward"]) for column in (0, 2))
    others = {name: reached(found, ended) for name, found in paths.items() if name != "forward"}
    shares = ", ".join(f"{name} {tokens / spent:.2f}" for name, tokens in others.items() if tokens is not None)
    never = ", ".join(name for name, tokens in others.items() if tokens is None)
    return (
        "Share of forward's tokens after which the mean over pairs stands where forward ends: "
        f"{shares or 'none'}{f'; never: {never}' if never else ''}."
    )


def verdict(presets: Mapping[str, Results]) -> str:
    """Whether any preset has a lower final NLL than both `forward` and `best_of_n`, intervals and all."""

    def beats(mine: str, theirs: str) -> bool:
        high = estimate(paired(presets[mine], presets[theirs])).high
        return high is not None and high < 0

    both = [name for name in presets if name not in RIVALS and all(beats(name, rival) for rival in RIVALS)]
    ahead = [f"{a} beats {b}" for a, b in (RIVALS, RIVALS[::-1]) if beats(a, b)]
    return (
        f"Both forward and best_of_n are beaten beyond the interval by: {', '.join(both) or 'no other preset'}. "
        f"Between the two: {ahead[0] if ahead else 'the interval holds zero'}."
    )


def mean_of(value: Callable[[Result], float], form: str) -> Cell:
    return lambda results: format(fmean(map(value, results.values())), form)


def nll(kind: str) -> Cell:
    return lambda results: _or_dash([r.nll[kind] for r in results.values() if kind in r.nll], ".3f")


def gap(a: str, b: str) -> Cell:
    """Mean of nll[a] - nll[b] with its interval."""
    return lambda results: _interval(differences(results, a, b))


def share(a: str, b: str) -> Cell:
    """Share of pairs where nll[a] is above nll[b]."""
    return lambda results: _or_dash([x > 0 for x in differences(results, a, b)], ".0%")


def accepted(results: Results) -> str:
    steps = [step for r in results.values() for step in r.row["steps"]]
    return f"{sum(step['kept'] is not None for step in steps)} of {len(steps)}"


def worth(key: str) -> Cell:
    return lambda results: _or_dash(_present(r.row.get("worth", {}).get(key) for r in results.values()), ".1%")


def decorative(*kinds: str) -> Cell:
    """Segments whose removal changes next to nothing, of how many."""

    def cell(results: Results) -> str:
        found = _present(r.row.get("worth", {}).get("decorative") for r in results.values())
        idle, of = (sum(row[kind][key] for row in found for kind in kinds) for key in ("decorative", "segments"))
        return f"{idle} of {of}" if found else "–"

    return cell


def against(rival: Results) -> Cell:
    return lambda results: "" if results is rival else _interval(paired(results, rival))


def gain_of(group: str) -> Cell:
    return lambda results: _interval(
        differences({name: r for name, r in results.items() if group_of(r.row) == group}, "none", "final")
    )


def group_of(row: Row) -> str:
    return "dolly" if "dolly" in row["source"] else "public domain"


OUTCOME: dict[str, Cell] = {
    "n": lambda results: str(len(results)),
    "NLL none": nll("none"), "first": nll("first"), "final": nll("final"), "gain": gap("none", "final"),
    "gain over blind": gap("blind", "final"), "final below none": share("none", "final"), "steps accepted": accepted,
}  # fmt: skip
COST: dict[str, Cell] = {
    "forward tokens": mean_of(lambda r: forward_tokens(r.row["usage"]), ",.0f"),
    "generated": mean_of(lambda r: r.row["usage"]["generated_tokens"], ",.0f"),
    "prefilled": mean_of(lambda r: r.row["usage"]["prefilled_tokens"], ",.0f"),
    "scored": mean_of(lambda r: r.row["usage"]["scored_tokens"], ",.0f"),
    "model seconds": mean_of(lambda r: r.path[-1, 1], ".1f"),
}
DRAFT: dict[str, Cell] = {"the draft's, as counted": mean_of(lambda r: _of_draft(r.row), ",.0f")}
ANCHORS = {
    "no thinking": "none", "thinking that has not seen the answer": "blind",
    "the answer's content words, unordered": "words", "the answer itself": "itself",
}  # fmt: skip
TEXT: dict[str, Cell] = {
    "words": mean_of(lambda r: len(words(r.row["thinking"])), ".0f"),
    "A_lex": worth("a_lex"),
    "echo of the prompt (worst sentence)": mean_of(lambda r: r.row.get("echo", {}).get("containment", 0.0), ".0%"),
    "decorative segments": decorative("reflecting", "plain"),
    "of those that reflect": decorative("reflecting"),
    "answer's 4-grams in it": mean_of(lambda r: r.row["leak"]["containment"], ".1%"),
    "longest run (words)": lambda results: str(max(r.row["leak"]["longest_run"] for r in results.values())),
    "sentences in the first person": mean_of(lambda r: first_person(r.row["thinking"]), ".0%"),
    "sentences that end": mean_of(lambda r: ended(r.row["thinking"]), ".0%"),
}
CONTROLS: dict[str, Cell] = {
    "shuffled − final": gap("shuffled", "final"), "shuffled is worse": share("shuffled", "final"),
    "other − final": gap("other", "final"), "other is worse": share("other", "final"),
}  # fmt: skip
SECOND: dict[str, Cell] = {
    "NLL none": nll("second none"), "final": nll("second final"), "gain": gap("second none", "second final"),
    "final below none": share("second none", "second final"),
    "other − final": gap("second other", "second final"), "other is worse": share("second other", "second final"),
}  # fmt: skip


def section(found: Mapping[str, Mapping[str, Results]], place: str, drawing: str = "search.svg") -> str:
    """The generated part of a page; `drawing` is where that finds its figure."""
    parts = [
        f"From `{place}`. NLL in nats per answer token; gain: NLL without thinking minus NLL with the final thinking; "
        f"[low, high]: 95 % bootstrap interval over pairs ({DRAWS:,} draws). `official` minimises another objective "
        "in another layout: shown are its first and final thinking scored again in the training layout, as the "
        "others' are.",
        f"![Change of NLL against tokens and seconds spent, one line per preset]({drawing})",
        "Lines: NLL of the trajectory as it stands, mean over pairs. Of `official`, only the first and the final "
        "thinking, scored again. What the first draws cost is divided among them evenly.",
    ]
    for name, presets in found.items():
        if presets:
            parts += [f"### {TITLES.get(name, name)}", *_set(presets)]
    return "\n\n".join(parts) + "\n"


def _set(presets: Mapping[str, Results]) -> Iterator[str]:
    """Tables and sentences about one set of pairs."""
    pairs = {r.row["id"]: r.row for results in presets.values() for r in results.values()}.values()
    groups = Counter(map(group_of, pairs))
    yield f"{len(pairs)} pairs: {_counts(groups)}. Domains: {_counts(Counter(row['domain'] for row in pairs))}."
    yield _table(presets, OUTCOME)
    yield "Anchors, the same for all presets: what stands in the place of the thinking, and what it gains."
    yield _anchors(presets)
    yield "What a pair costs, on average:"
    drafted = any(_of_draft(r.row) for results in presets.values() for r in results.values())
    yield _table(presets, COST | DRAFT if drafted else COST)
    if "forward" in presets and presets.keys() - {"forward", *CONTROLS_OF_ONE}:
        tokens = {n: fmean(forward_tokens(r.row["usage"]) for r in rs.values()) for n, rs in presets.items()}
        yield budget(tokens)
        yield catching_up(presets)
    yield (
        "The final thinking as a text, means over trajectories. First person: a sentence with I, me, my, myself, we, "
        "us, our or let's; one ends if it does so in . ! ? or …; a line break, too, begins a new one."
    )
    yield _table(presets, TEXT)
    if presets.keys() >= set(RIVALS):
        yield "Final NLL against the two rivals, pair by pair; below zero, the preset is better:"
        yield _table(presets, {f"against {rival}": against(presets[rival]) for rival in RIVALS})
        yield verdict(presets)
    yield (
        "Controls: the same segments in another order (shuffled; a single segment has none and is left out), and the "
        "final thinking of the next pair (other)."
    )
    yield _table(presets, CONTROLS)
    if any("second none" in r.nll for results in presets.values() for r in results.values()):
        yield "Under a second model:"
        yield _table(presets, SECOND)
    if len(groups) > 1:
        yield "Gain by source:"
        yield _table(presets, {f"{group} (n = {n})": gain_of(group) for group, n in groups.items()})


def _table(presets: Mapping[str, Results], columns: Mapping[str, Cell]) -> str:
    lines = [f"| preset | {' | '.join(columns)} |", "|---" + "|--:" * len(columns) + "|"]
    lines += [f"| {name} | {' | '.join(cell(r) for cell in columns.values())} |" for name, r in presets.items()]
    return "\n".join(lines)


def _of_draft(row: Row) -> int:
    """Tokens that a draft ran, in tokens of the scorer."""
    return int(row["usage"].get("draft_counted", 0))


def _present(values: Iterable[Any]) -> list[Any]:
    return [value for value in values if value is not None]


def _anchors(presets: Mapping[str, Results]) -> str:
    """What thinking could do at worst and at best, over the pairs of a set."""
    pairs = {name: r for results in presets.values() for name, r in results.items()}
    cells = ((label, nll(kind)(pairs), gap("none", kind)(pairs)) for label, kind in ANCHORS.items())
    return "\n".join(["| as thinking | NLL | gain |", "|---|--:|--:|", *(f"| {' | '.join(row)} |" for row in cells)])


def _interval(values: Sequence[float]) -> str:
    found = estimate(values)
    if found.mean is None or found.low is None or found.high is None:
        return "–"
    return f"{found.mean:+.3f} [{found.low:+.3f}, {found.high:+.3f}]".replace("-", "−")


def _or_dash(values: Sequence[float], form: str) -> str:
    return format(fmean(values), form) if values else "–"


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{name} {n}" for name, n in counter.most_common())


def figure(found: Mapping[str, Mapping[str, Results]]) -> str:
    """Change of NLL against tokens and against seconds, one row per set of pairs: an SVG on a white card."""
    from matplotlib.patches import Rectangle

    shown = {name: presets for name, presets in found.items() if presets}

    def draw(canvas: Any) -> None:
        canvas.add_artist(Rectangle((0, 0), 1, 1, transform=canvas.transFigure, color="white", zorder=-1))
        rows = canvas.subplots(len(shown), 2, sharex="col", sharey="row", squeeze=False)
        for (name, presets), panels in zip(shown.items(), rows, strict=True):
            for column, axes in enumerate(panels):
                axes.axhline(0, color=plots.NONE, linewidth=1, linestyle=(0, (4, 3)))
                axes.grid(axis="y")
                for preset, results in presets.items():
                    number = (COLOURS | DASHED).get(preset)
                    colour = plots.FIRST if number is None else plots.MODELS[number]
                    dots: dict[str, Any] = {"linestyle": (0, (4, 1.5))} if preset in DASHED else {}
                    if preset == "official":
                        dots = {"linestyle": (0, (2, 2)), "marker": "o", "markersize": 3.5}
                    axes.plot(*_line(results, column), color=colour, label=preset, linewidth=1.6, **dots)
            panels[0].set_title(TITLES.get(name, name), loc="left", fontsize=9, fontweight="bold", color=plots.INK)
            panels[0].set_ylabel("change of NLL\n(nats per token)")
        rows[-1][0].set_xlabel("forward tokens per pair")
        rows[-1][1].set_xlabel("model seconds per pair")
        lines = {line.get_label(): line for row in rows for line in row[0].get_legend_handles_labels()[0]}
        canvas.legend(handles=list(lines.values()), loc="outside upper left", ncols=4)

    return plots._svg(draw, 8.4, 0.8 + 2.5 * len(shown), salt="search") + "\n"


def _line(results: Results, column: int) -> tuple[Any, Any]:
    paths = [r.path for r in results.values()]
    if next(iter(results.values())).row["layout"] == "think":
        return mean_curve(paths, column)
    begun = [-1 - len(r.row["steps"]) for r in results.values()]  # after the first trajectory, before the steps
    spent = [fmean(p[n, column] for p, n in zip(paths, begun, strict=True)), fmean(p[-1, column] for p in paths)]
    changes = [differences(results, kind, "none") for kind in ("first", "final")]
    return spent, [fmean(values) if values else np.nan for values in changes]


def update(folder: Path, sets: Iterable[str], presets: Sequence[str], page: Path, mark: str, drawing: Path) -> None:
    """Bring a page, between its two comments that hold the mark, and the drawing that it shows up to date."""
    found = collect(folder, read_sets(folder, sets, presets))
    if not any(found.values()):
        raise SystemExit(f"{folder}: no search found a trajectory, so there is nothing to compare")
    start, stop = f"<!-- {mark}:begin -->\n", f"<!-- {mark}:end -->"
    head, begin, rest = page.read_text(encoding="utf-8").partition(start) if page.exists() else ("", start, stop)
    _, end, tail = rest.partition(stop)
    if not begin or not end:
        raise SystemExit(f"{page} lacks its markers {start.strip()} and {stop}")
    link = drawing.relative_to(page.parent).as_posix()
    write_text(page, head + begin + section(found, str(folder), link) + end + tail)
    write_text(drawing, figure(found))
