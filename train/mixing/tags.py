"""The marks that public data sets put around thinking and answer, taken off: `<think>`, OpenThoughts', Marco-o1's."""

import re

from reer.files.chats import absent, split_block
from reer.files.rows import BadRow

_THOUGHT = re.compile(
    r"\s*(?:<\|begin_of_thought\|>|<(Thought|thinking|thought)>)(.*?)(?:<\|end_of_thought\|>|</\1>)", re.S
)
_ANSWER = re.compile(
    r"\s*(?:<\|begin_of_solution\|>|<(Output|answer|output)>)(.*?)(?:<\|end_of_solution\|>|</\1>)\s*", re.S
)
_CLOSED = re.compile(r"<\|end_of_solution\|>|</(?:Output|answer|output)>")
_OPENED = re.compile(r"\s*<(?:\|begin_of_thought\||Thought|thinking|thought)>")
ASKS_FOR_TAGS = re.compile(r"<\|begin_of_thought\|>|<think>|<Thought>|<thinking>")
"""A system text that asks for such marks."""


def split_tags(text: str) -> tuple[str | None, str]:
    """Thinking (None: none is marked) and answer, each without its marks and the blank lines around it.

    Raises:
        BadRow: a block is not closed, or there is no answer behind it.
    """
    if not _OPENED.match(text):
        thinking, answer = split_block(text)
        return thinking, _unmarked(answer)
    thought = _THOUGHT.match(text)
    if thought is None:
        raise BadRow("its thinking is not closed")
    answer = _unmarked(text[thought.end() :]).strip("\n")
    if absent(answer):
        raise BadRow("there is no answer behind its thinking")
    return (None if absent(thought[2]) else thought[2].strip()), answer


def _unmarked(answer: str) -> str:
    """An answer that stands as a whole between marks, without them."""
    whole = _ANSWER.fullmatch(answer)
    return whole[2].strip("\n") if whole and not _CLOSED.search(whole[2]) else answer
