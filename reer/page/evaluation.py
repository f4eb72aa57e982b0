"""What the page shows of evaluated models, as plain values for the templates: benchmark by benchmark, side by side.

Knows results and figures; knows nothing of HTML. Samples are seeded: the same folders give the same page.
"""

import json
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

from reer.files.results import Evaluation, Row, Run, read_evaluations
from reer.page import score_plots
from reer.page.answers import LEADING, Models, facets, keys_of, picked, prompt_view
from reer.page.plots import MODELS, title
from reer.page.views import View, sample

ORDER = ("reasoning", "longbench_write", "hellobench", "writingbench")
"""In which benchmarks stand on the page; others follow."""


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
    keys = picked(benchmarks, max(1, shown // max(1, len(labels))))
    return {
        "models": labels,
        "benchmarks": [_benchmark(name, labels, row, comparisons.get(name)) for name, row in benchmarks.items()],
        "lift_plot": _lift_plot(evaluations, labels, shown),
        "free": [_judge_free(name, row) for name, row in benchmarks.items()],
        "paper": _paper(labels, benchmarks),
        "validations": validations,
        "total": sum(len(keys_of(row)) for row in benchmarks.values()),
        "prompts": [prompt_view(benchmarks[key[0]], labels, key) for key in keys],
        "facets": facets(benchmarks, keys),
    }


def _current(comparison: Row, evaluations: Sequence[Evaluation]) -> Mapping[str, Row]:
    """Of a stored comparison, the benchmarks that were compared on the very scores shown."""
    hashes = {(e.benchmark, e.label): e.scores_hash for e in evaluations}
    return {
        name: found
        for name, found in (comparison.get("benchmarks") or {}).items()
        if all(hashes.get((name, model)) == stored for model, stored in found["scores_of"].items())
    }


def _benchmark(name: str, labels: Sequence[str], row: Models, comparison: Row | None) -> View:
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
        "anchored": {judge for result in results for judge in result.get("anchors") or ()},
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
        scale = _scale(results)
        figures["dots"] = score_plots.dimensions(name, models, scale)
        shown = {label: scores for label, scores in models.items() if scores}
        axes = [row for row, _ in rows if all(row in scores for scores in shown.values())]
        if len(axes) > 2 and scale:
            outlines = {label: {row: scores[row] for row in axes} for label, scores in shown.items()}
            figures["radar"] = score_plots.radar(name, outlines, scale, labels)
    histograms = {
        label: found
        for label, result in zip(labels, results, strict=True)
        if (found := (result.get("histograms") or {}).get("overall"))
    }
    if histograms:
        figures["histogram"] = score_plots.histogram(name, histograms, labels)
    return figures


def _comparison(name: str, labels: Sequence[str], comparison: Row | None) -> Row | None:
    """A comparison with a figure of each model against the first; of other pairs, which are many, tables alone."""
    if comparison is None:
        return None
    pairs = [_pair(f"{name}-{n}", labels, pair) for n, pair in enumerate(comparison["pairs"])]
    return comparison | {"first": [p for p in pairs if p["plot"]], "pairs": [p for p in pairs if not p["plot"]]}


def _pair(name: str, labels: Sequence[str], pair: Row) -> Row:
    """What is shown of it: overall, the criteria, and the leading facet's groups."""
    facet = next((facet for facet in LEADING if facet in pair["groups"]), None)
    tests = {"overall": pair["overall"]} | (pair["scores"] or (pair["groups"][facet] if facet else {}))
    rows = {row: _interval(test) for row, test in tests.items() if _scored(test)}
    colour = MODELS[labels.index(pair["b"]) % len(MODELS)]
    is_first = labels[0] in (pair["a"], pair["b"])
    return pair | {
        "plot": score_plots.differences(name, pair["b"], pair["a"], rows, colour) if is_first and rows else "",
        "shown": list(tests.items()),
        "rest": {key: groups for key, groups in pair["groups"].items() if key != facet or pair["scores"]},
    }


def _scale(results: Sequence[Row]) -> tuple[float, float] | None:
    """Bounds that scores can take: overall, of a criterion, of a group."""
    given = [scale for result in results if (scale := result.get("scale"))]
    return (float(given[0]["low"]), float(given[0]["high"])) if given else None


def _scored(score: Any) -> bool:
    return isinstance(score, Mapping) and score.get("mean") is not None


def _interval(score: Any) -> tuple[float, float, float]:
    """Mean, low and high; a mean without an interval is its own."""
    mean = float(score["mean"])
    low, high = (mean if score.get(end) is None else float(score[end]) for end in ("low", "high"))
    return mean, low, high


def _judge_free(name: str, row: Models) -> View:
    """What needs no judge: reference lift and output measures of each model."""
    summaries = [evaluation.run.summary if evaluation else {} for evaluation in row]
    lifts = [summary.get("reference_lift") or {} for summary in summaries]
    outputs = [summary.get("outputs") or {} for summary in summaries]
    by_source = [lift.get("by_source") or {} for lift in lifts]
    return {
        "title": title(name),
        "lift": lifts if any(lift.get("mean") is not None for lift in lifts) else [],
        "several": any((lift.get("thoughts") or {}).get("asked", 1) > 1 for lift in lifts),
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
            thinking = (lift.get("thinking_tokens") or {}).get("mean")
            index = labels.index(evaluation.label)
            lifts.append(score_plots.Lift(evaluation.label, index, means, tuple(kept), thinking))
    return score_plots.lift(lifts) if lifts else ""


def _three(row: Row) -> tuple[float, float, float] | None:
    nll = row.get("nll") or {}
    base, model, thinking = (nll.get(name) for name in ("base", "model", "model_with_thinking"))
    return None if base is None or model is None or thinking is None else (base, model, thinking)


def _paper(labels: Sequence[str], benchmarks: Mapping[str, Models]) -> View | None:
    """The paper's rows beside ours, in the columns of benchmarks that were run; None where none of them was."""
    paper = json.loads((resources.files("reer") / "files" / "data" / "paper.json").read_text(encoding="utf-8"))
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
