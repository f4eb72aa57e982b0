"""Reference lift over prompts: how likely good answers are to a model behind how much thinking, alone and compared.

A model that thinks has the pooled NLL of its thoughts; one that thought nothing on any prompt has its NLL without
thinking, which is exact. NLLs are in nats per answer token. Knows rows of lift.jsonl and statistics.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import combinations
from statistics import fmean
from typing import Any

from reer.files.results import Evaluation
from reer.text import seed_of
from reer.types import Example

from ..answering.lift import current_lifts
from ..statistics import bootstrap_mean, holm, paired_difference
from ..store import Row
from .table import signed

NLLS = ("base", "model", "model_with_thinking", "one_thought")
FEWER = 0.9
"""Thoughts a prompt that could be scored, of another model's: with fewer the number is overstated more (Jensen)."""


def reference_lift(rows: Sequence[Row], references: Sequence[Example], seed: int) -> dict[str, Any]:
    """What results.json says of it."""
    lifts = list(current_lifts(rows, references).values())
    sources = {example.id: example.source.partition(";")[0] or "unknown" for example in references}
    counted = usable(lifts)
    by_source: dict[str, list[float]] = defaultdict(list)
    for row in counted:
        by_source[sources[row["id"]]].append(row["lift"])

    def estimate(values: Sequence[float], name: str) -> dict[str, Any]:
        return asdict(bootstrap_mean(values, seed_of(seed, "lift", name)))

    nlls = {name: [nll for row in counted if (nll := _nll(row, name)) is not None] for name in NLLS}
    pairs = zip(nlls["one_thought"], nlls["model_with_thinking"], strict=True)
    lengths = [row["thinking_tokens"] for row in counted if row.get("thinking_tokens") is not None]
    return {
        **asdict(bootstrap_mean([row["lift"] for row in counted], seed_of(seed, "lift"))),
        "n_asked": len(references),
        "missing": len(lifts) - len(counted),
        "nll": {name: fmean(values) if values else None for name, values in nlls.items()},
        "by_source": {source: estimate(values, source) for source, values in sorted(by_source.items())},
        "intervals": {name: estimate(values, f"nll {name}") for name, values in nlls.items()},
        "overstated": estimate([one - together for one, together in pairs], "overstated"),
        "thinking_tokens": estimate(lengths, "thinking tokens"),
        "thoughts": _thoughts(lifts),
        "exact": is_exact(lifts),
    }


def is_exact(lifts: Sequence[Row]) -> bool:
    """Whether the model wrote no thinking on any prompt."""
    return bool(lifts) and all(row.get("status") == "no_thinking" for row in lifts)


def usable(lifts: Sequence[Row]) -> list[Row]:
    """Rows that count. An empty thinking of a model that does think is a failure, not a number."""
    return list(lifts) if is_exact(lifts) else [row for row in lifts if row.get("status") == "ok"]


def _nll(row: Row, name: str) -> float | None:
    """A row from before there could be several thoughts has one."""
    nll: Mapping[str, float | None] = row["nll"]
    return nll.get(name, nll["model_with_thinking"])


def _thoughts(lifts: Sequence[Row]) -> dict[str, Any]:
    """Thoughts asked for per prompt, and of all prompts together: scored, cut, failed by kind."""
    told: list[Row] = [row["thoughts"] for row in lifts if row.get("thoughts")]
    failed = sum((Counter(row["failed"]) for row in told), Counter[str]())
    carried = [row["effective"] for row in told if row["effective"] is not None]
    return {
        "asked": max((row["asked"] for row in told), default=1),
        "scored": sum(row["scored"] for row in told),
        "cut": sum(row["cut"] for row in told),
        "failed": dict(sorted(failed.items())),
        "effective": fmean(carried) if carried else None,
    }


def compare_lifts(evaluations: Sequence[Evaluation], seed: int) -> dict[str, Any] | None:
    """How likely the same reference answers are to several models, paired; None where fewer than two were measured.

    Answers that two models split into another number of tokens are left out: their nats per token are of other things.
    """
    rows = {e.label: e.lifts for e in evaluations if e.lifts}
    if len(rows) < 2:
        return None
    shared, other_tokens = comparable(list(rows.values()))
    models = {model: _model([found[name] for name in shared]) for model, found in rows.items()}
    nlls = {model: {name: own_nll(found[name]) for name in shared} for model, found in rows.items()}
    pairs = [_pair(a, b, models, nlls, seed) for a, b in combinations(models, 2)]
    tested = [pair["nll"] for pair in pairs if pair["nll"] and pair["nll"]["p"] is not None]
    for test, adjusted in zip(tested, holm([test["p"] for test in tested]), strict=True):
        test["p_holm"] = adjusted
    return {"n": len(shared), "other_tokens": other_tokens, "models": models, "pairs": pairs}


def comparable(found: Sequence[Mapping[str, Row]]) -> tuple[list[str], int]:
    """Prompts that several lifts, each by prompt, have a usable number for, of the same answer in as many tokens.

    And how many more all have a number for, whose answers are split into other tokens.
    """
    counted = [{row["id"]: row for row in usable(list(lifts.values()))} for lifts in found]
    everywhere = [name for name in counted[0] if all(name in rows for rows in counted)]
    shared = [name for name in everywhere if len({_what(rows[name]) for rows in counted}) == 1]
    return shared, len(everywhere) - len(shared)


def _what(row: Row) -> tuple[Any, ...]:
    return row.get("pair"), row.get("answer_tokens")


def own_nll(row: Row) -> float:
    """Nats per answer token behind the model's own thinking; without any where it thought nothing."""
    together = row["nll"]["model_with_thinking"]
    return float(row["nll"]["model"] if together is None else together)


def _model(rows: Sequence[Row]) -> dict[str, Any]:
    """One model on the shared prompts."""
    ones = [one for row in rows if (one := _nll(row, "one_thought")) is not None]
    lengths = [row["thinking_tokens"] for row in rows if row.get("thinking_tokens") is not None]
    exact = is_exact(rows)
    told = [row.get("thoughts") or {} for row in rows]
    asked = max((found.get("asked", 1) for found in told), default=1)
    return {
        "nll": fmean(map(own_nll, rows)) if rows else None,
        "without_thinking": fmean(row["nll"]["model"] for row in rows) if rows else None,
        "one_thought": fmean(ones) if ones else None,
        "thinking_tokens": fmean(lengths) if lengths else None,
        "thoughts": 0 if exact else asked,
        "scored": 0.0 if exact or not rows else fmean(found.get("scored", asked) for found in told),
        "exact": exact,
    }


def _pair(
    a: str, b: str, models: Mapping[str, Row], nlls: Mapping[str, Mapping[str, float]], seed: int
) -> dict[str, Any]:
    """The difference b - a; none between models that thought another number of times, which is part of the number."""
    if reason := _unlike([models[model] for model in (a, b) if not models[model]["exact"]]):
        return {"a": a, "b": b, "nll": None, "reason": reason}
    test = asdict(paired_difference(nlls[a], nlls[b], seed_of(seed, a, b, "lift")))
    return {"a": a, "b": b, "nll": test, "reason": ""}


def _unlike(thinking: Sequence[Row]) -> str:
    """Why numbers of models that think cannot be compared; empty where they can."""
    if len({found["thoughts"] for found in thinking}) > 1:
        return "they were measured with other numbers of thoughts"
    scored = [found["scored"] for found in thinking]
    if scored and min(scored) < FEWER * max(scored):
        return f"{' and '.join(f'{n:.1f}' for n in scored)} thoughts a prompt could be scored, the others failed"
    return ""


def lines_of(lift: Row | None) -> list[str]:
    """A comparison of lifts as text for the terminal."""
    if not lift:
        return []
    lines = [f"  NLL of {lift['n']} reference answers in nats per token, each model after its own thinking:"]
    if lift["other_tokens"]:
        lines.append(f"    {lift['other_tokens']} more are split into other tokens by the models and left out")
    for model, found in lift["models"].items():
        if found["nll"] is not None:
            lines.append(f"    {model:<28}{found['nll']:.3f}  ({told(found)})")
    for pair in lift["pairs"]:
        name = f"{pair['b']} - {pair['a']}"
        lines.append(f"    {name:<28}{_difference(pair['nll']) if pair['nll'] else '– ' + pair['reason']}")
    return lines


def _difference(test: Row) -> str:
    p = "" if test["p"] is None else f"  p {test['p']:.4f}, Holm {test['p_holm']:.4f}"
    return signed(test) + p


def told(found: Row) -> str:
    """Behind how much thinking an NLL stands."""
    if found["exact"]:
        return "without thinking, exact"
    length = "length unknown" if found["thinking_tokens"] is None else f"{found['thinking_tokens']:,.0f} tokens"
    if found["thoughts"] == 1:
        return f"one thought, {length}"
    scored = f" ({found['scored']:.1f} scored)" if found["scored"] < found["thoughts"] else ""
    return f"{found['thoughts']} thoughts{scored} of {length}; one alone {found['one_thought']:.3f}"
