"""The mix: rows of trajectories and of general data, each refused, left out or taken, and counted. Start reading here.

trajectories ─▶ thinking ─▶ licence, language, domain, length ─▶ halves, cap ─┐
general data ─▶ schema ───▶ licence, language, length ────────▶ ratio ────────┴▶ entries
Where taking a row depends on the others, the files are read twice; no more than a few bytes of a row are held.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reer.config import DataConfig
from reer.errors import DataError
from reer.files.columns import Named, take_apart
from reer.files.pairs import Notes, Quarantined, check_turns
from reer.files.rows import BadRow, Row, files_of, read_rows
from reer.text import seed_of

from .draw import Drawn, Mark, draw
from .general import UNKNOWN, name_of, rows_of
from .rules import WITHOUT, Entry, Origin, Rules, pick_thinking, reason_to_leave, thinking_of

UNNAMED = "not named"
NOT_DRAWN = "not drawn"


@dataclass(slots=True)
class Tally:
    """What became of the rows."""

    taken: Counter[tuple[Origin, str, str]] = field(default_factory=Counter)
    """Rows by where they came from, source and licence."""
    left_out: Counter[tuple[Origin, str]] = field(default_factory=Counter)
    """Rows that were not wanted or not drawn, by reason."""
    listed: list[dict[str, str]] = field(default_factory=list)
    """Those of the trajectories one by one, and what was refused of the general ones for its licence."""
    wanted: int | None = None
    """General rows that the ratio asks for."""
    domains: Counter[str] = field(default_factory=Counter)
    """Of the trajectories that were read."""
    without: bool = False
    """Whether some domains are not wanted."""

    def take(self, entry: Entry) -> None:
        self.taken[entry.origin, entry.source, entry.licence or UNNAMED] += 1

    def leave(self, entry: Entry, reason: str, *, listed: bool = True) -> None:
        self.left_out[entry.origin, reason] += 1
        if listed:
            self.listed.append({"status": "left_out", "id": entry.id, "origin": entry.origin, "reason": reason})

    def rows(self, origin: Origin) -> int:
        """Rows taken of one origin."""
        return sum(n for (where, _, _), n in self.taken.items() if where == origin)

    def summary(self) -> dict[str, Any]:
        """For files: counts by origin, source and licence, and by reason."""
        return {
            "rows": {"trajectories": self.rows("trajectories"), "general": self.rows("general")},
            "general_wanted": self.wanted,
            "sources": [
                {"origin": origin, "source": source, "licence": licence, "rows": n}
                for (origin, source, licence), n in self.taken.most_common()
            ],
            "left_out": [
                {"origin": origin, "reason": reason, "rows": n} for (origin, reason), n in self.left_out.most_common()
            ],
        }

    def told(self) -> list[str]:
        """Lines for the terminal; none where every row is a trajectory, and taken."""
        lines = []
        if self.rows("general") or self.left_out:
            lines.append(f"{self.rows('trajectories'):,} trajectories, {self.rows('general'):,} general rows")
        lines += [f"{n:,} of the {origin} left out: {reason}" for (origin, reason), n in self.left_out.most_common()]
        if self.wanted is not None and self.rows("general") < self.wanted:
            lines.append(f"the ratio asks for {self.wanted:,} general rows; there were {self.rows('general'):,}")
        if self.without and (nameless := self.domains[""]):
            lines.append(f"{nameless:,} trajectories name no domain and are not left out by {WITHOUT}")
        if lines and (unnamed := sum(n for (_, _, licence), n in self.taken.items() if licence == UNNAMED)):
            lines.append(f"{unnamed:,} rows name no licence: taken as your own")
        return [f"{'mix':<14}{line}" for line in lines]


@dataclass(slots=True, kw_only=True)
class Mixture:
    """What is mixed, how, and what came of it; `rows` may be walked through once."""

    path: Path
    """Trajectories."""
    data: DataConfig
    rules: Rules = field(default_factory=Rules)
    notes: Notes = field(default_factory=Notes)
    tally: Tally = field(default_factory=Tally)

    def rows(self) -> Iterator[Entry | Quarantined]:
        """Every row of the mix, and every broken one.

        Raises:
            ConfigError: an unknown thinking or kind of turns.
            DataError: a file cannot be read, holds no row that can be used, or none with a column that is named.
        """
        thinking_of(self.rules.mix, self.data)
        check_turns(self.data.turns)
        drawn = self._draw() if self.rules.draws else None
        self.tally.wanted = drawn.wanted if drawn else None
        self.tally.without = bool(self.rules.mix.without_domains)
        yield from self._taken(self._trajectories(self.notes), drawn)
        self._refuse_idle()
        if self.rules.has_general:
            yield from self._taken(self._general(self.notes), drawn)
            self._refuse_none()

    def _refuse_idle(self) -> None:
        """An ablation that leaves nothing out would be taken for one that did."""
        gone = any(reason.endswith(WITHOUT) for _, reason in self.tally.left_out)
        if self.rules.mix.without_domains and self.tally.domains and not gone:
            there = ", ".join(sorted(filter(None, self.tally.domains))[:20]) or "none at all"
            raise DataError(f"{WITHOUT}: no row of {self.path} is of these domains (there are: {there})")

    def _refuse_none(self) -> None:
        """Rows that were asked for and of which none may be used: the mix would be taken for one with them."""
        gone = {reason: n for (origin, reason), n in self.tally.left_out.items() if origin == "general"}
        if self.tally.wanted == 0 or self.tally.rows("general") or NOT_DRAWN in gone:
            return
        why = "; ".join(f"{n:,}: {reason}" for reason, n in gone.items()) or "there are none, or none that can be read"
        raise DataError(f"of the general data (mix.general) no row can be taken ({why})")

    def _draw(self) -> Drawn:
        """The first pass."""
        own, general = list(self._marks(self._trajectories(Notes()))), []
        if self.rules.has_general:
            general = list(self._marks(self._general(Notes())))
        return draw(own, general, self.rules)

    def _marks(self, rows: "Iterator[Entry | Quarantined]") -> Iterator[Mark]:
        for position, entry in enumerate(rows):
            if isinstance(entry, Entry) and reason_to_leave(entry, self.rules) is None:
                number = entry.parts.row.get("trajectory", 0)
                rank = seed_of(self.rules.seed, "mix", entry.origin, entry.id, number)
                yield Mark(rank, position, entry.length if self.rules.mix.length else 0, entry.language)

    def _taken(self, rows: "Iterator[Entry | Quarantined]", drawn: Drawn | None) -> Iterator[Entry | Quarantined]:
        """The second pass, or the only one."""
        for position, entry in enumerate(rows):
            if isinstance(entry, Quarantined):
                yield entry
                continue
            if entry.origin == "trajectories":
                self.tally.domains[entry.domain] += 1
            if why := reason_to_leave(entry, self.rules):
                self.tally.leave(entry, why, listed=entry.origin == "trajectories" or "licence" in why)
            elif drawn and position not in getattr(drawn, entry.origin):
                is_own = entry.origin == "trajectories"
                self.tally.leave(entry, drawn.reasons[position] if is_own else NOT_DRAWN, listed=is_own)
            else:
                self.tally.take(entry)
                yield entry

    def _trajectories(self, notes: Notes) -> Iterator[Entry | Quarantined]:
        """Rows of data.trajectories with the thinking that is wanted of them."""
        named, thinking = Named(self.data.columns), thinking_of(self.rules.mix, self.data)
        for row in _with_bar(self.path):
            named.look(row.value)
            try:
                parts = take_apart(row.value, named.columns)
                notes.take(parts, self.data.turns, rides=False)
                picked = pick_thinking(parts, thinking, self.rules)
                if picked is None and thinking != "none" and parts.used.get("answer") == "answer":
                    raise BadRow("'thinking' is missing")  # a trajectory, or a pair taken for one
            except BadRow as error:
                yield Quarantined(row.file, row.number, str(error), row.text)
                continue
            notes.thoughtless += thinking == "final" and picked is None
            is_general = parts.row.get("origin") == "general"  # a mix that was written as a file
            yield Entry(
                row=row,
                parts=parts,
                thinking=picked,
                origin="general" if is_general else "trajectories",
                source=str(parts.there.get("source", "")),
                licence=str(parts.there.get("licence", "")),
            )
        named.refuse_unseen(self.path)

    def _general(self, notes: Notes) -> Iterator[Entry | Quarantined]:
        """Rows of general data, with the thinking they have, unless none is wanted."""
        general = self.rules.mix.general
        named, thinking = Named(general.columns), thinking_of(self.rules.mix, self.data)
        for row in rows_of(general):
            named.look(row.value)
            try:
                parts = take_apart(row.value, named.columns)
                notes.take(parts, self.data.turns, rides=False)
                if parts.thinking is None and thinking != "none":
                    raise BadRow("'thinking' is missing")
            except BadRow as error:
                yield Quarantined(row.file, row.number, str(error), row.text)
                continue
            yield Entry(
                row=row,
                parts=parts,
                thinking=None if thinking == "none" else parts.thinking,
                origin="general",
                source=str(parts.there.get("source") or name_of(general)),
                licence=str(parts.there.get("licence") or general.licence or UNKNOWN),
            )


def find(trajectories: str) -> Path:
    """Raises: DataError: there is no such file."""
    try:
        files_of(trajectories)
    except DataError as error:
        raise DataError(f"data.trajectories={error}: run reer-synthesize first, or name another file") from error
    return Path(trajectories)


def _with_bar(path: Path) -> Iterator[Row]:
    """Rows, with a progress bar where that takes more than two seconds; the steps of a search are most of a table."""
    from tqdm import tqdm

    try:
        yield from tqdm(read_rows(path, without=("steps",)), desc="reading trajectories", delay=2, leave=False)
    except DataError as error:
        raise DataError(f"data.trajectories={error}") from error
