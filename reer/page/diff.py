"""What changed between two texts, as pieces a page can mark. Knows words and segments, nothing of markup.

The `same` and `del` pieces together are the old text, the `same` and `ins` pieces the new one, character by character.
"""

import os
import re
from collections.abc import Sequence
from difflib import SequenceMatcher
from itertools import groupby
from typing import Literal

Kind = Literal["same", "del", "ins"]
Piece = tuple[Kind, str]

_TOKEN = re.compile(r"\s+|[\u3040-\u30ff\u3400-\u9fff]|\w+|[^\w\s]")

ALIKE = 0.4
"""Texts less alike than this are shown as one deletion and one insertion: a confetti of words is no diff."""
ISLAND = 3
"""Equal runs of fewer words between two changes are absorbed by them."""
LONGEST = 4_000
"""Words and spaces; longer texts are not compared word by word (the time grows with the square)."""


def diff(before: Sequence[str], after: Sequence[str]) -> list[Piece]:
    """Word-level changes between two segmented texts; equal segments are found first."""
    pieces: list[Piece] = []
    for tag, i, j, k, m in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if tag == "equal":
            pieces.append(("same", "".join(before[i:j])))
        elif j - i == m - k:
            for old, new in zip(before[i:j], after[k:m], strict=True):
                pieces += _words(old, new)
        else:
            pieces += _words("".join(before[i:j]), "".join(after[k:m]))
    return _joined(pieces)


def _words(before: str, after: str) -> list[Piece]:
    """Changes between two texts; white space that both end with is no change."""
    tail = os.path.commonprefix([before[len(before.rstrip()) :][::-1], after[len(after.rstrip()) :][::-1]])[::-1]
    old, new = (_TOKEN.findall(text[: len(text) - len(tail)]) for text in (before, after))
    if len(old) + len(new) <= LONGEST and _alike(old, new):
        return [*_changes(old, new), ("same", tail)]
    return [("del", "".join(old)), ("ins", "".join(new)), ("same", tail)]


def _alike(old: Sequence[str], new: Sequence[str]) -> bool:
    """Whether enough words are the same, in the same order, for a word-level diff to be readable."""
    a, b = ([token for token in tokens if not token.isspace()] for tokens in (old, new))
    return SequenceMatcher(None, a, b, autojunk=False).ratio() >= ALIKE


def _changes(old: Sequence[str], new: Sequence[str]) -> list[Piece]:
    pieces: list[Piece] = []
    for tag, i, j, k, m in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if tag == "equal" and not _is_island(old, i, j):
            pieces.append(("same", "".join(old[i:j])))
        else:
            pieces += [("del", "".join(old[i:j])), ("ins", "".join(new[k:m]))]
    return pieces


def _is_island(tokens: Sequence[str], start: int, end: int) -> bool:
    """A short equal run with changes on both sides."""
    inside = start > 0 and end < len(tokens)
    return inside and sum(not token.isspace() for token in tokens[start:end]) < ISLAND


def _joined(pieces: Sequence[Piece]) -> list[Piece]:
    """Neighbouring changes as one deletion followed by one insertion; empty pieces dropped."""
    joined: list[Piece] = []
    for same, group in groupby(pieces, key=lambda piece: piece[0] == "same"):
        run = list(group)
        kinds: tuple[Kind, ...] = ("same",) if same else ("del", "ins")
        texts = [(kind, "".join(text for op, text in run if op == kind)) for kind in kinds]
        joined += [(kind, text) for kind, text in texts if text]
    return joined
