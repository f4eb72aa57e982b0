"""What the page shows of evaluated models, as plain values for the templates: benchmark by benchmark, side by side.

Knows results and figures; knows nothing of HTML. Samples are seeded: the same folders give the same page.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib import resources
from statistics import fmean
from typing import Any

from reer import score_plots
from reer.plots import MODELS, title
from reer.results import Evaluation, Key, Row, Run, read_evaluations
from reer.views import View, sample

ORDER = ("reasoning", "longbench_write", "hellobench", "writingbench")
"""In which benchmarks stand on the page; others follow."""
LEADING = ("score", "task", "domain", "type")
"""Facets by how much they say; the first that a benchmark has leads, the others are folded away."""


def evaluation_view(runs: Sequence[Run], comparison: Row, shown: int) -> View | None:
    """The evaluated models side by side; the first is what the others are compared with. None without any."""
    evaluations = read_evaluations([run for run in runs if run.stage == "evaluate"])
    validations = [
        {"judge": judge, "data": run.summary["data"], **found}
        for run in runs
        if run.stage == "validate"
        for judge, found in run.summary["judges"].items()
    ]
    if not evaluations and not validations:
        return None
    labels = list(dict.fromkeys(evaluation.label for evaluation in evaluations))
    benchmarks: dict[str, list[Evaluation | None]] = {}
    for evaluation in sorted(evaluations, key=lambda e: ORDER.index(e.benchmark) if e.benchmark in ORDER else 99):
        row = benchmarks.setdefault(evaluation.benchmark, [None] * len(labels))
        row[labels.index(evaluation.label)] = evaluation
    comparisons = _current(comparison, evaluations)
    keys = _picked(benchmarks, max(1, shown // max(1, len(labels))))
    return {
        "models": labels,
        "benchmarks": [_benchmark(name, labels, row, comparisons.get(name)) for name, row in benchmarks.items()],
        "lift_plot": _lift_plot(evaluations, labels, shown),
        "free": [_judge_free(name, row) for name, row in benchmarks.items()],
        "paper": _paper(labels, benchmarks),
        "validations": validations,
        "total": sum(len(_keys(row)) for row in benchmarks.values()),
        "prompts": [_prompt(benchmarks[key[0]], labels, key) for key in keys],
        "facets": _facets(benchmarks, keys),
    }


def _current(comparison: Row, evaluations: Sequence[Evaluation]) -> Mapping[str, Row]:
    """Of a stored comparison, the benchmarks that were compared on the very scores shown."""
    hashes = {(e.benchmark, e.label): e.scores_hash for e in evaluations}
    return {
        name: found
        for name, found in (comparison.get("benchmarks") or {}).items()
        if all(hashes.get((name, model)) == stored for model, stored in found["scores_of"].items())
    }


def _benchmark(name: str, labels: Sequence[str], row: Sequence[Evaluation | None], comparison: Row | None) -> View:
    results = [evaluation.result if evaluation else {} for evaluation in row]
    first = next(result for evaluation, result in zip(row, results, strict=True) if evaluation)
    tables = _tables(results)
    facts = dict(zip(labels, results, strict=True))
    return {
        "name": name,
        "title": title(name),
        "scale": first.get("scale"),
        "digits": _digits(first.get("scale")),
        "judges": list(dict.fromkeys(judge for result in results for judge in result.get("judges") or ())),
        "data": first.get("data") or {},
        "rubric": first.get("rubric"),
        "overall": [result.get("overall") for result in results],
        "tables": tables,
        "figures": _figures(name, labels, results, tables),
        "results": facts,
        "validation": next((result["validation"] for result in results if result.get("validation")), {}),
        "comparison": _comparison(name, labels, comparison),
    }


def _digits(scale: Any) -> int:
    """Decimals that a score deserves: fewer on a scale of a hundred than on one of five."""
    return 1 if scale and scale["high"] - scale["low"] > 20 else 2


def _tables(results: Sequence[Row]) -> list[View]:
    """Tables of estimates, the leading one first: rows of a name and one estimate per model."""
    tables = []
    criteria = _names([result.get("scores") or {} for result in results])
    if criteria:
        rows = [(name, [(result.get("scores") or {}).get(name) for result in results]) for name in criteria]
        tables.append({"name": "criterion", "rows": rows})
    facets = _names([result.get("groups") or {} for result in results])
    for facet in sorted(facets, key=lambda name: LEADING.index(name) if name in LEADING else len(LEADING)):
        groups = [(result.get("groups") or {}).get(facet) or {} for result in results]
        tables.append({"name": facet, "rows": [(name, [group.get(name) for group in groups])
                                               for name in _names(groups)]})  # fmt: skip
    return tables


def _names(mappings: Sequence[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(name for mapping in mappings for name in mapping))


def _figures(name: str, labels: Sequence[str], results: Sequence[Row], tables: Sequence[View]) -> View:
    """Dots with intervals of the leading table, the same as a radar where it has three axes, and a histogram."""
    figures = {"dots": "", "radar": "", "histogram": ""}
    rows = tables[0]["rows"] if tables else [("overall", [result.get("overall") for result in results])]
    models = {
        label: {row: _interval(cell) for row, cells in rows if _scored(cell := cells[index])}
        for index, label in enumerate(labels)
    }
    if any(models.values()):
        scale = _scale(rows, results)
        figures["dots"] = score_plots.dimensions(name, models, scale)
        full = {label: scores for label, scores in models.items() if len(scores) == len(rows)}
        if len(rows) > 2 and full and scale:
            figures["radar"] = score_plots.radar(name, full, scale, labels)
    histograms = {
        label: found
        for label, result in zip(labels, results, strict=True)
        if (found := (result.get("histograms") or {}).get("overall"))
    }
    if histograms:
        figures["histogram"] = score_plots.histogram(name, histograms, labels)
    return figures


def _comparison(name: str, labels: Sequence[str], comparison: Row | None) -> Row | None:
    """A comparison with a figure for each pair of models: overall, the criteria, and the leading facet's groups."""
    if comparison is None:
        return None
    return comparison | {"pairs": [_pair(f"{name}-{n}", labels, pair) for n, pair in enumerate(comparison["pairs"])]}


def _pair(name: str, labels: Sequence[str], pair: Row) -> Row:
    facet = next((facet for facet in LEADING if facet in pair["groups"]), None)
    tests = {"overall": pair["overall"]} | (pair["scores"] or (pair["groups"][facet] if facet else {}))
    rows = {row: _interval(test) for row, test in tests.items() if _scored(test)}
    colour = MODELS[labels.index(pair["b"]) % len(MODELS)]
    return pair | {
        "plot": score_plots.differences(name, pair["b"], pair["a"], rows, colour),
        "shown": list(tests.items()),
        "rest": {key: groups for key, groups in pair["groups"].items() if key != facet or pair["scores"]},
    }


def _scale(rows: Sequence[tuple[str, Sequence[Any]]], results: Sequence[Row]) -> tuple[float, float] | None:
    """Bounds that the raw scores of a table can take."""
    own = [cell.get("scale") for _, cells in rows for cell in cells if isinstance(cell, Mapping)]
    given = [scale for scale in (*own, *(result.get("scale") for result in results)) if scale]
    return (float(given[0]["low"]), float(given[0]["high"])) if given else None


def _scored(score: Any) -> bool:
    return isinstance(score, Mapping) and score.get("mean") is not None


def _interval(score: Any) -> tuple[float, float, float]:
    """Mean, low and high; a mean without an interval is its own."""
    mean = float(score["mean"])
    low, high = (mean if score.get(end) is None else float(score[end]) for end in ("low", "high"))
    return mean, low, high


def _judge_free(name: str, row: Sequence[Evaluation | None]) -> View:
    """What needs no judge: reference lift and output measures of each model."""
    summaries = [evaluation.run.summary if evaluation else {} for evaluation in row]
    lifts = [summary.get("reference_lift") or {} for summary in summaries]
    outputs = [summary.get("outputs") or {} for summary in summaries]
    by_source = [lift.get("by_source") or {} for lift in lifts]
    return {
        "title": title(name),
        "lift": lifts if any(lifts) else [],
        "by_source": [(source, [found.get(source) for found in by_source]) for source in _names(by_source)],
        "outputs": [
            (key, [found.get(key) for found in outputs])
            for key in _names(outputs)
            if any(found.get(key) is not None for found in outputs)
        ],
    }


def _lift_plot(evaluations: Sequence[Evaluation], labels: Sequence[str], shown: int) -> str:
    lifts = []
    for evaluation in evaluations:
        lift = evaluation.run.summary.get("reference_lift") or {}
        if (means := _three(lift)) is not None:
            examples = [three for row in evaluation.lifts.values() if (three := _three(row)) is not None]
            kept = [examples[index] for index in sample([base - last for base, _, last in examples], shown)]
            lifts.append(score_plots.Lift(evaluation.label, labels.index(evaluation.label), means, tuple(kept)))
    return score_plots.lift(lifts) if lifts else ""


def _three(row: Row) -> tuple[float, float, float] | None:
    nll = row.get("nll") or {}
    base, model, thinking = (nll.get(name) for name in ("base", "model", "model_with_thinking"))
    return None if base is None or model is None or thinking is None else (base, model, thinking)


def _paper(labels: Sequence[str], benchmarks: Mapping[str, Sequence[Evaluation | None]]) -> View | None:
    """The paper's rows beside ours, in the columns of benchmarks that were run; None where none of them was."""
    paper = json.loads((resources.files("reer") / "data" / "paper.json").read_text(encoding="utf-8"))
    columns = [column for column in paper["columns"] if column["benchmark"] in benchmarks]
    if not columns:
        return None
    ours = [
        (label, [_of_column(column, benchmarks[column["benchmark"]][index]) for column in columns])
        for index, label in enumerate(labels)
    ]
    theirs = [(row["model"], [row["scores"].get(column["key"]) for column in columns]) for row in paper["rows"]]
    rows = (row for column in columns for row in benchmarks[column["benchmark"]] if row)
    judges = list(dict.fromkeys(judge for row in rows for judge in row.result.get("judges") or ()))
    return {"source": paper["source"], "columns": columns, "judges": judges, "ours": ours, "theirs": theirs}


def _of_column(column: Row, evaluation: Evaluation | None) -> Any:
    if evaluation is None:
        return None
    if "facet" not in column:
        return evaluation.result.get("overall")
    return ((evaluation.result.get("groups") or {}).get(column["facet"]) or {}).get(column["group"])


def _keys(row: Sequence[Evaluation | None]) -> list[Key]:
    return list(dict.fromkeys(key for evaluation in row if evaluation for key in evaluation.answers))


def _picked(benchmarks: Mapping[str, Sequence[Evaluation | None]], shown: int) -> list[Key]:
    """Prompts to show, as many of each benchmark: where the last model gains most on the first comes first."""
    picked: list[Key] = []
    for row in benchmarks.values():
        keys = _keys(row)
        chosen = sample([_advance(row, key) for key in keys], max(1, shown // len(benchmarks)))
        picked += [keys[index] for index in chosen]
    return picked


def _advance(row: Sequence[Evaluation | None], key: Key) -> float:
    """How much better the last model scored on a prompt than the first; its score where there is one model."""
    present = [evaluation for evaluation in row if evaluation]
    last, first = present[-1].score(key), present[0].score(key) if len(present) > 1 else 0.0
    return last - first if last is not None and first is not None else 0.0


def _facets(benchmarks: Mapping[str, Sequence[Evaluation | None]], keys: Sequence[Key]) -> list[tuple[str, list[str]]]:
    """What the answers shown can be filtered by: of every benchmark, the groups of its leading facet."""
    found: dict[str, list[str]] = {name: [] for name in benchmarks}
    for key in keys:
        group = _group(benchmarks[key[0]], key)
        if group and group not in found[key[0]]:
            found[key[0]].append(group)
    return [(name, sorted(groups)) for name, groups in found.items()]


def _group(row: Sequence[Evaluation | None], key: Key) -> str:
    groups = _about(row, key).get("groups") or {}
    return str(next((groups[facet] for facet in LEADING if facet in groups), ""))


def _about(row: Sequence[Evaluation | None], key: Key) -> Row:
    return next((e.items[key[1]] for e in row if e and key[1] in e.items), {})


def _prompt(row: Sequence[Evaluation | None], labels: Sequence[str], key: Key) -> View:
    answers = [evaluation.answers[key] for evaluation in row if evaluation and key in evaluation.answers]
    about = _about(row, key)
    return {
        "benchmark": key[0],
        "id": key[1],
        "epoch": key[2],
        "group": _group(row, key),
        "required_words": about.get("required_words"),
        "prompt": answers[0].get("prompt") or "",
        "cells": [_cell(label, evaluation, key, about) for label, evaluation in zip(labels, row, strict=True)],
        "advance": _advance(row, key),
    }


def _cell(label: str, evaluation: Evaluation | None, key: Key, about: Row) -> View:
    """One model's answer to one prompt, with what the judges said of it."""
    if evaluation is None:
        return {"label": label}
    asked = {criterion["name"]: criterion for criterion in about.get("criteria") or ()}
    verdicts, failures = evaluation.verdicts_of(key), Counter[str]()
    said: dict[str, list[View]] = {name: [] for name in asked}
    for row in verdicts:
        if row.get("status") != "ok":
            failures[str(row.get("status"))] += 1
        for name, score in (row.get("scores") or {}).items():
            reason = (row.get("reasons") or {}).get(name)
            said.setdefault(name, []).append({"judge": row.get("judge"), "repeat": row.get("repeat"),
                                              "score": score, "reason": reason})  # fmt: skip
    overall = evaluation.score(key)
    return {
        "label": label,
        "answer": evaluation.answers.get(key),
        "overall": overall,
        "share": _share(overall, evaluation.result.get("scale")),
        "criteria": [_criterion(asked.get(name) or {"title": name}, given) for name, given in said.items() if given],
        "failures": dict(failures),
        "lift": evaluation.lifts.get(key[1]),
    }


def _criterion(asked: Row, given: Sequence[View]) -> View:
    """One criterion of one answer: the mean of its verdicts, and each of them."""
    scores = [verdict["score"] for verdict in given if verdict["score"] is not None]
    return {
        "title": asked.get("title"),
        "question": asked.get("question"),
        "mean": fmean(scores) if scores else None,
        "verdicts": given,
        "reasons": [verdict for verdict in given if verdict["reason"]],
    }


def _share(score: float | None, scale: Any) -> float | None:
    """Where a score stands between the lowest and the highest, 0 to 1."""
    if score is None or not scale:
        return None
    return float((score - scale["low"]) / (scale["high"] - scale["low"]))
