"""How much of the answer stands in the thinking: a trajectory that copies y explains nothing.

Works on words (Chinese, Japanese: characters), lower-cased and without punctuation, so that changing commas,
capitals, quotation marks or the form of an accent does not hide a copy. Knows nothing of models or tokens.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

from reer.config import LeakConfig
from reer.text import words


@dataclass(frozen=True, slots=True)
class Leak:
    longest_run: int
    """Longest run of the answer's words that stands in the thinking, in words."""
    containment: float
    """Share of the answer's distinct n-grams that stand in the thinking, 0 to 1."""


def measure(thinking: str, answer: str, ngram: int = 3) -> Leak:
    """Both measures of how much of `answer` stands in `thinking`."""
    copy, (source, wanted) = words(thinking), _of_answer(answer, ngram)
    shared = wanted & ngrams(copy, ngram)
    return Leak(longest_run(copy, source), len(shared) / len(wanted) if wanted else 0.0)


@functools.lru_cache(maxsize=256)
def _of_answer(answer: str, ngram: int) -> tuple["Spelled", set[tuple[str, ...]]]:
    """What every candidate is compared with."""
    source = words(answer)
    return Spelled(source), ngrams(source, ngram)


def ngrams(tokens: Sequence[str], n: int) -> set[tuple[str, ...]]:
    return set(zip(*(tokens[i:] for i in range(n)), strict=False))


class Spelled:
    """Texts as a string with one character for each word, which Python searches much faster."""

    def __init__(self, *texts: Sequence[str]) -> None:
        """Of several texts the words stand apart: nothing that `spell` gives runs from one into the next."""
        every = dict.fromkeys(word for text in texts for word in text)
        self._letters = {word: chr(n) for n, word in enumerate(every, start=1)}
        self.text = "\0".join(map(self.spell, texts))

    def spell(self, tokens: Sequence[str]) -> str:
        """Other words in the same letters; NUL for those it does not hold."""
        letter = self._letters.get
        return "".join([letter(token, "\0") for token in tokens])


def longest_run(copy: Sequence[str], source: Spelled) -> int:
    """Length of the longest contiguous run of words that stands in both."""
    longest = 0
    for run in source.spell(copy).split("\0"):  # of words that the source holds
        for end in range(longest + 1, len(run) + 1):
            # A run that ends here is at most one longer than the longest before it.
            if run[end - longest - 1 : end] in source.text:
                longest += 1
    return longest


def leaks(leak: Leak, limits: LeakConfig) -> bool:
    """Whether a candidate copies more than allowed."""
    return limits.enabled and (leak.longest_run > limits.longest_run or leak.containment > limits.containment)
