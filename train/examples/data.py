"""From a trajectories file to token ids and the mask of what is supervised.

Ids and masks come from `reer.layout` alone, so training sees exactly what the search scored. A broken row is set
aside with its file, row number and reason; an example that is too long is dropped and counted, never cut, and if too
many are, nothing is trained. Knows nothing of trainers and models.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from reer.config import DataConfig
from reer.errors import ConfigError, DataError, LayoutError
from reer.files.pairs import Notes, Quarantined
from reer.layout import Encoded, Layout
from reer.text import seed_of

from ..mixing.mix import Mixture, Tally
from ..mixing.mix import find as find
from ..mixing.rules import VARIANTS as VARIANTS
from ..mixing.rules import Entry, Origin, Rules

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
    origin: Origin = "trajectories"


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
    tally: Tally = field(default_factory=Tally)
    """What was taken and what was left out."""


def prepare(
    path: Path,
    layout: Layout,
    max_length: int,
    variant: str = "final",
    data: DataConfig | None = None,
    rules: Rules | None = None,
) -> Prepared:
    """Mix trajectories, or any rows that hold thinking, by the rules, and encode every row; `max_length` in tokens.

    Raises:
        ConfigError: an unknown variant or kind of turns.
        DataError: a file cannot be read, holds no row that can be trained on, or none with a column that is named.
    """
    mixture = Mixture(path=path, data=replace(data or DataConfig(), variant=variant), rules=rules or Rules())
    prepared = Prepared(notes=mixture.notes, tally=mixture.tally)
    for entry in mixture.rows():
        if isinstance(entry, Quarantined):
            prepared.quarantined.append(entry)
            continue
        try:
            example = _encode(entry, layout)
        except LayoutError as error:
            row = entry.row
            prepared.quarantined.append(Quarantined(row.file, row.number, str(error), row.text))
            continue
        prepared.lengths.append(len(example.encoded.ids))
        if prepared.lengths[-1] > max_length:
            prepared.too_long.append(example.id)
        else:
            prepared.examples.append(example)
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
    """(training, held out). Whole pairs are held out, until at least `held_out` trajectories are; no general row is.

    Which ones depends on the seed and their ids, not on their order in the file.

    Raises:
        ConfigError: nothing would be left to train on.
    """
    aside: set[str] = set()
    own = [example for example in examples if example.origin == "trajectories"]
    for example in sorted(own, key=lambda e: seed_of(seed, "held_out", e.id)):
        if sum(e.id in aside for e in own) >= held_out:
            break
        aside.add(example.id)
    training = [e for e in examples if e.origin == "general" or e.id not in aside]
    held = [example for example in own if example.id in aside]
    if not training or held and len(held) == len(own):
        raise ConfigError(f"trainer.held_out={held_out} leaves none of {len(own)} trajectories to train on")
    return training, held


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


def _encode(entry: Entry, layout: Layout) -> TrainingExample:
    parts = entry.parts
    return TrainingExample(
        id=entry.id,
        encoded=layout.encode(parts.query, entry.thinking, parts.answer, parts.history),
        source=entry.source,
        licence=entry.licence,
        origin=entry.origin,
    )


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
    if gone := prepared.tally.left_out:
        (_, reason), n = gone.most_common(1)[0]
        return f"data.trajectories={path} has no row for this mix: {gone.total()} left out ({n} of them: {reason})"
    return f"data.trajectories={path} is empty"
