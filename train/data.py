"""From a trajectories file to token ids and the mask of what is supervised.

Ids and masks come from `reer.layout` alone, so training sees exactly what the search scored. A broken row is set
aside with its file, row number and reason; an example that is too long is dropped and counted, never cut.
Knows nothing of trainers and models.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reer.errors import ConfigError, DataError, LayoutError
from reer.layout import Encoded, Layout
from reer.manifest import seed_of
from reer.pairs import Quarantined

TEXTS = ("query", "thinking", "answer")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingExample:
    """One trajectory as token ids, and where its text comes from."""

    id: str
    """Of the pair; several trajectories may share it."""
    encoded: Encoded
    source: str
    licence: str


@dataclass(slots=True)
class Prepared:
    """What a trajectories file gave."""

    examples: list[TrainingExample] = field(default_factory=list)
    too_long: list[str] = field(default_factory=list)
    """Ids of the examples dropped because they exceed the longest sequence."""
    quarantined: list[Quarantined] = field(default_factory=list)


def find(trajectories: str) -> Path:
    """Raises: DataError: there is no such file."""
    path = Path(trajectories)
    if not path.exists():
        raise DataError(f"data.trajectories={path} does not exist: run reer-synthesize first, or name another file")
    return path


def prepare(path: Path, layout: Layout, max_length: int) -> Prepared:
    """Read trajectories.jsonl and encode every usable row.

    Raises:
        DataError: the file cannot be read, or holds no row that can be trained on.
    """
    prepared = Prepared()
    for number, line in _lines(path):
        try:
            example = _encode(_row(line), layout)
        except (DataError, LayoutError) as error:
            text = line.decode("utf-8", errors="replace").strip()
            prepared.quarantined.append(Quarantined(path.name, number, str(error), text))
            continue
        if len(example.encoded.ids) > max_length:
            prepared.too_long.append(example.id)
        else:
            prepared.examples.append(example)
    if not prepared.examples:
        raise DataError(_nothing_left(path, prepared, max_length))
    return prepared


def split(
    examples: Sequence[TrainingExample], held_out: int, seed: int
) -> tuple[list[TrainingExample], list[TrainingExample]]:
    """(training, held out). Whole pairs are held out, until at least `held_out` trajectories are.

    Which ones depends on the seed and their ids, not on their order in the file.

    Raises:
        ConfigError: nothing would be left to train on.
    """
    aside: set[str] = set()
    for example in sorted(examples, key=lambda e: seed_of(seed, "held_out", e.id)):
        if sum(e.id in aside for e in examples) >= held_out:
            break
        aside.add(example.id)
    training = [example for example in examples if example.id not in aside]
    if not training:
        raise ConfigError(f"trainer.held_out={held_out} leaves none of {len(examples)} trajectories to train on")
    return training, [example for example in examples if example.id in aside]


def to_rows(examples: Sequence[TrainingExample], end_of_turn: int) -> list[dict[str, list[int]]]:
    """Rows for trl.SFTTrainer: `input_ids`, and `completion_mask` with 1 on every supervised token.

    Raises:
        DataError: a row does not teach the model to end its turn.
    """
    rows = []
    for example in examples:
        ids, mask = list(example.encoded.ids), example.encoded.completion_mask()
        if ids[-1] != end_of_turn or not mask[-1]:
            raise DataError(f"trajectory {example.id}: the end of its turn is not supervised, no model learns to stop")
        rows.append({"input_ids": ids, "completion_mask": mask})
    return rows


def count(examples: Sequence[TrainingExample]) -> tuple[int, int]:
    """Tokens of one pass over the examples, and how many of them are supervised."""
    return (
        sum(len(example.encoded.ids) for example in examples),
        sum(sum(example.encoded.completion_mask()) for example in examples),
    )


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Non-empty lines and their numbers from 1, with a progress bar where that takes more than two seconds."""
    from tqdm import tqdm

    try:
        with (
            path.open("rb") as file,
            tqdm(
                total=path.stat().st_size, unit="B", unit_scale=True, desc="reading trajectories", delay=2, leave=False
            ) as bar,
        ):
            for number, line in enumerate(file, start=1):
                bar.update(len(line))
                if line.strip():
                    yield number, line
    except OSError as error:
        raise DataError(f"data.trajectories={path} cannot be read: {error.strerror or error}") from error


def _row(line: bytes) -> dict[str, Any]:
    try:
        row = json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise DataError(f"not UTF-8 (byte {error.start + 1})") from error
    except json.JSONDecodeError as error:
        raise DataError(f"broken JSON: {error.msg} (column {error.colno})") from error
    if not isinstance(row, dict):
        raise DataError("not a JSON object")
    for key in TEXTS:
        if key not in row:
            raise DataError(f"'{key}' is missing")
        if not isinstance(row[key], str):
            raise DataError(f"'{key}' is {type(row[key]).__name__}, not text")
        try:
            row[key].encode()
        except UnicodeEncodeError as error:
            raise DataError(f"'{key}' holds half a character (\\u{ord(row[key][error.start]):04x})") from error
    return row


def _encode(row: dict[str, Any], layout: Layout) -> TrainingExample:
    query, thinking, answer = (row[key] for key in TEXTS)
    return TrainingExample(
        id=str(row.get("id") or seed_of(query, answer)),
        encoded=layout.encode(query, thinking, answer),
        source=str(row.get("source") or ""),
        licence=str(row.get("licence") or ""),
    )


def _nothing_left(path: Path, prepared: Prepared, max_length: int) -> str:
    if prepared.too_long:
        return (
            f"data.trajectories={path} has no usable row: {len(prepared.too_long)} exceed {max_length} tokens "
            f"(trainer.args.max_length or model.max_length), {len(prepared.quarantined)} are broken"
        )
    if prepared.quarantined:
        first = prepared.quarantined[0]
        return f"data.trajectories={path} has no usable row; row {first.row}: {first.reason}"
    return f"data.trajectories={path} is empty"
