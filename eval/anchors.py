"""The frozen anchor answers: judged anew in every run, so that a judge that drifts is seen.

Twelve answers of known order (poor, middling, good) to four tasks. They are always judged by the rubric of the
benchmark `reasoning`, with one seed for all runs and without the reply cache. Knows rows and judges' verdicts.
"""

import json
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from statistics import fmean
from typing import Any

from reer.errors import DataError
from reer.manifest import seed_of

from .ask import settled
from .benchmarks.reasoning import RUBRIC
from .items import Item
from .statistics import bootstrap_mean, spearman
from .store import Row

BENCHMARK = "anchors"


def anchor_items() -> tuple[list[Item], dict[str, Row], dict[str, int]]:
    """The items, their answers as rows of answers.jsonl, and the level that each was written for."""
    path = Path(str(resources.files("reer"))) / "data" / "anchors.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
    items = [Item(id=row["id"], query=row["query"], rubric=RUBRIC) for row in rows]
    named = {"model": BENCHMARK, "benchmark": BENCHMARK}
    answers = {row["id"]: named | {"id": row["id"], "prompt": row["query"], "answer": row["answer"]} for row in rows}
    return items, answers, {row["id"]: row["level"] for row in rows}


def drift(rows: Sequence[Row], judge: str, baseline: Path | None, seed: int) -> dict[str, Any] | None:
    """How one judge scored the anchors, and how far that is from the baseline's scores; None if it did not.

    Raises:
        DataError: the baseline cannot be read, or holds no verdict of this judge on these anchors.
    """
    _, answers, levels = anchor_items()
    now = _means(rows, answers, judge)
    if not now:
        return None
    shift = None
    if baseline is not None:
        before = _means(_read(baseline), answers, judge)
        shared = [now[id_] - before[id_] for id_ in now if id_ in before]
        if not shared:
            raise DataError(f"{baseline}: holds no verdict of {judge} on these anchors in this wording")
        estimate = bootstrap_mean(shared, seed_of(seed, "drift", judge))
        shift = {"mean": estimate.mean, "low": estimate.low, "high": estimate.high, "n": estimate.n}
    return {
        "n": len(now),
        "mean": fmean(now.values()),
        "order": spearman(list(now.values()), [levels[id_] for id_ in now]),
        "shift": shift,
    }


def _means(rows: Sequence[Row], answers: Mapping[str, Row], judge: str) -> dict[str, float]:
    """Mean score of each anchor by one judge, of verdicts in today's wording."""
    current = [row for row in rows if row["judge"] == judge and row["rubric"] == RUBRIC.version]
    found: dict[str, list[float]] = {}
    for row in settled(current, answers).values():
        scores = [score for score in row["scores"].values() if score is not None]
        if row["status"] == "ok" and scores:
            found.setdefault(row["id"], []).append(fmean(scores))
    return {id_: fmean(found[id_]) for id_ in answers if id_ in found}


def _read(path: Path) -> list[Row]:
    try:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]
        if not all({"judge", "rubric", "judged", "id", "scores"} <= row.keys() for row in rows):
            raise ValueError("rows of another kind")
    except (OSError, ValueError, AttributeError) as error:
        raise DataError(f"judge.baseline={path} is no anchors.jsonl of an earlier run ({error})") from error
    return rows
