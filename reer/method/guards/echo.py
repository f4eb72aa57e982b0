"""How much of the prompt stands in what was written for it: a thinking made of its instruction explains nothing.

A likelihood rewards it all the same: words such as "first", "the reader", "at the end" make any answer a little less
of a surprise. Measured against the fixed text of the very prompt that was sent, with what filled its placeholders left
out, so that names, facts and plot are never held against anybody. By sentence, since one borrowed sentence among five
honest ones is borrowed still. Knows words; knows nothing of models or tokens.
"""

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass

from reer.config import EchoConfig
from reer.method.guards.leak import Spelled, longest_run, ngrams
from reer.text import words

SHORTEST = 5
"""Words of a sentence whose share says anything."""
_SENTENCE = re.compile(r"[^.!?:;。！？：；\n]+")
_ASKER = re.compile(
    r"\b(?:i )?hope (?:this|that|it) (?:helps|is helpful)|\blet me know (?:if|whether|what)|\bfeel free to (?:ask|let)"
    r"|\bhere(?:'s| is| are) (?:the|a|an|my|your) (?:re(?:written|vised)|refined|improved|updated|summary|new part)"
    r"|^(?:sure|certainly|of course|absolutely)[,!.:]|\bas an ai\b|\bas you (?:asked|requested)\b"
    r"|\bhappy to help\b|\bwould you like me to\b"
    r"|希望(?:这|以上|能|对|可以)?[^。！？\n]{0,12}(?:帮助|有帮助|有用|满意)|如(?:果|有)[^。！？\n]{0,12}(?:告诉我|联系我|随时提)"
    r"|(?:以下|下面)是(?:改写|修改|优化|重写|润色)|^(?:好的|当然)[，,！!。]|作为(?:一个|一名)?(?:AI|人工智能|语言模型)",
    re.IGNORECASE | re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class Echo:
    longest_run: int
    """Longest run of the prompt's own words that stands in the text, in words (Chinese: characters)."""
    containment: float
    """Share of a sentence's n-grams that stand in the prompt's own text, 0 to 1: that of the worst sentence."""


NOTHING = Echo(0, 0.0)


def measure(text: str, fixed: Sequence[str], ngram: int = 2) -> Echo:
    """Both measures of how much of the prompt's fixed pieces of text stands in `text`."""
    spelled, known = _of_prompt(tuple(fixed), ngram)
    sentences = (words(sentence) for sentence in _SENTENCE.findall(text))
    shares = (_share(sentence, known, ngram) for sentence in sentences if len(sentence) >= SHORTEST)
    return Echo(longest_run(words(text), spelled), max(shares, default=0.0))


def _share(sentence: Sequence[str], known: frozenset[tuple[str, ...]], ngram: int) -> float:
    own = ngrams(sentence, ngram)
    return len(own & known) / len(own) if own else 0.0


@functools.lru_cache(maxsize=64)
def _of_prompt(fixed: tuple[str, ...], ngram: int) -> tuple[Spelled, frozenset[tuple[str, ...]]]:
    """No run and no n-gram goes from one piece into the next."""
    pieces = [words(piece) for piece in fixed]
    return Spelled(*pieces), frozenset[tuple[str, ...]]().union(*(ngrams(piece, ngram) for piece in pieces))


def echoes(echo: Echo, limits: EchoConfig) -> bool:
    """Whether a text repeats more of its prompt than allowed."""
    return limits.enabled and (echo.longest_run > limits.longest_run or echo.containment > limits.containment)


def talks_to_asker(text: str) -> bool:
    """Whether it addresses whoever asked ("hope this helps", 希望对你有帮助) instead of thinking."""
    return _ASKER.search(text) is not None
