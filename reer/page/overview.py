"""The key numbers of any run folders as a few lines for the terminal: models side by side, intervals in brackets.

Reads what `results` has read; knows nothing of pages.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from reer.files.results import Run, distinct_labels


def overview(runs: Sequence[Run]) -> str:
    """A text table; stages that are not among the runs are left out."""
    lines: list[str] = []
    for stage, told in (("collect", _collection), ("synthesize", _search), ("sft", _training)):
        found = [run for run in runs if run.stage == stage]
        for run in found:
            lines += [str(run.path)] if len(found) > 1 else []
            lines += told(run.summary)
    evaluated = [run for run in runs if run.stage == "evaluate" and run.summary]
    lines += _evaluations(evaluated) if evaluated else []
    for run in runs:
        lines += _validation(run.summary) if run.stage == "validate" else []
    return "\n".join(lines)


def _collection(summary: Mapping[str, Any]) -> list[str]:
    if not summary:
        return ["pairs written              none yet"]
    return [f"pairs written              {summary['pairs']['written']:,} of {summary['pairs']['read']:,} rows"]


def _search(summary: Mapping[str, Any]) -> list[str]:
    if not summary:
        return ["trajectories kept          none yet"]
    examples, nll = summary["examples"], summary.get("nll", {})
    lines = [f"trajectories kept          {examples['done']} of {examples['input']}"]
    if pending := summary.get("pending"):
        lines.append(f"still to be searched       {pending:,}")
    if nll.get("final") is not None:
        length = summary.get("thinking_words")
        lines.append(
            f"mean NLL of y              {nll['none']:.3f} without thinking, {nll['first']:.3f} with the first, "
            f"{nll['final']:.3f} with the final thinking{'' if length is None else f' ({length:.0f} words)'}"
        )
    if found := summary.get("objective"):
        none, first, final = (_shown(found[key], 3) for key in ("none", "first", "final"))
        lines.append(f"what the search minimised  {none}, {first}, {final} ({found['unit']})")
    if line := told_of_draft(summary):
        lines.append(f"draft                      {line}")
    lines += [f"{name:<27}{value}" for name, value in worth_in_words(summary.get("worth") or {})]
    return lines


def told_of_draft(summary: Mapping[str, Any]) -> str:
    """What a draft was worth, in one line; nothing where there was none."""
    if not (draft := summary.get("draft")):
        return ""
    parts = [f"{draft['screened']:,} of {draft['ranked']:,} ranked candidates were not scored"]
    if (audit := draft["audit"])["share"] is not None:
        parts.append(f"in {audit['missed']} of {audit['steps']} audited steps the winner was not among its best")
    if n := draft["too_long"]:
        parts.append(f"{n:,} pair{'s' if n > 1 else ''} too long for it")
    parts += [f"{draft[key]:,} times {words}" for key, words in _UNRANKED.items() if draft[key]]
    return "; ".join(parts)


_UNRANKED = {"not_taken": "its tokenizer did not take a text", "failed": "it gave no answer"}


def worth_in_words(worth: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What trajectories are worth beside the NLL: measure, and its mean with how many are missing, if some are.

    What was not measured is left out.
    """
    measures = (("A_prob", "a_prob", 1), ("A_lex", "a_lex", 1), ("gain over blind (nats)", "gain_over_blind", 3))
    for name, key, digits in (*measures, ("decorative segments", "decorative", 1)):
        found = worth.get(key) or {}
        if found.get("n"):
            of = f" ({found['n']:,} trajectories, {found['missing']:,} missing)" if found["missing"] else ""
            yield name, _shown(found["mean"], digits, share=digits == 1) + of


def _training(summary: Mapping[str, Any]) -> list[str]:
    loss = summary.get("loss")
    if not loss:
        return []
    return [f"training loss              {loss['first']:.3f} -> {loss['last']:.3f} in {summary['steps']} steps"]


def _evaluations(runs: Sequence[Run]) -> list[str]:
    """One column per model; of every benchmark its overall score, and below it the measures that say most."""
    named = [(str(run.summary.get("model")), next(iter(run.summary["benchmarks"]), ""), run.path) for run in runs]
    label_of = dict(zip((run.path for run in runs), distinct_labels(named), strict=True))
    labels = list(dict.fromkeys(label_of.values()))
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for run in sorted(runs, key=lambda run: list(run.summary["benchmarks"])):
        for benchmark, name, text in _measures(run.summary):
            rows.setdefault((benchmark, name), {})[label_of[run.path]] = text
    width = max(26, *(len(label) + 2 for label in labels))
    header = f"{'':<27}" + "".join(f"{label:<{width}}" for label in labels)
    table = [
        f"{f'  {name}' if name else benchmark:<27.26}" + "".join(f"{row.get(label, '-'):<{width}}" for label in labels)
        for (benchmark, name), row in rows.items()
    ]
    return [line.rstrip() for line in (header, *table)]


def _measures(results: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Benchmark, measure (none: the overall score), and its value."""
    for name, benchmark in results["benchmarks"].items():
        scale, groups = benchmark.get("scale") or {"low": 1, "high": 5}, benchmark.get("groups") or {}
        digits = 1 if scale["high"] > 20 else 2
        leading: Mapping[str, Any] = next(
            (groups[facet] for facet in ("score", "task", "domain") if facet in groups), {}
        )
        yield name, "", _shown(benchmark["overall"], digits)
        for part, score in (benchmark["scores"] if name == "reasoning" else leading).items():
            yield name, part.replace("_", " "), _shown(score, digits)
        if lift := results.get("reference_lift"):
            yield name, "reference lift (nats)", _shown(lift, 3)
            if lift.get("thinking_tokens"):
                yield name, "thinking of it (tokens)", _shown(lift["thinking_tokens"], 0)
        yield name, "well-formed", _shown(results["outputs"].get("well_formed"), 0, share=True)
        yield name, "ending in a loop", _shown(results["outputs"].get("loop_rate"), 0, share=True)
        yield name, "words", _shown(results["outputs"].get("words"), 0)


def _validation(summary: Mapping[str, Any]) -> list[str]:
    return [
        f"{judge} on {summary['data']['name']}: alpha with people {_shown(found['overall']['human_judge'], 2)}, "
        f"among people {_shown(found['overall']['human_human'], 2)}"
        for judge, found in summary["judges"].items()
    ]


def _shown(value: Any, digits: int, share: bool = False) -> str:
    """mean [low, high], the mean alone where there is no interval, or a dash where there is neither."""
    estimate = value if isinstance(value, Mapping) else {"mean": value}
    mean, low, high = (estimate.get(key) for key in ("mean", "low", "high"))
    if mean is None:
        return "-"
    factor, unit = (100, "%") if share else (1, "")
    text = f"{factor * mean:.{digits}f}{unit}"
    return text if low is None or high is None else f"{text} [{factor * low:.{digits}f}, {factor * high:.{digits}f}]"
