"""What finished stages left in their run folders, read by the JSON contracts alone.

Knows file names and fields; knows nothing of how a page shows them or how a stage made them. A missing file is an
empty result, a broken one is the user's error. NLL is in nats per answer token.
"""

import json
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from reer.errors import DataError, RunDirError
from reer.text import digest

Row = dict[str, Any]
Key = tuple[str, str, int]
"""Of an answer: benchmark, id, epoch."""


@dataclass(frozen=True)
class Run:
    """One run folder: its small files are read at once, its rows when they are asked for."""

    path: Path
    stage: str
    """collect, synthesize, sft, evaluate or validate."""
    summary: Row
    """summary.json; of an evaluation results.json, of a validation validation.json."""
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
    """One model on one benchmark: its results and, by prompt, what was asked, answered, judged and measured."""

    label: str
    benchmark: str
    run: Run
    items: Mapping[str, Row]
    answers: Mapping[Key, Row]
    verdicts: Mapping[str, list[Row]]
    """Those that the scores are made of."""
    scores: Mapping[str, Row]
    lifts: Mapping[str, Row]

    @property
    def result(self) -> Row:
        """What results.json says of the benchmark."""
        return _result(self.run, self.benchmark)

    @property
    def scores_hash(self) -> str:
        """Ties a comparison to the very scores it was made of."""
        return digest([[name, row.get("overall"), row.get("scores")] for name, row in self.scores.items()])[:16]

    def verdicts_of(self, key: Key) -> list[Row]:
        """The verdicts that one answer's score is made of."""
        answer = self.answers.get(key, {})
        if not answer.get("answer"):
            return []
        judged = judged_hash(answer)
        return [row for row in self.verdicts.get(key[1], []) if row.get("judged") == judged]

    def score(self, key: Key) -> float | None:
        """Score of one answer on the benchmark's scale; None where there is none."""
        overall = self.scores.get(key[1], {}).get("overall")
        return float(overall) if isinstance(overall, int | float) else None


def judged_hash(answer: Row) -> str:
    """What verdicts.jsonl calls the texts that a verdict was given on."""
    return digest(answer.get("prompt"), answer.get("answer"))[:16]


def served_models(verdicts: Iterable[Row]) -> dict[str, list[str]]:
    """What servers call the models behind each judge, as far as they say so."""
    found: dict[str, set[str]] = {}
    for row in verdicts:
        if row.get("served_model"):
            found.setdefault(row["judge"], set()).add(row["served_model"])
    return {judge: sorted(names) for judge, names in sorted(found.items())}


def read_runs(paths: Sequence[Path]) -> list[Run]:
    """The runs in some folders; a folder above run folders stands for all of them.

    Raises:
        RunDirError: a folder holds no results.
        DataError: a result file is broken.
    """
    return [read_run(folder) for path in paths for folder in _run_dirs(path, depth=3) or [path]]


def _run_dirs(path: Path, depth: int) -> list[Path]:
    if stage_of(path):
        return [path]
    return [found for inner in sorted(path.glob("*/")) for found in _run_dirs(inner, depth - 1)] if depth else []


def stage_of(path: Path) -> str | None:
    """Which stage left a folder's files; None where no stage did, or one that only writes files for others (reer-mix,
    reer-export)."""
    if (path / "results.json").exists() or (path / "answers.jsonl").exists():
        return "evaluate"
    if (path / "validation.json").exists():
        return "validate"
    if (path / "rejected.jsonl").exists() or _is_collecting(path):
        return "collect"
    if (path / "trajectories.jsonl").exists() or (path / "ledger.db").exists():
        return "synthesize"
    examples = _json(path / "summary.json").get("examples")
    if isinstance(examples, dict):
        return "synthesize"
    return "sft" if isinstance(examples, int) or (path / "metrics.jsonl").exists() else None


def _is_collecting(path: Path) -> bool:
    """Whether a folder is of a collection that is at work, or was interrupted."""
    config = path / "config.yaml"
    return config.exists() and "stage: collect" in config.read_text(encoding="utf-8").splitlines()


SUMMARIES = {"evaluate": "results.json", "validate": "validation.json"}
"""File with the key numbers of a stage, where it is not summary.json."""


def read_run(path: Path) -> Run:
    """Find out from the files in a folder which stage made it.

    Raises:
        RunDirError: none of the files that a stage leaves is there.
        DataError: one of them is broken.
    """
    stage = stage_of(path)
    if stage is None:
        raise RunDirError(f"{path} holds no results: no trajectories, metrics, summary, answers or results file")
    summary = _json(path / SUMMARIES.get(stage, "summary.json"))
    config = path / "config.yaml"
    text = config.read_text(encoding="utf-8") if config.exists() else ""
    return Run(path, stage, summary, _json(path / "manifest.json"), text)


def read_comparison(folders: Sequence[Path]) -> Row:
    """The first comparison.json in some folders; empty where there is none.

    Raises:
        DataError: it is broken.
    """
    return next((found for folder in folders if (found := _json(folder / "comparison.json"))), {})


def read_curve(row: Row) -> Curve | None:
    """The NLL curve of a trajectory; None where one of its three NLLs is missing."""
    nll = row.get("nll") or {}
    if any(nll.get(name) is None for name in ("none", "first", "final")):
        return None
    steps = tuple(step["nll"] for step in row.get("steps") or () if step.get("nll") is not None)
    index = row.get("trajectory")
    label = f"{row.get('id')}/{index}" if index else str(row.get("id"))
    return Curve(label, str(row.get("domain") or ""), nll["none"], nll["first"], steps, nll["final"])


def read_evaluations(runs: Sequence[Run]) -> list[Evaluation]:
    """Everything that evaluate folders hold, each labelled as `distinct_labels` says.

    Raises:
        DataError: a row is broken.
    """
    read = [_read_evaluation(run) for run in runs]
    labels = distinct_labels([(e.label, e.benchmark, e.run.path) for e in read])
    return [replace(evaluation, label=label) for evaluation, label in zip(read, labels, strict=True)]


def distinct_labels(named: Sequence[tuple[str, str, Path]]) -> list[str]:
    """Labels of evaluations, given as (label, benchmark, folder): models of one name on one benchmark are told apart.

    By the first part of their folders' paths in which they are not all the same.
    """
    counts = Counter((label, benchmark) for label, benchmark, _ in named)
    twice = {label for (label, _), count in counts.items() if count > 1}
    parts = [path.absolute().parts for label, _, path in named if label in twice]
    shared = len(os.path.commonprefix([list(found) for found in parts]))
    return [
        f"{label} ({'/'.join(path.absolute().parts[shared : shared + 1]) or path.name})" if label in twice else label
        for label, _, path in named
    ]


def _read_evaluation(run: Run) -> Evaluation:
    answers = {(str(row.get("benchmark") or ""), str(row.get("id")), row.get("epoch") or 0): row
               for row in run.rows("answers.jsonl")}  # fmt: skip
    items, scores, lifts = (
        {str(row.get("id")): row for row in run.rows(name)} for name in ("items.jsonl", "scores.jsonl", "lift.jsonl")
    )
    named = run.summary.get("model") or next((row.get("model") for row in answers.values()), None)
    benchmark = next(iter(run.summary.get("benchmarks") or ()), None) or next((key[0] for key in answers), "")
    verdicts = _standing(run.rows("verdicts.jsonl"), answers, _result(run, benchmark))
    return Evaluation(str(named or run.path.name), benchmark, run, items, answers, verdicts, scores, lifts)


def _result(run: Run, benchmark: str) -> Row:
    found = (run.summary.get("benchmarks") or {}).get(benchmark)
    return found if isinstance(found, dict) else {}


def _standing(attempts: Iterable[Row], answers: Mapping[Key, Row], result: Row) -> dict[str, list[Row]]:
    """The verdicts that a result is made of, by prompt: of several attempts the first that went well, else the last.

    A folder may hold more: on answers that are replaced by now, by judges that were asked before, of more repeats.
    """
    current = {(key[1], judged_hash(answer)) for key, answer in answers.items()}
    found: dict[str, dict[tuple[Any, ...], Row]] = defaultdict(dict)
    for row in attempts:
        name = str(row.get("id"))
        if (name, row.get("judged")) not in current or not _asked(row, result):
            continue
        cell = tuple(row.get(part) for part in ("judge", "repeat", "criterion", "judged"))
        if found[name].get(cell, {}).get("status") != "ok":
            found[name][cell] = row
    return {name: list(cells.values()) for name, cells in found.items()}


def _asked(verdict: Row, result: Row) -> bool:
    """Whether a result counts this judge and this repeat; as long as there is no result, all count."""
    if not result:
        return True
    judge = (result.get("by_judge") or {}).get(verdict.get("judge")) or {}
    repeats: int = judge.get("repeats", 0)
    return (verdict.get("repeat") or 0) < repeats


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
