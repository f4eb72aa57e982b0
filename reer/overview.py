"""The key numbers of any run folders as a few lines for the terminal: models side by side, intervals in brackets.

Reads what `results` has read; knows nothing of pages.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from reer.results import Run


def overview(runs: Sequence[Run]) -> str:
    """A text table; stages that are not among the runs are left out."""
    lines: list[str] = []
    for run in runs:
        if run.stage == "synthesize":
            lines += _search(run.summary)
        elif run.stage == "sft":
            lines += _training(run.summary)
    evaluated = {str(run.summary.get("model")): run.summary for run in runs if run.stage == "evaluate"}
    return "\n".join(lines + (_evaluations(evaluated) if evaluated else []))


def _search(summary: Mapping[str, Any]) -> list[str]:
    examples, nll = summary["examples"], summary.get("nll", {})
    lines = [f"trajectories kept          {examples['done']} of {examples['input']}"]
    if nll.get("final") is not None:
        lines.append(
            f"mean NLL of y              {nll['none']:.3f} without thinking, {nll['first']:.3f} with the first, "
            f"{nll['final']:.3f} with the final thinking"
        )
    return lines


def _training(summary: Mapping[str, Any]) -> list[str]:
    loss = summary.get("loss")
    if not loss:
        return []
    return [f"training loss              {loss['first']:.3f} -> {loss['last']:.3f} in {summary['steps']} steps"]


def _evaluations(models: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """One row per measure, one column per model."""
    rows: dict[str, list[str]] = {}

    def add(name: str, value: Any, digits: int = 3, share: bool = False) -> None:
        rows.setdefault(name, []).append(_shown(value, digits, share))

    for results in models.values():
        add("reference lift (nats)", results.get("reference_lift"))
        for name, benchmark in results["benchmarks"].items():
            for criterion, score in benchmark["scores"].items():
                add(criterion.replace("_", " "), score, 2)
            add(f"overall ({name})", benchmark["overall"], 2)
        add("well-formed", results["outputs"].get("well_formed"), 0, share=True)
        add("ending in a loop", results["outputs"].get("loop_rate"), 0, share=True)
        add("words", results["outputs"].get("words"), 0)
    header = f"{'':<27}" + "".join(f"{model:<26}" for model in models)
    table = [f"{name:<27}" + "".join(f"{value:<26}" for value in values) for name, values in rows.items()]
    return [line.rstrip() for line in (header, *table)]


def _shown(value: Any, digits: int, share: bool) -> str:
    """mean [low, high], the mean alone where there is no interval, or a dash where there is neither."""
    estimate = value if isinstance(value, Mapping) else {"mean": value}
    mean, low, high = (estimate.get(key) for key in ("mean", "low", "high"))
    if mean is None:
        return "-"
    factor, unit = (100, "%") if share else (1, "")
    text = f"{factor * mean:.{digits}f}{unit}"
    return text if low is None or high is None else f"{text} [{factor * low:.{digits}f}, {factor * high:.{digits}f}]"
