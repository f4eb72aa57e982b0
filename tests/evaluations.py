"""Evaluation run folders as docs/files.md describes them, made up on the spot for tests of what reads them."""

import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from reer.files.results import judged_hash

Row = dict[str, Any]

CRITERIA = {
    "reasoning": ("problem_deconstruction", "logical_consistency", "depth_of_analysis", "presentation_clarity",
                  "factual_grounding"),
    "longbench_write": ("relevance", "accuracy", "coherence", "clarity", "breadth_and_depth", "reading_experience"),
    "hellobench": ("item_1", "item_2", "item_3"),
    "writingbench": ("Use of sources", "Depth of the argument", "Form of the report"),
}  # fmt: skip
GROUPS: Mapping[str, Mapping[str, Sequence[str]]] = {
    "reasoning": {"domain": ("fable", "memoir", "essay")},
    "longbench_write": {"type": ("Academic", "Creative"), "language": ("en", "zh")},
    "hellobench": {"task": ("open_ended_qa", "chat", "text_completion", "heuristic_text_generation"),
                   "category": ("story_writing", "report", "roleplaying", "argumentative_writing")},
    "writingbench": {"domain": ("A Academic & Engineering", "D Literature & Arts", "F Advertising & Marketing"),
                     "language": ("en", "zh")},
}  # fmt: skip
OVERALL = {"reasoning": (1, 5), "longbench_write": (0, 100), "hellobench": (0, 100), "writingbench": (10, 100)}
SCALE = {"reasoning": (1, 5), "longbench_write": (1, 5), "hellobench": (0, 1), "writingbench": (1, 10)}
JUDGES = ("likelihood:smollm2", "openai:gpt-4o")


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def write_evaluation(
    folder: Path,
    model: str = "base",
    benchmark: str = "reasoning",
    *,
    n: int = 8,
    shift: float = 0.0,
    judges: Sequence[str] = JUDGES[:1],
    text: str = "An answer that holds.",
    failed: int = 0,
    **result: Any,
) -> Path:
    """One run folder. `shift` moves every score by that share of its scale; `failed` prompts lack a verdict.

    Scores are drawn per prompt, the same for every model but for `shift` and a little noise.
    """
    rng = random.Random(f"{model}/{benchmark}")
    names = [f"{benchmark[:2]}{k:03}" for k in range(n)]
    rows = [_prompt(name, k, benchmark, shift, rng, judges) for k, name in enumerate(names)]
    for row in rows[len(rows) - failed :]:
        row["overall"], row["scores"] = None, dict.fromkeys(row["scores"])
    write_rows(folder / "items.jsonl", [_item(row, benchmark) for row in rows])
    answers = [_answer(row, model, benchmark, text) for row in rows]
    write_rows(folder / "answers.jsonl", answers)
    judged = [v for row, answer in zip(rows, answers, strict=True) for v in _verdicts(row, answer, judges)]
    write_rows(folder / "verdicts.jsonl", judged)
    rows = [_on_the_scale_of_overall(row, benchmark) for row in rows]
    write_rows(folder / "scores.jsonl", rows)
    nll = {"base": 3.5, "model": 3.5 - shift, "model_with_thinking": 3.4 - shift, "one_thought": 3.425 - shift}
    if benchmark == "reasoning":
        lift = {"pair": "p", "status": "ok", "lift": 0.1 + shift, "answer_tokens": 90, "nll": nll}
        lift |= {"thinking": f"Sampled. {text}", "thinking_tokens": 61.5, "thoughts": {"asked": 1}}
        write_rows(folder / "lift.jsonl", [{"id": name} | lift for name in names])
    results = {
        "model": model,
        "benchmarks": {benchmark: _result(rows, benchmark, judges, failed) | result},
        "reference_lift": _lift(shift, n, nll) if benchmark == "reasoning" else None,
        "outputs": _outputs(rows, benchmark),
        "format_version": 2,
    }
    (folder / "results.json").write_text(json.dumps(results), encoding="utf-8")
    return folder


def _prompt(name: str, n: int, benchmark: str, shift: float, rng: random.Random, judges: Sequence[str]) -> Row:
    low, high = SCALE[benchmark]
    quality = random.Random(name).uniform(0.3, 0.7)
    scores: dict[str, float | None] = {
        criterion: round(low + (high - low) * min(1.0, max(0.0, quality + shift + rng.uniform(-0.1, 0.1))), 3)
        for criterion in CRITERIA[benchmark]
    }
    if benchmark == "reasoning" and n % 3 == 0:
        scores["factual_grounding"] = None
    overall = _points(fmean(score for score in scores.values() if score is not None), benchmark)
    groups = {facet: values[n % len(values)] for facet, values in GROUPS[benchmark].items()}
    by_judge = {judge: {"overall": overall - k, "scores": scores} for k, judge in enumerate(judges)}
    return {"id": name, "groups": groups, "words": 80 + 7 * n + rng.randrange(40), "overall": overall,
            "scores": scores, "by_judge": by_judge}  # fmt: skip


def _on_the_scale_of_overall(row: Row, benchmark: str) -> Row:
    """A row of scores.jsonl, where judges' own scores are points of the benchmark."""

    def points(scores: Row) -> Row:
        return {name: None if score is None else _points(score, benchmark) for name, score in scores.items()}

    views = {judge: view | {"scores": points(view["scores"])} for judge, view in row["by_judge"].items()}
    return row | {"scores": points(row["scores"]), "by_judge": views}


def _points(score: float, benchmark: str) -> float:
    (low, high), (bottom, top) = SCALE[benchmark], OVERALL[benchmark]
    return bottom + (score - low) / (high - low) * (top - bottom)


def _item(row: Row, benchmark: str) -> Row:
    criteria = [
        {"name": name, "title": name, "question": f"does it meet {name}?", "weight": 1.0, "scale": SCALE[benchmark]}
        for name in row["scores"]
    ]
    required = 100 if benchmark == "longbench_write" else None
    return {"id": row["id"], "groups": row["groups"], "required_words": required, "criteria": criteria}


def _answer(row: Row, model: str, benchmark: str, text: str) -> Row:
    return {"model": model, "id": row["id"], "benchmark": benchmark, "epoch": 0, "prompt": f"Write for {row['id']}.",
            "thinking": f"I begin. {text}", "answer": text, "finish_reason": "stop", "tokens": 9,
            "words": row["words"], "well_formed": True, "loop": False}  # fmt: skip


def _verdicts(row: Row, answer: Row, judges: Sequence[str]) -> list[Row]:
    named = {"model": answer["model"], "id": row["id"], "benchmark": answer["benchmark"], "criterion": None,
             "rubric": "r1", "judged": judged_hash(answer), "usage": {}, "detail": ""}  # fmt: skip
    reasons = dict.fromkeys(row["scores"], f"It holds. {answer['answer'][:300]}")
    good = {"status": "ok", "scores": row["scores"], "reasons": reasons}
    bad = {"status": "parse_failed", "scores": {}, "reasons": {}}
    return [
        named | {"judge": judge, "repeat": repeat} | (bad if row["overall"] is None else good)
        for judge in judges
        for repeat in range(2)
    ]


def estimate(values: Sequence[float], n: int, low: float, high: float) -> Row:
    """An estimate as results.json has it; the interval is made up, the bounds are right."""
    if not values:
        return {"mean": None, "low": None, "high": None, "n_ok": 0, "n": n, "worst": low, "best": high}
    mean, missing = fmean(values), n - len(values)
    half = (high - low) * 0.5 / len(values) ** 0.5 * 0.3
    worst, best = ((sum(values) + missing * bound) / n for bound in (low, high))
    return {"mean": mean, "low": mean - half, "high": mean + half, "n_ok": len(values), "n": n, "worst": worst,
            "best": best}  # fmt: skip


def _result(rows: Sequence[Row], benchmark: str, judges: Sequence[str], failed: int) -> Row:
    n, (bottom, top) = len(rows), OVERALL[benchmark]
    complete = [row for row in rows if row["overall"] is not None]
    shared = CRITERIA[benchmark] if benchmark in ("reasoning", "longbench_write") else ()
    scores = {}
    for name in shared:
        given = [row["scores"][name] for row in complete if row["scores"][name] is not None]
        applicable = n - sum(row["scores"][name] is None for row in rows)
        scores[name] = estimate(given, applicable, bottom, top) | {"n": n}
    if "factual_grounding" in scores:
        scores["factual_grounding"]["not_applicable"] = sum(row["scores"]["factual_grounding"] is None for row in rows)
    groups: dict[str, Row] = {}
    for facet, values in GROUPS[benchmark].items():
        groups[facet] = {}
        for value in values:
            inside = [row for row in rows if row["groups"][facet] == value]
            given = [row["overall"] for row in inside if row["overall"] is not None]
            groups[facet][value] = estimate(given, len(inside), bottom, top)
    overall = estimate([row["overall"] for row in complete], n, bottom, top)
    if benchmark == "longbench_write":
        groups["score"] = {"S_q": overall, "S_l": estimate([80.0] * n, n, 0, 100)}
    alone = {"overall": overall, "scores": scores, "failures": {}, "repeats": 2, "repeat_sd": 0.12}
    agreement = {"alpha": 0.41, "spearman": {" and ".join(judges): 0.52}, "n": n}
    counts = [sum(bottom + k * (top - bottom) / 8 <= row["overall"] < bottom + (k + 1) * (top - bottom) / 8
                  for row in complete) for k in range(8)]  # fmt: skip
    edges = [bottom + k * (top - bottom) / 8 for k in range(9)]
    return {
        "scale": {"low": bottom, "high": top},
        "mean_of": "task" if benchmark == "hellobench" else None,
        "overall": overall,
        "scores": scores,
        "groups": groups,
        "answers": {"asked": n, "answered": n, "missing": 0, "empty": 1, "unfinished": 0},
        "failures": {"parse_failed": 2 * failed} if failed else {},
        "judges": list(judges),
        "by_judge": dict.fromkeys(judges, alone),
        "agreement": {"overall": agreement} if len(judges) > 1 else None,
        "length": {"spearman": 0.12, "n": n, "per_doubling": -0.34},
        "histograms": {"overall": {"edges": edges, "counts": counts}},
        "cost": {judge: {"calls": 2 * n, "cached": 0, "input_tokens": 900 * n, "cached_input_tokens": 0,
                         "output_tokens": 120 * n, "dollars": None, "price": None} for judge in judges},
        "anchors": None,
        "rubric": "r1",
        "prompts": "p1",
        "weights": "w1",
        "data": {"version": "v1", "files": {"data.jsonl": "ab12"}, "items": n, "asked": n},
    }  # fmt: skip


def _lift(shift: float, n: int, nll: Row) -> Row:
    estimate = {"mean": 0.1 + shift, "low": 0.05, "high": 0.2, "n": n, "n_ok": n}
    thoughts = {"asked": 1, "scored": n, "cut": 0, "failed": {}, "effective": 1.0}
    return estimate | {
        "n_asked": n, "missing": 0, "nll": nll, "by_source": {"A book": estimate},
        "thoughts": thoughts, "exact": False,
        "thinking_tokens": {"mean": 61.5, "low": 50.0, "high": 73.0, "n": n},
        "overstated": {"mean": 0.025, "low": 0.01, "high": 0.04, "n": n},
    }  # fmt: skip


def _outputs(rows: Sequence[Row], benchmark: str) -> Row:
    def share(mean: float) -> Row:
        return {"mean": mean, "low": max(0.0, mean - 0.1), "high": min(1.0, mean + 0.1), "n": len(rows)}

    words = fmean(row["words"] for row in rows)
    compliance = share(0.5) if benchmark == "longbench_write" else None
    return {
        "well_formed": share(0.75), "loop_rate": share(0.125), "truncated": share(0.0),
        "words": {"mean": words, "low": words - 9, "high": words + 9, "n": len(rows)},
        "distinct_1": share(0.61), "distinct_2": share(0.93), "length_compliance": compliance,
        "overlap": share(0.002), "copied_run": 14,
    }  # fmt: skip
