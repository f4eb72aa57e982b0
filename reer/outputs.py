"""Facts of a generated text that need no judge: how long it is, and whether it fell into a loop.

Pure functions of one text. Knows nothing of models, tokens or layouts.
"""

import re

from reer.leak import words

LOOP_UNITS, LOOP_REPEATS = 24, 3

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
