"""Results as a short table for the terminal. Knows results.json alone."""

from typing import Any

Result = dict[str, Any]
LEAD = ("score", "task", "domain", "requirement")
"""Facets that are shown; the rest stands in results.json and on the page."""


def table(results: Result) -> str:
    """One evaluation as text."""
    lines = []
    for name, benchmark in results["benchmarks"].items():
        lines += _benchmark(f"{results['model']} on {name}", benchmark)
    if lift := results["reference_lift"]:
        lines += [*_lift(lift), *_forced(lift, results["outputs"])]
    return "\n".join([*lines, *_outputs(results["outputs"])])


def _benchmark(heading: str, benchmark: Result) -> list[str]:
    scale, digits = benchmark["scale"], 3 if benchmark["scale"]["high"] <= 10 else 2
    lines = [
        f"{heading}, judged by {', '.join(benchmark['judges'])} ({scale['low']:g}-{scale['high']:g}, 95 % interval)"
    ]
    rows = dict(benchmark["scores"])
    for facet in LEAD if not rows else LEAD[:1]:
        rows |= benchmark["groups"].get(facet, {})
    rows["overall"] = benchmark["overall"]
    lines += [_row(name, row, digits) for name, row in rows.items()]
    if len(benchmark["by_judge"]) > 1:
        lines += [_row(f"  {name}", judge["overall"], digits) for name, judge in benchmark["by_judge"].items()]
    if benchmark["agreement"] and (alpha := benchmark["agreement"]["overall"]["alpha"]) is not None:
        lines.append(f"  agreement of the judges: Krippendorff's alpha {alpha:.2f}")
    for judge, models in benchmark["served_models"].items():
        if len(models) > 1:
            lines.append(f"  {judge} was more than one model: {', '.join(models)}")
    if benchmark["failures"]:
        lines.append("  without a verdict: " + ", ".join(f"{k} {n}" for k, n in benchmark["failures"].items()))
    answers = benchmark["answers"]
    if failed := {key: answers[key] for key in ("missing", "empty", "unfinished") if answers[key]}:
        lines.append("  without an answer: " + ", ".join(f"{key} {n}" for key, n in failed.items()))
    return lines + [_cost(name, cost) for name, cost in benchmark["cost"].items()] + _anchors(benchmark.get("anchors"))


def _row(name: str, row: Result, digits: int) -> str:
    shown = name.replace("_", " ")
    bounds = ""
    if row["worst"] is not None and row["worst"] != row["best"]:
        bounds = f"  between {row['worst']:.{digits}f} and {row['best']:.{digits}f} with what is missing"
    return f"  {shown:24}{interval(row, digits)}  {row['n_ok']}/{row['n']}{bounds}"


def _cost(name: str, cost: Result) -> str:
    paid = "" if cost["dollars"] is None else f", ${cost['dollars']:,.2f}"
    cached = f" ({cost['cached']:,} more from the cache)" if cost["cached"] else ""
    read = cost["input_tokens"] + cost["cached_input_tokens"]
    return (
        f"  cost of {name}: {cost['calls']:,} calls{cached}, {read:,} tokens in, {cost['output_tokens']:,} out{paid}"
    )


def _anchors(anchors: Result | None) -> list[str]:
    lines = []
    for name, found in (anchors or {}).items():
        order = "–" if found["order"] is None else f"{found['order']:.2f}"
        shift = "no baseline"
        if found["shift"]:
            shift = f"shift since the baseline {interval(found['shift']).strip()}"
        lines.append(f"  {name} on {found['n']} anchors: mean {found['mean']:.2f}, order {order}, {shift}")
    return lines


def _lift(lift: Result) -> list[str]:
    shown = {name: "–" if nll is None else f"{nll:.3f}" for name, nll in lift["nll"].items()}
    return [
        f"  reference lift          {interval(lift)}  {lift['n']}/{lift['n_asked']}  nats per token",
        f"    NLL of the reference answer: base {shown['base']}, this model {shown['model']}, "
        f"this model with its thinking {shown['model_with_thinking']}",
        *_thinking(lift, shown["one_thought"]),
    ]


def _thinking(lift: Result, one: str) -> list[str]:
    """Behind how much thinking these numbers stand, and which of it could not be used."""
    thoughts = lift["thoughts"]
    if lift["exact"]:
        return ["    no thinking was written: the NLL of this model without thinking is exact, whatever their number"]
    lines = [f"    tokens of thinking {interval(lift['thinking_tokens'], 0).strip()}"]
    if thoughts["asked"] > 1:
        lines[0] += (
            f", {thoughts['asked']} thoughts a prompt, of which {thoughts['effective'] or 0:.1f} carry the mean"
        )
        lines.append(f"    one thought alone {one}, too much by {interval(lift['overstated']).strip()}")
    if thoughts["failed"]:
        kinds = ", ".join(f"{kind.replace('_', ' ')} {n}" for kind, n in thoughts["failed"].items())
        lines.append(f"    thoughts without a score: {kinds}")
    if thoughts["asked"] == 1 and thoughts["cut"]:
        lines.append(f"    thinking that was cut at benchmark.thinking_tokens: {thoughts['cut']}")
    return lines


def _forced(lift: Result, outputs: Result) -> list[str]:
    """The think block was opened for it, and left to itself the model does not write one."""
    if lift["exact"] or outputs["well_formed"]["mean"] != 0:
        return []
    return ["    no answer was well-formed: if it has not learnt to think, its number is that of benchmark.thoughts=0"]


def _outputs(outputs: Result) -> list[str]:
    shares = {name: outputs[name]["mean"] for name in ("well_formed", "loop_rate", "truncated")}
    percent = {name: "–" if mean is None else f"{mean:.0%}" for name, mean in shares.items()}
    return [
        f"  well-formed {percent['well_formed']}, ending in a loop {percent['loop_rate']}, "
        f"cut at the token limit {percent['truncated']}, words {interval(outputs['words'], 0).strip()}"
    ]


def signed(test: Result, digits: int = 3) -> str:
    """A signed mean with its interval, or a dash."""
    if test["mean"] is None:
        return "–"
    mean, *ends = (f"{test[key]:+.{digits}f}" for key in ("mean", "low", "high") if test[key] is not None)
    return f"{mean} [{', '.join(ends)}]" if ends else mean


def interval(row: Result, digits: int = 3) -> str:
    """A mean with its interval, or a dash."""
    if row["mean"] is None:
        return f"{'–':>7}"
    bounds = "" if row["low"] is None else f"  [{row['low']:.{digits}f}, {row['high']:.{digits}f}]"
    return f"{row['mean']:>7.{digits}f}{bounds}"
