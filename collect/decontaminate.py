"""Rows that hold what a model will be evaluated with: by runs of 13 words, by a third of the runs of 8, or as a whole.

Always on, for the held-out pairs shipped with the package and for the files in `decontaminate.paths`.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from reer.errors import DataError
from reer.files.pairs import path_of
from reer.files.rows import BadRow, kind_of, read_rows

from .check.grams import Hashes, grams, hashes_of, whole

LONG, SHORT = 13, 8
SHARE = 0.3
"""Of a guarded text's runs of 8 words; with every twentieth word changed more than that stay whole."""
_BITS = 22
_SHIFT = np.uint64(64 - _BITS)
COLUMNS = ("query", "prompt", "question", "instruction", "answer", "response", "text")
"""Whose texts are guarded."""


@dataclass(frozen=True, slots=True)
class Hit:
    guarded: str
    """The text that may not be trained on."""
    origin: str
    """Its file and row."""
    by: str


class Guard:
    """Texts that may not be trained on."""

    def __init__(self, texts: Iterable[tuple[str, str]]) -> None:
        """`texts`: each with where it stands."""
        self._texts: list[tuple[str, str]] = []
        self._whole: dict[int, int] = {}
        self._long: dict[int, int] = {}
        self._short: dict[int, list[int]] = defaultdict(list)
        self._sizes: list[int] = []
        self._seen = np.zeros(1 << _BITS, dtype=np.bool_)
        """Which first bits a run of SHORT words may have: one look refuses nearly all others."""
        for text, origin in texts:
            self._add(text, origin)

    def _add(self, text: str, origin: str) -> None:
        hashes, number = hashes_of(text), len(self._texts)
        if not len(hashes):
            return
        self._texts.append((text, origin))
        self._whole.setdefault(whole(hashes), number)
        for run in grams(hashes, LONG).tolist():
            self._long.setdefault(run, number)
        runs = grams(hashes, SHORT)
        self._seen[runs >> _SHIFT] = True
        short = set(runs.tolist())
        self._sizes.append(len(short))
        for run in short:
            self._short[run].append(number)

    def find(self, hashes: Hashes) -> Hit | None:
        """The guarded text that stands in a text, given by `hashes_of`, or None."""
        if (number := self._whole.get(whole(hashes))) is not None:
            return self._hit(number, "the same text")
        runs = grams(hashes, SHORT)
        runs = runs[self._seen[runs >> _SHIFT]]
        if not len(runs):  # nearly always; a longer run that is shared would hold shorter ones
            return None
        for run in grams(hashes, LONG).tolist():
            if (number := self._long.get(run)) is not None:
                return self._hit(number, f"{LONG} words in a row")
        shared = Counter(number for run in set(runs.tolist()) for number in self._short.get(run, ()))
        for number, count in shared.most_common():
            if count >= SHARE * self._sizes[number]:
                return self._hit(number, f"{count / self._sizes[number]:.2f} of its runs of {SHORT} words")
        return None

    def _hit(self, number: int, by: str) -> Hit:
        return Hit(*self._texts[number], by)


def guarded(paths: Iterable[str]) -> Iterator[tuple[str, str]]:
    """The texts of the files, and of the held-out pairs of this package, each with its file and row.

    Raises:
        DataError: a file cannot be read, or holds no text that could be guarded.
    """
    for path in [path_of(None, "eval_pairs.jsonl"), *map(Path, paths)]:
        found = list(_lines(path) if kind_of(path) == ".txt" else _rows(path))
        if not found:
            raise DataError(f"decontaminate.paths: {path} holds no prompt (columns: {', '.join(COLUMNS)})")
        yield from found


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"decontaminate.paths: {path} cannot be read ({error})") from error
    yield from ((line, f"{path.name}, line {n}") for n, line in enumerate(lines, start=1) if line.strip())


def _rows(path: Path) -> Iterator[tuple[str, str]]:
    for row in read_rows(path):
        if isinstance(row.value, BadRow) or not isinstance(row.value, dict):
            raise DataError(f"decontaminate.paths: {path}, row {row.number}: {row.value}")
        for column in COLUMNS:
            if isinstance(text := row.value.get(column), str) and text.strip():
                yield text, f"{row.file}, row {row.number}"
