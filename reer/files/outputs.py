"""Facts of a generated text that need no judge: its length, loops, variety, and what it copies from training data.

Pure functions of texts. Knows nothing of models, tokens or layouts.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from reer.text import words

LOOP_UNITS, LOOP_REPEATS = 24, 3
COPY_NGRAM = 13
"""Words in a row that count as copied (the n-gram of GPT-3's contamination check, Brown et al. 2020, appendix C)."""
LENGTH_TOLERANCE = 0.2

_UNIT = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|[^\W_]+(?:['’][^\W_]+)*|([^\w\s]|_)\1{0,7}")
"""A Chinese or Japanese character, a word, or up to eight times the same sign (a ruler line is a few units)."""


def word_count(text: str) -> int:
    """Words; a Chinese or Japanese character counts as one."""
    return len(words(text))


def loops(text: str, *, min_units: int = LOOP_UNITS, repeats: int = LOOP_REPEATS) -> bool:
    """Whether the text ends in a verbatim repetition loop.

    It does if its last n >= `min_units` units (words, single Chinese or Japanese characters, signs; white space does
    not count) consist of one sequence of units that stands there at least `repeats` times in a row, the first or the
    last time perhaps cut. Both bounds keep a refrain or a threefold "no" from counting.
    """
    tail = [match[1] or match[0] for match in _UNIT.finditer(text)][::-1]
    # border[n - 1]: longest proper prefix of tail[:n] that is also its suffix; n minus it is its smallest period
    border: list[int] = []
    for n, unit in enumerate(tail, start=1):
        length = border[-1] if border else 0
        while length and tail[length] != unit:
            length = border[length - 1]
        border.append(length + 1 if n > 1 and tail[length] == unit else 0)
        if n >= min_units and n >= repeats * (n - border[-1]):
            return True
    return False


def distinct(text: str, n: int) -> float | None:
    """distinct-n (Li et al. 2016): distinct n-grams over all n-grams of a text; None for a text of fewer words.

    Falls with length by itself: compare texts of similar length.
    """
    grams = _grams(words(text), n)
    return len(set(grams)) / len(grams) if grams else None


def length_complies(produced: int, required: int, tolerance: float = LENGTH_TOLERANCE) -> bool:
    """Whether a text has the words it was asked for, give or take a fifth."""
    return abs(produced - required) <= tolerance * required


@dataclass(frozen=True, slots=True)
class Overlap:
    """What of a text stands verbatim in other texts."""

    share: float | None
    """Of its n-grams, 0 to 1; None for a text of fewer words."""
    longest_run: int
    """Words of the longest stretch all of whose n-grams stand there; 0 where none does."""


def overlaps(texts: Sequence[str], training: Iterable[str], n: int = COPY_NGRAM) -> list[Overlap]:
    """Of every text, what stands verbatim in the training texts.

    Reads the training texts once, one at a time: memory grows with `texts` alone.
    """
    grams = [_grams(words(text), n) for text in texts]
    places: dict[tuple[str, ...], list[tuple[int, int]]] = defaultdict(list)
    for index, found in enumerate(grams):
        for position, gram in enumerate(found):
            places[gram].append((index, position))
    copied = [[False] * len(found) for found in grams]
    for text in training:
        for gram in places.keys() & set(_grams(words(text), n)):
            for index, position in places.pop(gram):
                copied[index][position] = True
    return [_overlap(marks, n) for marks in copied]


def _overlap(copied: Sequence[bool], n: int) -> Overlap:
    longest = run = 0
    for mark in copied:
        run = run + 1 if mark else 0
        longest = max(longest, run)
    return Overlap(sum(copied) / len(copied) if copied else None, longest + n - 1 if longest else 0)


def _grams(tokens: Sequence[str], n: int) -> list[tuple[str, ...]]:
    return list(zip(*(tokens[i:] for i in range(n)), strict=False))
