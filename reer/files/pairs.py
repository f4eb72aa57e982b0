"""Read pairs (query, known good answer): `rows` reads the files, `columns` takes rows apart, this makes examples.

A broken row is set aside with its file, row number and reason; the rest goes on. Only a source without any usable
row is an error. Rows come one by one: of each no more is held than a hash of its id and where it stood.
"""

from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from reer.config import DataConfig
from reer.errors import ConfigError, DataError
from reer.files.columns import Named, Parts, keyed, take_apart
from reer.files.rows import BadRow, Row, read_rows
from reer.text import digest, digest_of_texts, language_code, language_of
from reer.types import Example

ORIGIN = ("domain", "source", "licence")
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

    group: str = "data"
    """The key under which the user says what columns and turns are."""
    taken: Counter[tuple[tuple[str, str], ...]] = field(default_factory=Counter)
    """Rows by what was taken for what: (part, columns) of each part."""
    riding: dict[str, None] = field(default_factory=dict)
    """Columns that no part was made of."""
    dropped_turns: int = 0
    """Rows of which `turns=last` left earlier turns out."""
    thought_before: int = 0
    """Rows whose earlier replies lost the thinking that stood before them."""
    thoughtless: int = 0
    """Rows that are trained on without thinking, for they have none."""
    guessed: Counter[str] = field(default_factory=Counter)
    """Rows by a language that nobody knows; that of their answer was taken."""
    cleaned: Counter[str] = field(default_factory=Counter)
    """Of works: what was taken off them, and how often."""

    def take(self, parts: Parts, turns: str, *, rides: bool = True) -> None:
        """Note one row, and leave out of it the turns that are not wanted."""
        self.taken[tuple(parts.used.items())] += 1
        if rides and parts.extra:
            self.riding |= dict.fromkeys(parts.extra)
        if parts.history and turns == "last":
            self.dropped_turns += 1
            parts.history = ()
        elif parts.thought_before:
            self.thought_before += 1

    def table(self) -> list[dict[str, object]]:
        """What was taken for what, for a file."""
        return [{"rows": n, "parts": dict(used)} for used, n in self.taken.most_common()]

    def told(self, name: str, label: str = "pairs") -> list[str]:
        """Lines for the terminal; none where every row has our own columns and nothing was left out."""
        lines = [
            f"{', '.join(f'{columns} -> {part}' for part, columns in used)} ({rows_in_words(n)})"
            for used, n in self.taken.most_common()
            if any(part != columns for part, columns in used)
        ]
        if self.riding:
            names = [*self.riding]
            lines.append(f"riding along: {', '.join(names[:SHOWN])}{' ...' if len(names) > SHOWN else ''}")
        if label == "pairs" and any(part == "thinking" for used in self.taken for part, _ in used):
            lines.append("thinking that rows bring is kept in their `extra`; the search looks for its own")
        if self.dropped_turns:
            lines.append(
                f"earlier turns are left out of {rows_in_words(self.dropped_turns)} ({self.group}.turns=last)"
            )
        if self.thought_before:
            lines.append(f"the thinking before earlier replies is left out of {rows_in_words(self.thought_before)}")
        if self.thoughtless:
            lines.append(f"no thinking in {rows_in_words(self.thoughtless)}: trained on the answer alone")
        for language, n in self.guessed.most_common(SHOWN):
            lines.append(f"language {language!r} is not known ({rows_in_words(n)}): that of the answer is taken")
        if taken := [f"{name} {n:,}" for name, n in self.cleaned.most_common() if n]:
            lines.append(f"taken off: {', '.join(taken)}")
        return [f"{label:<14}{name}: {line}" for line in lines]


SHOWN = 20
"""Names that are told at most."""


def rows_in_words(count: int) -> str:
    return f"{count:,} row{'s' * (count != 1)}"


_ALL_BITS = (1 << 64) - 1


class _Ids:
    """Which ids there were, and where: 16 bytes each in two tables of numbers (a dict takes ten times that)."""

    def __init__(self) -> None:
        self.files: list[str] = []
        self.count = 0
        self._tables(1 << 10)

    def _tables(self, size: int) -> None:
        self.size = size
        self.keys, self.places = array("Q", bytes(8 * size)), array("Q", bytes(8 * size))

    def add(self, identity: str, file: str, row: int) -> tuple[str, int] | None:
        """File and row in which the id stood before; None, and it is kept, if in none."""
        key = hash(identity) & _ALL_BITS or 1  # Python's own of texts has 64 bits
        slot = self._slot(key)
        if self.keys[slot]:
            place = self.places[slot]
            return self.files[place >> 40], place & ((1 << 40) - 1)
        if not self.files or self.files[-1] != file:
            self.files.append(file)
        self.keys[slot], self.places[slot] = key, len(self.files) - 1 << 40 | row
        self.count += 1
        if self.count * 3 > self.size * 2:
            self._grow()
        return None

    def _slot(self, key: int) -> int:
        """Where a key stands, or would."""
        slot, last = key & (self.size - 1), self.size - 1
        while self.keys[slot] not in (0, key):
            slot = (slot + 1) & last
        return slot

    def _grow(self) -> None:
        keys, places = self.keys, self.places
        self._tables(2 * self.size)
        for key, place in zip(keys, places, strict=True):
            if key:
                slot = self._slot(key)
                self.keys[slot], self.places[slot] = key, place


@dataclass(slots=True)
class Pairs:
    path: Path
    examples: list[Example] = field(default_factory=list)
    quarantined: list[Quarantined] = field(default_factory=list)
    notes: Notes = field(default_factory=Notes)


def read_pairs(
    path: Path | None,
    limit: int | None = None,
    data: DataConfig | None = None,
    *,
    default: str = "pairs.jsonl",
    group: str = "data",
) -> Pairs:
    """What `stream_pairs` gives, all at once; `group` is the key under which the user says what columns are."""
    pairs = Pairs(path_of(path, default), notes=Notes(group=group))
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
        ConfigError: `data` names other turns than TURNS.
        DataError: there is no such file, it is of an unknown kind, unreadable as a whole, has no usable row, or none
            with a column that `data` names.
    """
    path = path_of(path, default)
    yield from pairs_of(read_rows(path), path, limit, data or DataConfig(), notes if notes is not None else Notes())


def pairs_of(
    rows: Iterable[Row], source: str | Path, limit: int | None, data: DataConfig, notes: Notes
) -> Iterator[Example | Quarantined]:
    """The same of rows that somebody has read; `source` is what sentences call the whole of them, and `notes` says
    which key names their columns.

    Raises: as `stream_pairs`.
    """
    check_turns(data.turns, notes.group)
    named, ids = Named(data.columns), _Ids()
    first_bad: Quarantined | None = None
    for row in rows:
        if limit is not None and ids.count >= limit:
            break
        if named.unseen:
            named.look(row.value)
        try:
            example = to_example(row.value, named.columns, data.turns, notes)
            if before := ids.add(example.id, row.file, row.number):
                where = f"row {before[1]}" + (f" of {before[0]}" if before[0] != row.file else "")
                raise BadRow(f"id {example.id!r} occurs twice (first in {where})")
        except BadRow as error:
            bad = Quarantined(row.file, row.number, keyed(str(error), notes.group), row.text)
            first_bad = first_bad or bad
            yield bad
            continue
        yield example
    named.refuse_unseen(source, notes.group)
    if not ids.count:
        why = f"; row {first_bad.row}: {first_bad.reason}" if first_bad else ": it is empty"
        raise DataError(f"{source}: no usable row{why}")


def look_ahead(path: Path, data: DataConfig) -> None:
    """Read until there is a usable row and every column that `data` names has been seen: before a folder is made.

    Raises: as `stream_pairs`.
    """
    next(row for row in stream_pairs(path, data.limit, data) if isinstance(row, Example))
    named = Named(data.columns)
    for row in read_rows(path) if named.unseen else ():
        named.look(row.value)
        if not named.unseen:
            return
    named.refuse_unseen(path)


def check_turns(turns: str, group: str = "data") -> None:
    """Raises: ConfigError: it is none of TURNS."""
    if turns not in TURNS:
        raise ConfigError(f"{group}.turns={turns} is unknown: choose one of {', '.join(TURNS)}")


def to_example(
    row: Any, columns: Mapping[str, str] | None = None, turns: str = "all", notes: Notes | None = None
) -> Example:
    """One row as an Example.

    Raises:
        BadRow: it has no text for query or answer, or two.
    """
    parts, notes = take_apart(row, columns), notes if notes is not None else Notes()
    notes.take(parts, turns)
    there = parts.there
    about = {} if there.keys().isdisjoint(ORIGIN) else {name: str(there[name]) for name in ORIGIN if name in there}
    return Example(
        id=identity_of(parts),
        query=parts.query,
        answer=parts.answer,
        history=parts.history,
        language=_language(there.get("language"), parts.answer, notes),
        extra=parts.extra if parts.thinking is None else parts.extra | {"thinking": parts.thinking},
        **about,
    )


def identity_of(parts: Parts) -> str:
    """The id of a row: its own, else one made of its content. A number with a fraction is none (pandas makes 101.0 of
    101 in a column that lacks one, and NaN of the lacking one)."""
    own = parts.there.get("id")
    if isinstance(own, str | int) and not isinstance(own, bool):
        return str(own)
    if not parts.history:
        return digest_of_texts(parts.query, parts.answer)[:16]
    return digest(parts.query, parts.answer, [[turn.role, turn.content] for turn in parts.history])[:16]


def _language(named: Any, answer: str, notes: Notes) -> str:
    if named is None:
        return language_of(answer)
    if (code := language_code(str(named))) is None:
        notes.guessed[str(named)] += 1
        return language_of(answer)
    return code
