"""Read pairs (query, known good answer): `rows` reads the files, `columns` takes rows apart, this makes examples.

A broken row is set aside with its file, row number and reason; the rest goes on. Only a source without any usable
row is an error. Rows come one by one: of 100,000 pairs none is held here but eight bytes of its id.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from importlib import resources
from pathlib import Path
from typing import Any

from reer.config import DataConfig
from reer.errors import ConfigError, DataError
from reer.files.columns import PARTS, Parts, take_apart
from reer.files.rows import BadRow, read_rows
from reer.text import digest, language_code, language_of
from reer.types import Example

TURNS = ("all", "last")
"""Of `data.turns`: the whole conversation is the prompt, or its last user turn alone."""


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A row that cannot be used."""

    file: str
    row: int
    """Counted from 1: the line of a JSONL file, the item of a list or table."""
    reason: str
    text: str
    """The row as it stands in the file, as far as it can be read."""


@dataclass(slots=True)
class Notes:
    """What reading did to the rows, for the user to see once."""

    taken: Counter[str] = field(default_factory=Counter)
    """Rows by what was taken for what."""
    dropped_turns: int = 0
    """Rows of which `turns=last` left earlier turns out."""
    guessed: Counter[str] = field(default_factory=Counter)
    """Rows by a language that nobody knows; that of their answer was taken."""

    def told(self, name: str) -> list[str]:
        """Lines for the terminal; none where every row has our own columns and nothing was left out."""
        lines = [f"{name}: {told} ({n:,} rows)" for told, n in self.taken.most_common() if told != OWN]
        if self.dropped_turns:
            lines.append(f"{name}: earlier turns of {self.dropped_turns:,} rows are left out (data.turns=last)")
        for language, n in self.guessed.most_common():
            lines.append(f"{name}: language {language!r} of {n:,} rows is not known; that of the answer is taken")
        return lines


OWN = "query -> query, answer -> answer"


@dataclass(slots=True)
class Pairs:
    path: Path
    examples: list[Example] = field(default_factory=list)
    quarantined: list[Quarantined] = field(default_factory=list)
    notes: Notes = field(default_factory=Notes)


def read_pairs(
    path: Path | None, limit: int | None = None, data: DataConfig | None = None, *, default: str = "pairs.jsonl"
) -> Pairs:
    """What `stream_pairs` gives, all at once."""
    pairs = Pairs(path_of(path, default))
    for row in stream_pairs(path, limit, data, default=default, notes=pairs.notes):
        pairs.quarantined.append(row) if isinstance(row, Quarantined) else pairs.examples.append(row)
    return pairs


def path_of(path: Path | None, default: str = "pairs.jsonl") -> Path:
    """The source itself, or the sample shipped with the package where there is none."""
    return path or Path(str(resources.files("reer"))) / "files" / "data" / default


def stream_pairs(
    path: Path | None,
    limit: int | None = None,
    data: DataConfig | None = None,
    *,
    default: str = "pairs.jsonl",
    notes: Notes | None = None,
) -> Iterator[Example | Quarantined]:
    """The first `limit` usable rows of a file, a folder or a pattern, and the unusable ones among them.

    `path` None: a sample shipped with the package. `data` names columns and says which turns are kept; what is done
    to the rows is counted in `notes`.

    Raises:
        ConfigError: `data` names a part that no row has, or other turns than TURNS.
        DataError: there is no such file, it is of an unknown kind, unreadable as a whole, or has no usable row.
    """
    path, data, notes = path_of(path, default), data or DataConfig(), notes if notes is not None else Notes()
    _check(data)
    seen: dict[bytes, int] = {}
    first_bad: Quarantined | None = None
    for row in read_rows(path):
        if limit is not None and len(seen) >= limit:
            break
        try:
            example = to_example(row.value, data.columns, data.turns, notes)
            key = blake2b(example.id.encode(), digest_size=8).digest()
            if first := seen.get(key):
                raise BadRow(f"id {example.id!r} occurs twice (first in row {first})")
        except BadRow as error:
            bad = Quarantined(row.file, row.number, str(error), row.text)
            first_bad = first_bad or bad
            yield bad
            continue
        seen[key] = row.number
        yield example
    if not seen:
        why = f"; row {first_bad.row}: {first_bad.reason}" if first_bad else ": it is empty"
        raise DataError(f"{path}: no usable row{why}")


def _check(data: DataConfig) -> None:
    if data.turns not in TURNS:
        raise ConfigError(f"data.turns={data.turns} is unknown: choose one of {', '.join(TURNS)}")
    if foreign := [part for part in data.columns if part not in PARTS]:
        raise ConfigError(f"data.columns.{foreign[0]}: a row has no such part (known: {', '.join(PARTS)})")


def to_example(
    row: Any, columns: Mapping[str, str] | None = None, turns: str = "all", notes: Notes | None = None
) -> Example:
    """One row as an Example.

    Raises:
        BadRow: it has no text for query or answer, or two.
    """
    parts, notes = take_apart(row, columns), notes if notes is not None else Notes()
    notes.taken[parts.told()] += 1
    if turns == "last" and parts.history:
        notes.dropped_turns += 1
        parts.history = ()
    named = parts.named
    return Example(
        id=identity_of(parts),
        query=parts.query,
        answer=parts.answer,
        history=parts.history,
        language=_language(named.get("language"), parts.answer, notes),
        domain=str(named.get("domain") or ""),
        source=str(named.get("source") or ""),
        licence=str(named.get("licence") or ""),
        extra=parts.extra if parts.thinking is None else parts.extra | {"thinking": parts.thinking},
    )


def identity_of(parts: Parts) -> str:
    """The id of a row: its own, else one made of its content. A number with a fraction is none (pandas makes 101.0 of
    101 in a column that lacks one, and NaN of the lacking one)."""
    named = parts.named.get("id")
    if isinstance(named, str | int) and not isinstance(named, bool) and str(named).strip():
        return str(named)
    turns = [[turn.role, turn.content] for turn in parts.history]
    return digest(parts.query, parts.answer, *([turns] if turns else []))[:16]


def _language(named: Any, answer: str, notes: Notes) -> str:
    if named is None or not str(named).strip():
        return language_of(answer)
    if (code := language_code(str(named))) is None:
        notes.guessed[str(named)] += 1
        return language_of(answer)
    return code
