"""What finished stages left in their run folders, read by the JSON contracts alone.

Knows file names and fields; knows nothing of how a page shows them or how a stage made them. A missing file is an
empty result, a broken one is the user's error. NLL is in nats per answer token.
"""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reer.errors import DataError, RunDirError

Row = dict[str, Any]
Key = tuple[str, str, int]
"""Of an answer: benchmark, id, epoch."""


@dataclass(frozen=True)
class Run:
    """One run folder: its small files are read at once, its rows when they are asked for."""

    path: Path
    stage: str
    """synthesize, sft or evaluate."""
    summary: Row
    """summary.json; of an evaluation, results.json."""
    manifest: Row
    config: str
    """config.yaml as it stands."""

    def rows(self, name: str) -> Iterator[Row]:
        """Rows of a JSONL file in the folder; none where there is no such file.

        Raises:
            DataError: a row is broken. An unfinished last line (a run at work) is left out instead.
        """
        path = self.path / name
        if not path.exists():
            return
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                try:
                    row = json.loads(line) if line.strip() else {}
                except ValueError as error:
                    if not line.endswith("\n"):
                        return
                    raise DataError(f"{path}, row {number}: broken JSON ({error})") from error
                if not isinstance(row, dict):
                    raise DataError(f"{path}, row {number}: not a JSON object")
                if row:
                    yield row


@dataclass(frozen=True)
class Curve:
    """NLL of one answer along its search."""

    label: str
    domain: str
    none: float
    first: float
    steps: tuple[float, ...]
    """After each step."""
    final: float

    @property
    def gain(self) -> float:
        """How much thinking lowers the NLL; negative where it raises it."""
        return self.none - self.final

    def change(self, length: int) -> list[float]:
        """Difference to no thinking at: none, first, after each step. A finished search keeps its last value."""
        path = [self.none, self.first, *self.steps]
        return [nll - self.none for nll in path + path[-1:] * (length - len(path))]


@dataclass(frozen=True)
class Evaluation:
    """One evaluated model: its results and, by prompt, its answers, verdicts and reference lift."""

    label: str
    run: Run
    answers: Mapping[Key, Row]
    verdicts: Mapping[tuple[str, str], list[Row]]
    lifts: Mapping[str, Row]

    def verdicts_of(self, key: Key) -> list[Row]:
        """The verdicts that stand for one answer; one that names no epoch belongs to all of them."""
        benchmark, name, epoch = key
        if not self.answers.get(key, {}).get("answer"):
            return []
        return [row for row in self.verdicts.get((benchmark, name), []) if row.get("epoch", epoch) == epoch]

    def score(self, key: Key) -> float | None:
        """Mean of all scores that judges gave to one answer; None where there is none."""
        scores = [
            score
            for row in self.verdicts_of(key)
            if row.get("status") == "ok"
            for score in row.get("scores", {}).values()
            if score is not None
        ]
        return sum(scores) / len(scores) if scores else None


def read_run(path: Path) -> Run:
    """Find out from the files in a folder which stage made it.

    Raises:
        RunDirError: none of the files that a stage leaves is there.
        DataError: one of them is broken.
    """
    if (path / "results.json").exists() or (path / "answers.jsonl").exists():
        stage, summary = "evaluate", _json(path / "results.json")
    elif (path / "trajectories.jsonl").exists():
        stage, summary = "synthesize", _json(path / "summary.json")
    elif (path / "metrics.jsonl").exists() or (path / "summary.json").exists():
        summary = _json(path / "summary.json")
        stage = "synthesize" if isinstance(summary.get("examples"), dict) else "sft"
    else:
        raise RunDirError(f"{path} holds no results: no trajectories, metrics, summary, answers or results file")
    config = path / "config.yaml"
    text = config.read_text(encoding="utf-8") if config.exists() else ""
    return Run(path, stage, summary, _json(path / "manifest.json"), text)


def read_curve(row: Row) -> Curve | None:
    """The NLL curve of a trajectory; None where one of its three NLLs is missing."""
    nll = row.get("nll") or {}
    if any(nll.get(name) is None for name in ("none", "first", "final")):
        return None
    steps = tuple(step["nll"] for step in row.get("steps") or () if step.get("nll") is not None)
    index = row.get("trajectory")
    label = f"{row.get('id')}/{index}" if index else str(row.get("id"))
    return Curve(label, str(row.get("domain") or ""), nll["none"], nll["first"], steps, nll["final"])


def read_evaluation(run: Run) -> Evaluation:
    """Everything an evaluate folder holds.

    Raises:
        DataError: a row is broken.
    """
    answers = {(str(row.get("benchmark") or ""), str(row.get("id")), row.get("epoch") or 0): row
               for row in run.rows("answers.jsonl")}  # fmt: skip
    attempts: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in run.rows("verdicts.jsonl"):
        attempts[str(row.get("benchmark") or ""), str(row.get("id"))].append(row)
    verdicts = {key: _settled(rows) for key, rows in attempts.items()}
    lifts = {str(row.get("id")): row for row in run.rows("lift.jsonl")}
    named = run.summary.get("model") or next((row.get("model") for row in answers.values()), None)
    return Evaluation(str(named or run.path.name), run, answers, verdicts, lifts)


def _settled(attempts: list[Row]) -> list[Row]:
    """What stands of all judge attempts at one prompt: the first that went well, else the last failure.

    Attempts at another answer, or by another wording of the rubric, than the latest attempt's are void.
    """
    latest = [attempts[-1].get(name) for name in ("judged", "rubric")]
    found: dict[tuple[Any, ...], Row] = {}
    for row in attempts:
        key = tuple(row.get(name) for name in ("judge", "repeat", "criterion", "epoch"))
        if [row.get(name) for name in ("judged", "rubric")] == latest and found.get(key, {}).get("status") != "ok":
            found[key] = row
    return list(found.values())


def _json(path: Path) -> Row:
    if not path.exists():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read ({error})") from error
    if not isinstance(value, dict):
        raise DataError(f"{path}: not a JSON object")
    return value
