"""Tables and curves of a finished stage for a tracker, of the same files and as many texts as the page shows."""

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from statistics import fmean
from typing import Any

from reer.files.results import Curve, Row, read_curve, read_run
from reer.run.tracking import Table

SHOWN = 200
"""Trajectories, answers or samples of a table: the first ones."""
NLL = "NLL (nats per answer token)"


def search_tables(run_dir: Path) -> dict[str, Table]:
    """Trajectories, every edit that was kept, and how the mean NLL of their answers fell."""
    rows = list(islice(read_run(run_dir).rows("trajectories.jsonl"), SHOWN))
    curves = [curve for row in rows if (curve := read_curve(row))]
    return {
        "trajectories": Table(
            ("id", "domain", "query", "first thinking", "thinking", "answer",
             f"{NLL} without", f"{NLL} first", f"{NLL} final", "edits"),
            [_trajectory(row) for row in rows],
        ),
        "edits": Table(
            ("id", "step", "segment", "operation", "before", "after", f"{NLL} before", f"{NLL} after"),
            [edit for row in rows for edit in _edits(row)],
        ),
        "search": Table(("step", f"change of the mean {NLL}"), _falling(curves), plot="line"),
    }  # fmt: skip


def _trajectory(row: Row) -> list[Any]:
    nll = row["nll"]
    kept = sum(step["kept"] is not None for step in row["steps"])
    return [
        row["id"], row.get("domain"), row["query"], row["first"]["thinking"], row["thinking"], row["answer"],
        nll["none"], nll["first"], nll["final"], kept,
    ]  # fmt: skip


def _edits(row: Row) -> Iterator[list[Any]]:
    nll = row["nll"]["first"]
    for number, step in enumerate(row["steps"], start=1):
        if step["kept"] is not None:
            after = step["candidates"][step["kept"]]["text"]
            yield [
                row["id"], number, step["segment"], step["operation"], step["before"], after, nll, step["nll"]
            ]  # fmt: skip
        nll = step["nll"]


def _falling(curves: Sequence[Curve]) -> list[list[float]]:
    """Mean difference to no thinking: with the first one (step 0), and after each step."""
    length = max((len(curve.steps) for curve in curves), default=-2) + 2
    changes = [curve.change(length)[1:] for curve in curves]
    return [[step, fmean(values)] for step, values in enumerate(zip(*changes, strict=True))]


def answer_tables(run_dir: Path) -> dict[str, Table]:
    """Answers with their scores, and the mean of each dimension with its interval."""
    run = read_run(run_dir)
    scores = {row["id"]: row for row in run.rows("scores.jsonl")}
    [found] = run.summary["benchmarks"].values()
    means = [[name, score["mean"], score["low"], score["high"]] for name, score in found["scores"].items()]
    return {
        "answers": Table(
            ("id", "prompt", "thinking", "answer", "words", "score"),
            [_answer(row, scores.get(row["id"], {})) for row in islice(run.rows("answers.jsonl"), SHOWN)],
        ),
        "scores": Table(("dimension", "mean score", "low (95 %)", "high (95 %)"), means, plot="bar"),
    }


def _answer(row: Row, score: Row) -> list[Any]:
    return [row["id"], row["prompt"], row["thinking"], row["answer"], score.get("words"), score.get("overall")]


def training_tables(run_dir: Path) -> dict[str, Table]:
    """What the model wrote while it was trained, where it was asked to."""
    rows = list(islice(read_run(run_dir).rows("samples.jsonl"), SHOWN))
    names = ("step", "text", "well_formed", "loop_rate", "truncated")
    return {"samples": Table(names, [[row[name] for name in names] for row in rows])} if rows else {}
