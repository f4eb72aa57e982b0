"""What the page shows of single answers: prompt by prompt, each model's text with what the judges said of it.

Knows results; knows nothing of HTML or figures. Samples are seeded: the same folders give the same page.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from reer.files.results import Evaluation, Key, Row
from reer.page.views import View, sample

LEADING = ("score", "task", "domain", "type")
"""Facets by how much they say; the first that a benchmark has leads."""
Models = Sequence[Evaluation | None]
"""The evaluations of one benchmark, one for each model on the page; None where a model has none."""


def keys_of(row: Models) -> list[Key]:
    return list(dict.fromkeys(key for evaluation in row if evaluation for key in evaluation.answers))


def picked(benchmarks: Mapping[str, Models], shown: int) -> list[Key]:
    """Prompts to show, as many of each benchmark: where the last model gains most on the first comes first."""
    picked: list[Key] = []
    for row in benchmarks.values():
        keys = keys_of(row)
        chosen = sample([_advance(row, key) for key in keys], max(1, shown // len(benchmarks)))
        picked += [keys[index] for index in chosen]
    return picked


def _advance(row: Models, key: Key) -> float:
    """How much better the last model scored on a prompt than the first; its score where there is one model."""
    present = [evaluation for evaluation in row if evaluation]
    last, first = present[-1].score(key), present[0].score(key) if len(present) > 1 else 0.0
    return last - first if last is not None and first is not None else 0.0


def facets(benchmarks: Mapping[str, Models], keys: Sequence[Key]) -> list[tuple[str, list[str]]]:
    """What the answers shown can be filtered by: of every benchmark, the groups of its leading facet."""
    found: dict[str, list[str]] = {name: [] for name in benchmarks}
    for key in keys:
        group = _group(benchmarks[key[0]], key)
        if group and group not in found[key[0]]:
            found[key[0]].append(group)
    return [(name, sorted(groups)) for name, groups in found.items()]


def _group(row: Models, key: Key) -> str:
    groups = _about(row, key).get("groups") or {}
    return str(next((groups[facet] for facet in LEADING if facet in groups), ""))


def _about(row: Models, key: Key) -> Row:
    return next((e.items[key[1]] for e in row if e and key[1] in e.items), {})


def prompt_view(row: Models, labels: Sequence[str], key: Key) -> View:
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
    """One criterion of one answer: each of its verdicts, and the mean, in which judges count the same as in scores."""
    scores: dict[str, list[float]] = defaultdict(list)
    for verdict in given:
        if verdict["score"] is not None:
            scores[verdict["judge"]].append(verdict["score"])
    return {
        "title": asked.get("title"),
        "question": asked.get("question"),
        "mean": fmean(map(fmean, scores.values())) if scores else None,
        "verdicts": given,
        "reasons": [verdict for verdict in given if verdict["reason"]],
    }


def _share(score: float | None, scale: Any) -> float | None:
    """Where a score stands between the lowest and the highest, 0 to 1."""
    if score is None or not scale:
        return None
    return float((score - scale["low"]) / (scale["high"] - scale["low"]))
