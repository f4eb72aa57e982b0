"""How much of the answer stands in the thinking: a trajectory that copies y explains nothing.

Works on words (Chinese, Japanese: characters), lower-cased and without punctuation, so that changing commas,
capitals, quotation marks or the form of an accent does not hide a copy. Knows nothing of models or tokens.
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from reer.config import LeakConfig

_CJK = r"[\u3040-\u30ff\u3400-\u9fff\U00020000-\U0003ffff]"
_WORD = re.compile(rf"{_CJK}|(?:(?!{_CJK})[^\W_])+(?:'(?:(?!{_CJK})[^\W_])+)*")


@dataclass(frozen=True, slots=True)
class Leak:
    longest_run: int
    """Longest run of the answer's words that stands in the thinking, in words."""
    containment: float
    """Share of the answer's distinct n-grams that stand in the thinking, 0 to 1."""


def words(text: str) -> list[str]:
    """Lower-cased words; every Chinese or Japanese character is a word of its own."""
    return _WORD.findall(unicodedata.normalize("NFKC", text).lower().replace("’", "'"))


def is_cjk(word: str) -> bool:
    return re.match(_CJK, word) is not None


def language_of(text: str) -> str:
    """zh where most of the text is Chinese characters, else en."""
    found = words(text)
    return "zh" if found and sum(map(is_cjk, found)) > len(found) / 2 else "en"


def ngrams(tokens: Sequence[str], n: int) -> set[tuple[str, ...]]:
    return {tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1)}


def measure(thinking: str, answer: str, ngram: int = 3) -> Leak:
    """Both measures of how much of `answer` stands in `thinking`."""
    source, copy = words(answer), words(thinking)
    wanted = ngrams(source, ngram)
    shared = wanted & ngrams(copy, ngram)
    return Leak(longest_run(source, copy), len(shared) / len(wanted) if wanted else 0.0)


def longest_run(a: Sequence[str], b: Sequence[str]) -> int:
    """Length of the longest common contiguous run, by bisection over the length: O((n + m) log n) set look-ups."""
    low, high = 0, min(len(a), len(b))
    while low < high:
        middle = (low + high + 1) // 2
        if ngrams(a, middle) & ngrams(b, middle):
            low = middle
        else:
            high = middle - 1
    return low


def leaks(leak: Leak, limits: LeakConfig) -> bool:
    """Whether a candidate copies more than allowed."""
    return limits.enabled and (leak.longest_run > limits.longest_run or leak.containment > limits.containment)
