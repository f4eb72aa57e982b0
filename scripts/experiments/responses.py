"""What a sweep found: its points as a table, how the number answers to each key, and which keys mattered."""

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any

from eval.statistics import bootstrap_mean
from reer.page import plots
from reer.run.launch import PARTIAL
from reer.run.manifest import write_text

BINS = 4
"""Parts of a range, of which each is one value in the plot."""
ENOUGH = 4
"""Finished points from which importance is told."""


def lines(sweep: Any, trials: Sequence[Any]) -> Iterator[str]:
    done = sorted(_done(trials), key=lambda trial: trial.value, reverse=sweep.direction == "maximize")
    unit = " per 1,000 forward tokens a pair" if sweep.per_thousand_tokens else ""
    yield f"{sweep.name}: {sweep.value}{unit}, {sweep.direction} ({len(done)} points of {len(trials)} with a number)\n"
    keys = list(sweep.vary)
    yield f"| | {' | '.join(keys)} | {sweep.value.rpartition('.')[0] or sweep.value} |"
    yield f"|---{'|---' * (len(keys) + 1)}|"
    for trial in done:
        yield f"| {trial.number} | {' | '.join(_plain(trial.params[key]) for key in keys)} | {trial.value:.5g} |"
    if lost := [str(trial.number) for trial in trials if trial.state.name == "FAIL"]:
        yield f"\nwithout a number: {', '.join(lost)} (log.txt beside each point)"
    points = [json.loads(path.read_text(encoding="utf-8")) for path in sweep.path.glob("points/*/point.json")]
    partly = [point["values"] for point in points if point.get("code") == PARTIAL]
    if numbers := [str(trial.number) for trial in done if trial.params in partly]:
        yield f"\nsome rows failed or were set aside: {', '.join(numbers)} (log.txt beside each point)"
    yield from _importance(sweep, trials)


def _done(trials: Sequence[Any]) -> list[Any]:
    return [trial for trial in trials if trial.state.name == "COMPLETE"]


def _importance(sweep: Any, trials: Sequence[Any]) -> Iterator[str]:
    """Share of the variance over points that each key explains by itself, as Optuna estimates it."""
    done = _done(trials)
    varied = len({tuple(trial.params.items()) for trial in done})
    if varied < ENOUGH or len({trial.value for trial in done}) < 2:
        yield f"\nimportance: told from {ENOUGH} different points on"
        return
    import optuna

    study = optuna.create_study(direction=sweep.direction)
    study.add_trials(done)
    found = optuna.importance.get_param_importances(study)
    yield "\nimportance  " + ", ".join(f"{key} {share:.0%}" for key, share in found.items())


def by_value(sweep: Any, trials: Sequence[Any], key: str) -> dict[str, list[float]]:
    """The numbers of all points with a value of the key, in the order of its values; of a range by its parts."""
    choices, found = sweep.vary[key], defaultdict(list)
    done = sorted(
        _done(trials), key=lambda t: t.params[key] if "low" in choices else list(choices).index(t.params[key])
    )
    size = -(-len(done) // BINS)
    for place, trial in enumerate(done):
        part = done[place - place % size : place - place % size + size]
        ends = (
            f"{part[0].params[key]:.1e} to\n{part[-1].params[key]:.1e}"
            if "low" in choices
            else _plain(trial.params[key])
        )
        found[ends].append(trial.value)
    return dict(found)


def draw(sweep: Any, trials: Sequence[Any]) -> Path | None:
    """The response to each key: mean and interval over the points with that value, other keys as they came."""
    if not _done(trials):
        return None
    responses = {key: by_value(sweep, trials, key) for key in sweep.vary}

    def figure(target: Any) -> None:
        for axes, (key, values) in zip(target.subplots(1, len(responses), sharey=True, squeeze=False)[0],
                                       responses.items(), strict=True):  # fmt: skip
            for place, numbers in enumerate(values.values()):
                mean = bootstrap_mean(numbers, seed=0)
                axes.plot([place] * len(numbers), numbers, "o", color=plots.NONE, markersize=3)
                axes.plot(place, mean.mean, "o", color=plots.FINAL, markersize=6)
                if mean.low is not None:
                    axes.plot([place, place], [mean.low, mean.high], color=plots.FINAL, linewidth=2)
            axes.set_xticks(range(len(values)), list(values))
            axes.set_xlabel(key)
            axes.grid(axis="y")

    drawn = plots.render("responses", f"{sweep.value} by each key of the sweep", figure, 3.2)
    path = sweep.path / "responses.html"
    style = "<style>body{font:15px sans-serif;margin:2em}.narrow{display:none}svg{max-width:100%;height:auto}</style>"
    head = (
        f"<!doctype html><meta charset=utf-8><title>{escape(sweep.name)}</title>{style}<h1>{escape(sweep.name)}</h1>"
    )
    foot = "<p>Large: mean over the points with that value, with its 95 % bootstrap interval; small: the points.</p>"
    write_text(path, f"{head}{drawn}{foot}")
    return path


def _plain(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
