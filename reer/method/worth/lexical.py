"""A_lex: how much of the answer's own content stands in the thinking, each term weighted by how rare it is.

The lexical measure of arXiv 2602.14469 (SSR) in its final form, in which the query's terms do not count ("QF"):

    T = terms(y) - terms(x),  A_lex = sum of idf(t) over T and terms(z) / sum of idf(t) over T,  from 0 to 1
    idf(t) = ln(1 + (N - df(t) + 1/2) / (df(t) + 1/2))

N is the number of answers of the run in the pair's language, df(t) in how many of them t stands: of the first 20,000
rows, at most 5,000 of a language, so that time and memory stay small. Their description leaves the IDF open; this is
the one of BM25 as Lucene has it: never negative, near zero for what every answer holds, and the same for all terms
where there is one answer. Terms are words in lower case; in Chinese and Japanese, which have no spaces, every two
neighbouring characters (one without a neighbour is a term of its own).
Knows words; knows nothing of models or files.
"""

import functools
import math
import re
from collections import Counter
from collections.abc import Iterator

from reer.text import is_cjk, words
from reer.types import Example

FORMULA = "QF, BM25 idf, 1"
"""Name and version of what is written above: numbers of different ones are not comparable."""
ROWS, ANSWERS = 20_000, 5_000
"""Of a run that are looked at, and of each language that count."""
_BETWEEN = re.compile(r"[^\w'’]+")


class Frequencies:
    """In how many answers of a run each term stands, by language. No answer is held."""

    def __init__(self) -> None:
        self._answers: Counter[str] = Counter()
        self._holding: dict[str, Counter[str]] = {}

    def add(self, example: Example) -> None:
        """Count one more answer, while its language has too few."""
        if self._answers[example.language] == ANSWERS:
            return
        self._answers[example.language] += 1
        self._holding.setdefault(example.language, Counter()).update(terms(example.answer))

    def idf(self, language: str, term: str) -> float:
        """Weight of a term; also of one that no counted answer holds."""
        n, holding = self._answers[language], self._holding.get(language, Counter())[term]
        return math.log1p((n - holding + 0.5) / (holding + 0.5))


def a_lex(example: Example, thinking: str, frequencies: Frequencies) -> float | None:
    """A_lex of one thinking; None where the answer has no term that the query lacks."""
    own = sorted(terms(example.answer) - terms(example.query))
    weights = {term: frequencies.idf(example.language, term) for term in own}
    if not weights:
        return None
    found = terms(thinking)
    return math.fsum(w for term, w in weights.items() if term in found) / math.fsum(weights.values())


@functools.lru_cache(maxsize=64)
def terms(text: str) -> frozenset[str]:
    """The distinct terms of a text."""
    found = words(text)
    if text.isascii() or not any(map(is_cjk, found)):
        return frozenset(found)
    return frozenset(term for piece in _BETWEEN.split(text) for term in _of_piece(words(piece)))


def _of_piece(found: list[str]) -> Iterator[str]:
    """The terms of a stretch without spaces and punctuation."""
    for before, word, after in zip(["", *found], found, [*found[1:], ""], strict=False):
        if is_cjk(word) and is_cjk(after):
            yield word + after
        elif not (is_cjk(word) and is_cjk(before)):
            yield word
