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
from reer.text import seed_of

from ..benchmarks.items import Item
from ..benchmarks.reasoning import RUBRIC
from ..statistics import bootstrap_mean, spearman
from ..store import Row
from .ask import VERDICT_FIELDS, settled

BENCHMARK = "anchors"


def anchor_items() -> tuple[list[Item], dict[str, Row], dict[str, int]]:
    """The items, their answers as rows of answers.jsonl, and the level that each was written for."""
    path = Path(str(resources.files("reer"))) / "files" / "data" / "anchors.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
    items = [Item(id=row["id"], query=row["query"], rubric=RUBRIC) for row in rows]
    named = {"model": BENCHMARK, "benchmark": BENCHMARK}
    answers = {row["id"]: named | {"id": row["id"], "prompt": row["query"], "answer": row["answer"]} for row in rows}
    return items, answers, {row["id"]: row["level"] for row in rows}


def drift(rows: Sequence[Row], judge: str, baseline: Path | None, seed: int) -> dict[str, Any] | None:
    """How one judge scored the anchors, and how far that is from the baseline's scores; None if it did not.

    Raises:
        DataError: the baseline cannot be read, holds no verdict of this judge on these anchors, or its verdicts were
            given with other settings.
    """
    _, answers, levels = anchor_items()
    verdicts = _usable(rows, answers, judge)
    if not verdicts:
        return None
    now = _means(verdicts, answers)
    return {
        "n": len(now),
        "mean": fmean(now.values()),
        "order": spearman(list(now.values()), [levels[id_] for id_ in now]),
        "shift": _shift(verdicts, answers, judge, baseline, seed) if baseline else None,
    }


def _shift(
    verdicts: Sequence[Row], answers: Mapping[str, Row], judge: str, baseline: Path, seed: int
) -> dict[str, Any]:
    """The estimate of how far the verdicts are from the baseline's; the server may serve another model by now."""
    earlier = _usable(_read(baseline), answers, judge)
    now, before = _means(verdicts, answers), _means(earlier, answers)
    shared = [now[id_] - before[id_] for id_ in now if id_ in before]
    if not shared:
        raise DataError(f"{baseline}: holds no verdict of {judge} on these anchors in this wording")
    if (was := _settings(earlier)) != (asked := _settings(verdicts)):
        raise DataError(
            f"{baseline}: {judge} gave these verdicts with other settings ({was}, now {asked}), and what settings "
            "change is no drift: choose a baseline with the same ones"
        )
    estimate = bootstrap_mean(shared, seed_of(seed, "drift", judge))
    return {"mean": estimate.mean, "low": estimate.low, "high": estimate.high, "n": estimate.n}


def _usable(rows: Sequence[Row], answers: Mapping[str, Row], judge: str) -> list[Row]:
    """The verdicts of one judge that have a score, in today's wording."""
    current = [row for row in rows if row["judge"] == judge and row["rubric"] == RUBRIC.version]
    return [row for row in settled(current, answers).values() if row["status"] == "ok" and _scores(row)]


def _scores(verdict: Row) -> list[float]:
    return [score for score in verdict["scores"].values() if score is not None]


def _means(verdicts: Sequence[Row], answers: Mapping[str, Row]) -> dict[str, float]:
    """Mean score of each anchor."""
    found: dict[str, list[float]] = {}
    for row in verdicts:
        found.setdefault(row["id"], []).append(fmean(_scores(row)))
    return {id_: fmean(found[id_]) for id_ in answers if id_ in found}


def _settings(verdicts: Sequence[Row]) -> str:
    """How the judge was asked, in words; the oldest verdicts do not say."""
    return " or ".join(sorted({str(row.get("settings")) for row in verdicts}))


def _read(path: Path) -> list[Row]:
    try:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]
        if not all(row.keys() >= set(VERDICT_FIELDS) for row in rows):
            raise ValueError("rows of another kind")
    except (OSError, ValueError, AttributeError) as error:
        raise DataError(f"judge.baseline={path} is no anchors.jsonl of an earlier run ({error})") from error
    return rows
