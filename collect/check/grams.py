"""Texts as numbers: hashes of words and of runs of words, the same on every machine and in every process.

A word is what `reer.text.words` says, so a Chinese character is one, and capitals and punctuation do not count.
"""

import functools
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from reer.text import words

Hashes = NDArray[np.uint64]
_FACTOR = np.uint64(0x9E3779B97F4A7C15)
_REMEMBERED = 1_000_000


class _Known(dict[str, int]):
    """Hashes of words that were met, forgotten when there are too many."""

    def __missing__(self, word: str) -> int:
        if len(self) >= _REMEMBERED:
            self.clear()
        found = self[word] = int.from_bytes(blake2b(word.encode(), digest_size=8).digest(), "little")
        return found


_known = _Known()


@functools.lru_cache(maxsize=2)
def words_of(text: str) -> tuple[str, ...]:
    """The words of a text; several filters look at the same one, a query and its answer, in turn."""
    return tuple(words(text))


def hashes_of(text: str) -> Hashes:
    """One number for each word of a text, in order; those of two texts in a row are those of both."""
    return np.array([*map(_known.__getitem__, words_of(text))], dtype=np.uint64)


def grams(hashes: Hashes, n: int) -> Hashes:
    """One number for each run of n words; none where there are fewer."""
    count = len(hashes) - n + 1
    if count <= 0:
        return np.empty(0, dtype=np.uint64)
    mixed = _mixed(hashes, n)
    mixed = mixed ^ (mixed >> np.uint64(29))  # the low bits alone tell runs apart too
    return mixed * _FACTOR


def _mixed(hashes: Hashes, n: int) -> Hashes:
    """Runs as polynomials in the factor, modulo 2**64: long ones are made of those of a power of two."""
    if n == 1:
        return hashes
    first = 1 << ((n - 1).bit_length() - 1)
    count = len(hashes) - n + 1
    head = _mixed(hashes, first)
    rest = head if 2 * first == n else _mixed(hashes, n - first)
    return head[:count] * _power(n - first) + rest[first : first + count]


@functools.cache
def _power(n: int) -> np.uint64:
    return np.uint64(pow(int(_FACTOR), n, 2**64))


def whole(hashes: Hashes) -> int:
    """One number for a text as a whole, by its words."""
    return int.from_bytes(blake2b(hashes.tobytes(), digest_size=8).digest(), "little")


def shingles(hashes: Hashes, n: int = 5) -> Hashes:
    """The distinct runs of n words of a text; of a shorter one, all of it as one run."""
    return np.unique(grams(hashes, min(n, max(1, len(hashes)))))


def jaccard(one: Hashes, other: Hashes) -> float:
    """Shared share of two sets of distinct numbers, 0 to 1."""
    shared = len(np.intersect1d(one, other, assume_unique=True))
    together = len(one) + len(other) - shared
    return shared / together if together else 1.0
