"""How much of the prompt stands in what was written for it: a thinking made of its instruction explains nothing.

A likelihood rewards it all the same: words such as "first", "the reader", "at the end" make any answer a little less
of a surprise. Measured against the fixed text of the very prompt that was sent, with what filled its placeholders left
out, so that names, facts and plot are never held against anybody. By sentence, since one borrowed sentence among five
honest ones is borrowed still. Knows words; knows nothing of models or tokens.
"""

import functools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from reer.config import EchoConfig
from reer.method.guards.leak import Spelled, longest_run, ngrams
from reer.text import without_quotes, words

Runs = frozenset[tuple[str, ...]]

SHORTEST = 5
"""Words of a sentence whose share says anything; a shorter one is an echo where the prompt has it whole."""
_SENTENCE = re.compile(r"[^.!?:;。！？：；\n]+")
_TO_ASKER = (
    r"\bhope (?:this|that|it) (?:helps|is helpful)|\bfeel free to (?:ask|let me)",
    r"\blet me know (?:if|whether|what) (?:you(?:'d| would| want| need| have| like| prefer| think)|this|that|it)\b",
    r"\bhere(?:'s| is| are) (?:the|a|an|my|your) (?:re(?:written|vised)|(?:refined|improved|updated)"
    r" (?:\w+ )?(?:part|version|text|passage|paragraph|segment|sentence|thinking|plan)|new part\s*(?:[.:!\n]|$))",
    r"\bhere(?:'s| is) (?:a|my|your) summary",
    r"\A\W*(?:sure|certainly|of course|absolutely)(?:!|:|\W+(?:here(?:'s| is| are)"
    r"|i(?:'d| can| will|'ll) (?:be (?:happy|glad)|help|provide|rewrite|revise|write|give you))\b)",
    r"\bas an ai(?: (?:language )?(?:model|assistant)\b|,? i\b)|\bas you (?:asked|requested)\b"
    r"|\bi(?:'m| am|'d be| would be) (?:happy|glad) to help\b",
    r"\bwould you like me to\b",
    r"希望[^。！？\n]{0,12}(?:对[您你]|[您你]能)[^。！？\n]{0,8}(?:帮助|有用|满意)|希望[^。！？\n]{0,8}(?:帮到|令|让)[您你]",
    r"请(?:随时|直接|尽管)?(?:告诉我|联系我|告知)|随时(?:告诉我|联系我|提问|提出)",
    r"(?:以下|下面)是(?:改写|修改|优化|重写|润色)|作为(?:一个|一名)?(?:AI|人工智能|语言模型)(?:语言)?(?:模型|助手|[，,]我)",
    r"\A\W*(?:好的|当然)(?:[！!]|可以(?:[！!。]|帮|为[您你])|\W*(?:以下|下面|这是|我来|我会))",
)
_ASKER = re.compile("|".join(_TO_ASKER), re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Echo:
    longest_run: int
    """Longest run of the prompt's own words that stands in the text, in words (Chinese: characters)."""
    containment: float
    """Share of a sentence's n-grams that stand in the prompt's own text, 0 to 1: that of the worst sentence."""


NOTHING = Echo(0, 0.0)


def measure(text: str, fixed: Sequence[str], ngram: int = 2) -> Echo:
    """Both measures of how much of the prompt's fixed pieces of text stands in `text`."""
    spelled, known, short = _of_prompt(tuple(fixed), ngram)
    shares = (_share(sentence, known, ngram) if len(sentence) >= SHORTEST else float(tuple(sentence) in short)
              for sentence in _sentences(text))  # fmt: skip
    return Echo(longest_run(words(text), spelled), max(shares, default=0.0))


def _sentences(text: str) -> Iterator[list[str]]:
    return filter(None, map(words, _SENTENCE.findall(text)))


def _share(sentence: Sequence[str], known: Runs, ngram: int) -> float:
    own = ngrams(sentence, ngram)
    return len(own & known) / len(own) if own else 0.0


@functools.lru_cache(maxsize=64)
def _of_prompt(fixed: tuple[str, ...], ngram: int) -> tuple[Spelled, Runs, Runs]:
    """Its words, its n-grams and its short sentences. None of them goes from one piece into the next."""
    pieces = [words(piece) for piece in fixed]
    short = (tuple(sentence) for piece in fixed for sentence in _sentences(piece) if 1 < len(sentence) < SHORTEST)
    return Spelled(*pieces), Runs().union(*(ngrams(piece, ngram) for piece in pieces)), Runs(short)


def echoes(echo: Echo, limits: EchoConfig) -> bool:
    """Whether a text repeats more of its prompt than allowed."""
    return limits.enabled and (echo.longest_run > limits.longest_run or echo.containment > limits.containment)


def talks_to_asker(text: str) -> bool:
    """Whether it addresses whoever asked ("hope this helps", 希望对你有帮助) instead of thinking."""
    return _ASKER.search(without_quotes(text).replace("’", "'")) is not None
