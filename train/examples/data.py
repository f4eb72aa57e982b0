"""From a trajectories file to token ids and the mask of what is supervised.

Ids and masks come from `reer.layout` alone, so training sees exactly what the search scored. A broken row is set
aside with its file, row number and reason; an example that is too long is dropped and counted, never cut, and if too
many are, nothing is trained. Knows nothing of trainers and models.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reer.config import DataConfig
from reer.errors import ConfigError, DataError, LayoutError
from reer.files.columns import Named, Parts, take_apart
from reer.files.pairs import Notes, Quarantined, check_turns, identity_of
from reer.files.rows import BadRow, Row, files_of, read_rows
from reer.layout import Encoded, Layout
from reer.text import seed_of

VARIANTS = ("final", "first", "answer_only")
"""Of `data.variant`: trained on the thinking that the search ended with, that it began with, or on none."""
Collator = Callable[[list[dict[str, Any]]], dict[str, Any]]
"""Rows of a dataset in, a batch of tensors out, `labels` among them (-100: not supervised)."""


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
    lengths: list[int] = field(default_factory=list)
    """Tokens of every example that could be encoded, the dropped ones among them."""
    notes: Notes = field(default_factory=Notes)


def find(trajectories: str) -> Path:
    """Raises: DataError: there is no such file."""
    try:
        files_of(trajectories)
    except DataError as error:
        raise DataError(f"data.trajectories={error}: run reer-synthesize first, or name another file") from error
    return Path(trajectories)


def prepare(
    path: Path, layout: Layout, max_length: int, variant: str = "final", data: DataConfig | None = None
) -> Prepared:
    """Read trajectories, or any rows that hold thinking, and encode every usable one; `max_length` in tokens.

    Raises:
        ConfigError: an unknown variant or kind of turns.
        DataError: the file cannot be read, holds no row that can be trained on, or none with a column that `data`
            names.
    """
    if variant not in VARIANTS:
        raise ConfigError(f"data.variant={variant} is unknown: choose one of {', '.join(VARIANTS)}")
    prepared, data = Prepared(), data or DataConfig()
    check_turns(data.turns)
    named = Named(data.columns)
    for row in _rows(path):
        named.look(row.value)
        try:
            parts = take_apart(row.value, named.columns)
            prepared.notes.take(parts, data.turns, rides=False)
            example = _encode(parts, row.value, layout, variant)
        except (BadRow, LayoutError) as error:
            prepared.quarantined.append(Quarantined(row.file, row.number, str(error), row.text))
            continue
        prepared.notes.thoughtless += variant == "final" and parts.thinking is None
        prepared.lengths.append(len(example.encoded.ids))
        if prepared.lengths[-1] > max_length:
            prepared.too_long.append(example.id)
        else:
            prepared.examples.append(example)
    named.refuse_unseen(path)
    if not prepared.examples:
        raise DataError(_nothing_left(path, prepared, max_length))
    return prepared


def refuse_dropped(prepared: Prepared, max_length: int, share: float) -> None:
    """Raises: DataError: more than this share of the encodable examples is too long to be trained on."""
    dropped, total = len(prepared.too_long), len(prepared.lengths)
    if dropped > share * total:
        needed = sorted(prepared.lengths)[total - math.floor(share * total) - 1]
        raise DataError(
            f"{dropped} of {total} trajectories ({dropped / total:.1%}) exceed {max_length} tokens, more than "
            f"trainer.max_dropped={share} lets go: give them room (++trainer.args.max_length={needed}, "
            f"{max(prepared.lengths)} for all) or raise trainer.max_dropped"
        )


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


def refuse_unsupervised_end(rows: Sequence[dict[str, Any]], collator: Collator, end_of_turn: int) -> None:
    """Look at a batch as the trainer makes it of its own rows, after trl's masking, packing and padding.

    Raises:
        ConfigError: fewer ends of turn are supervised in it than it has examples (a collator that takes the end of
            turn for padding does that).
    """
    examples = sum(len(row.get("seq_lengths", [0])) for row in rows)
    supervised = int((collator(list(rows))["labels"] == end_of_turn).sum())
    if supervised < examples:
        raise ConfigError(
            f"the trainer supervises the end of the turn (token {end_of_turn}) in {supervised} of {examples} examples "
            f"and no model would learn to stop: give the model's tokenizer a padding token that is another one"
        )


def count(examples: Sequence[TrainingExample]) -> tuple[int, int]:
    """Tokens of one pass over the examples, and how many of them are supervised."""
    return (
        sum(len(example.encoded.ids) for example in examples),
        sum(sum(example.encoded.completion_mask()) for example in examples),
    )


def _rows(path: Path) -> Iterator[Row]:
    """Rows, with a progress bar where that takes more than two seconds; the steps of a search are most of a table."""
    from tqdm import tqdm

    try:
        yield from tqdm(read_rows(path, without=("steps",)), desc="reading trajectories", delay=2, leave=False)
    except DataError as error:
        raise DataError(f"data.trajectories={error}") from error


def _encode(parts: Parts, row: Mapping[str, Any], layout: Layout, variant: str) -> TrainingExample:
    thinking = None
    if variant != "answer_only":
        thinking = _first(row) if variant == "first" else parts.thinking
        if thinking is None and parts.used.get("answer") == "answer":  # a trajectory, or a pair taken for one
            raise BadRow("'thinking' is missing")
    return TrainingExample(
        id=identity_of(parts),
        encoded=layout.encode(parts.query, thinking, parts.answer, parts.history),
        source=str(parts.there.get("source", "")),
        licence=str(parts.there.get("licence", "")),
    )


def _first(row: Mapping[str, Any]) -> str:
    """The thinking that a search began with."""
    first = row.get("first")
    if not isinstance(first, Mapping) or not isinstance(first.get("thinking"), str):
        raise BadRow("'first.thinking' is missing")
    return str(first["thinking"])


def _nothing_left(path: Path, prepared: Prepared, max_length: int) -> str:
    if prepared.too_long:
        return (
            f"data.trajectories={path} has no usable row: {len(prepared.too_long)} exceed {max_length} tokens "
            f"(trainer.args.max_length or model.max_length; the shortest has {min(prepared.lengths)}), "
            f"{len(prepared.quarantined)} are broken"
        )
    if prepared.quarantined:
        first = prepared.quarantined[0]
        return f"data.trajectories={path} has no usable row; row {first.row}: {first.reason}"
    return f"data.trajectories={path} is empty"
