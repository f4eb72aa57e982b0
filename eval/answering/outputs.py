"""What a model's answers say of themselves, without any judge: form, loops, length, variety, copies of training data.

A pure function of stored answers and of the training texts. Knows nothing of benchmarks or judges.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from reer.errors import DataError
from reer.files.outputs import distinct, length_complies, overlaps
from reer.text import seed_of

from ..statistics import bootstrap_mean
from ..store import Row


def measure_outputs(
    answers: Sequence[Row], required: Mapping[str, int], training: Iterable[str] | None, seed: int
) -> dict[str, Any]:
    """Estimates over answers, by name; `required` is the words asked for, by id of the prompt.

    `overlap` is the mean share of 13-grams that stand in the training texts, `copied_run` the longest copied stretch
    in words; both are None without training texts, as is `length_compliance` without required lengths. An empty
    answer has no variety and copies nothing: it counts in the form measures alone.
    """
    written = [row for row in answers if row["answer"]]
    asked = [row for row in answers if required.get(row["id"])]
    facts: dict[str, list[float]] = {
        "well_formed": [float(row["well_formed"]) for row in answers],
        "loop_rate": [float(row["loop"]) for row in answers],
        "truncated": [float(row["finish_reason"] == "length") for row in answers],
        "words": [float(row["words"]) for row in answers],
        "distinct_1": _known(distinct(row["answer"], 1) for row in written),
        "distinct_2": _known(distinct(row["answer"], 2) for row in written),
        "length_compliance": [float(length_complies(row["words"], required[row["id"]])) for row in asked],
    }
    outputs: dict[str, Any] = {name: asdict(bootstrap_mean(values, seed_of(seed, name)))
                               for name, values in facts.items()}  # fmt: skip
    if not asked:
        outputs["length_compliance"] = None
    return outputs | _copies([row["answer"] for row in written], training, seed)


def _copies(texts: Sequence[str], training: Iterable[str] | None, seed: int) -> dict[str, Any]:
    if training is None:
        return {"overlap": None, "copied_run": None}
    found = overlaps(texts, training)
    share = bootstrap_mean(_known(overlap.share for overlap in found), seed_of(seed, "overlap"))
    return {"overlap": asdict(share), "copied_run": max((overlap.longest_run for overlap in found), default=0)}


def _known(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def training_texts(path: Path) -> Iterator[str]:
    """Thinking and answer of every trajectory in a trajectories.jsonl or .parquet, one text each.

    Raises:
        DataError: the file cannot be read, or a row is broken.
    """
    try:
        rows: Iterator[Any] = _parquet_rows(path) if path.suffix == ".parquet" else _lines(path)
        for number, row in enumerate(rows, start=1):
            yield _training_text(row, f"evaluate.training_data={path}, row {number}")
    except (OSError, ValueError) as error:  # pyarrow's errors are among them
        raise DataError(f"evaluate.training_data={path} cannot be read ({error})") from error


def _training_text(row: Any, where: str) -> str:
    try:
        found = json.loads(row) if isinstance(row, str) else row
        return f"{found['thinking']}\n\n{found['answer']}"
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{where}: no trajectory ({error})") from error


def _lines(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8") as file:
        yield from file


def _parquet_rows(path: Path) -> Iterator[Row]:
    import pyarrow.parquet as pq

    for batch in pq.ParquetFile(path).iter_batches(batch_size=256, columns=["thinking", "answer"]):
        yield from batch.to_pylist()
