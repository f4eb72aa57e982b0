"""Texts as numbers: hashes of words and of runs of words, the same on every machine and in every process.

A word is what `reer.text.words` says, so a Chinese character is one, and capitals and punctuation do not count.
"""

from collections.abc import Iterable
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from reer.text import words

Hashes = NDArray[np.uint64]
_FACTOR = np.uint64(0x9E3779B97F4A7C15)
_REMEMBERED = 1_000_000
_known: dict[str, int] = {}
"""Hashes of words that were met, forgotten when there are too many."""


def hashes_of(text: str) -> Hashes:
    """One number for each word of a text, in order."""
    return np.fromiter(map(_hash, words(text)), dtype=np.uint64)


def _hash(word: str) -> int:
    found = _known.get(word)
    if found is None:
        if len(_known) >= _REMEMBERED:
            _known.clear()
        found = _known[word] = int.from_bytes(blake2b(word.encode(), digest_size=8).digest(), "little")
    return found


def grams(hashes: Hashes, n: int) -> Hashes:
    """One number for each run of n words; none where there are fewer."""
    count = len(hashes) - n + 1
    if count <= 0:
        return np.empty(0, dtype=np.uint64)
    mixed = np.zeros(count, dtype=np.uint64)
    for offset in range(n):
        mixed = mixed * _FACTOR + hashes[offset : offset + count]  # modulo 2**64
    mixed ^= mixed >> np.uint64(29)  # the low bits alone tell runs apart too
    return mixed * _FACTOR


def whole(hashes: Hashes) -> int:
    """One number for a text as a whole, by its words."""
    return int.from_bytes(blake2b(hashes.tobytes(), digest_size=8).digest(), "little")


def shingles(texts: Iterable[str], n: int = 5) -> list[Hashes]:
    """The distinct runs of n words of each text; of a shorter one, all of it as one run."""
    found = []
    for text in texts:
        hashes = hashes_of(text)
        found.append(np.unique(grams(hashes, min(n, max(1, len(hashes))))))
    return found


def jaccard(one: Hashes, other: Hashes) -> float:
    """Shared share of two sets of distinct numbers, 0 to 1."""
    shared = len(np.intersect1d(one, other, assume_unique=True))
    together = len(one) + len(other) - shared
    return shared / together if together else 1.0
