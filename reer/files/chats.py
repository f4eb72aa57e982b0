"""Conversations in the forms of OpenAI (`role`, `content`) and ShareGPT (`from`, `value`), as turns.

Knows nothing of rows but what stands in one column of them.
"""

import json
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from reer.files.json_rows import BadRow
from reer.types import Message, Role

ROLES: dict[str, Role] = {
    "user": "user", "human": "user", "prompter": "user",
    "assistant": "assistant", "gpt": "assistant", "model": "assistant", "bot": "assistant", "chatgpt": "assistant",
    "system": "system", "developer": "system",
}  # fmt: skip
THINKING = ("thinking", "reasoning_content", "reasoning")
"""Fields of a turn, and columns of a row, that hold what was thought."""
_CONTENT = ("content", "value", "text")
_TEXT_PARTS = ("text", "input_text", "output_text")
_BLOCK = re.compile(r"\s*<think>(.*?)</think>(?:\s*\n|[^\S\n]*)", re.DOTALL)
_WORD = re.compile(r"\w")
_OPENED = re.compile(r"\s*<think>")


class Turn(NamedTuple):
    """One turn of a chat."""

    role: Role
    text: str
    thinking: str | None = None
    """From a field beside the text."""


def absent(value: Any) -> bool:
    """Whether a value says nothing: null, NaN, a text or list without anything in it."""
    if isinstance(value, str):
        return not value or value.isspace()
    return value is None or value != value or (isinstance(value, list) and not value)


def is_chat(value: Any) -> bool:
    """Whether a value is a list of turns (and not, say, of the parts of a text)."""
    first = value[0] if isinstance(value, list) and value else None
    return isinstance(first, dict) and ("role" in first or "from" in first)


def may_be_chat(value: Any) -> bool:
    """Whether a value of a column that is called a chat can be one: a list, or the JSON of one."""
    return isinstance(value, list) or (isinstance(value, str) and value.lstrip().startswith("[{"))


def turns_of(value: Any, name: str) -> list[Turn]:
    """The turns of a chat; of a table that can only hold texts, from its JSON. A system turn without text is none.

    Raises:
        BadRow: it is no list of turns, or one of them is of a role that is no speaker (a tool), or without text.
    """
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except ValueError as error:
            raise BadRow(f"'{name}' is a text that is no JSON list ({error})") from error
    if not isinstance(value, list):
        raise BadRow(f"'{name}' is {type(value).__name__}, not a list of turns")
    found = [_plain(turn) or _turn(turn, n) for n, turn in enumerate(value, start=1)]
    return [turn for turn in found if turn is not None]


def _plain(turn: Any) -> Turn | None:
    """A turn that holds nothing but a known role and a text, as nearly all do: the short way to it."""
    if not isinstance(turn, dict) or len(turn) != 2:
        return None
    role, text = (turn["role"], turn.get("content")) if "role" in turn else (turn.get("from"), turn.get("value"))
    if isinstance(text, str) and isinstance(role, str) and role in ROLES and _WORD.search(text) and "\0" not in text:
        return Turn(ROLES[role], text)
    return None


def _turn(turn: Any, number: int) -> Turn | None:
    if not isinstance(turn, dict):
        raise BadRow(f"turn {number} is {type(turn).__name__}, not an object")
    speaker = turn.get("role") or turn.get("from")
    role = ROLES.get(speaker) if isinstance(speaker, str) else None
    if role is None and (role := ROLES.get(str(speaker).lower())) is None:
        raise BadRow(f"turn {number} is of the role {speaker!r}: only system, user and assistant speak")
    if "tool_calls" in turn and not absent(turn["tool_calls"]):
        raise BadRow(f"turn {number} calls a tool")
    content = _first(turn, _CONTENT)
    if content is None:
        if role == "system":
            return None
        raise BadRow(f"turn {number} has no text")
    thinking = _first(turn, THINKING) if len(turn) > 2 else None
    return Turn(role, text_of(content, f"turn {number}"), thinking if isinstance(thinking, str) else None)


def _first(turn: dict[str, Any], names: Sequence[str]) -> Any:
    """What stands under the first of the names that has something, if any has."""
    for name in names:
        if name in turn and not absent(turn[name]):
            return turn[name]
    return None


def text_of(value: Any, name: str) -> str:
    """A text, or the texts of a list of parts, joined.

    Raises:
        BadRow: it is something else, is empty, or holds a NUL byte.
    """
    if isinstance(value, list) and all(isinstance(part, dict) for part in value):
        value = "".join(_part(part, name) for part in value)
    if not isinstance(value, str):
        raise BadRow(f"'{name}' is missing" if value is None else f"'{name}' is {type(value).__name__}, not text")
    if not _WORD.search(value) and not any(sign.isprintable() and not sign.isspace() for sign in value):
        raise BadRow(f"'{name}' is empty")
    if "\0" in value:
        raise BadRow(f"'{name}' holds a NUL byte")
    return value


def _part(part: dict[str, Any], name: str) -> str:
    if isinstance(part.get("text"), str) and part.get("type", "text") in _TEXT_PARTS:
        return str(part["text"])
    raise BadRow(f"'{name}' holds a part of type {part.get('type')}, not text")


def split_block(text: str) -> tuple[str | None, str]:
    """The think block that a text begins with (None: there is none), and what follows it.

    A text that only mentions the marks of thinking stays whole.

    Raises:
        BadRow: the block is not closed, or nothing follows it.
    """
    if not _OPENED.match(text):
        return None, text
    block = _BLOCK.match(text)
    if block is None:
        raise BadRow("its think block is not closed")
    if absent(text[block.end() :]):
        raise BadRow("'answer' is empty after its think block")
    return block.group(1).strip("\n"), text[block.end() :]


def said(turns: Sequence[Turn]) -> tuple[tuple[Message, ...], bool]:
    """Earlier turns as they are prompted with, and whether that leaves out what was thought before their replies."""
    messages, thought = [], False
    for role, text, thinking in turns:
        thought |= thinking is not None
        if role == "assistant" and (block := _BLOCK.match(text)):
            messages.append(Message(role, text[block.end() :]))
            thought = True
        else:
            messages.append(Message(role, text))
    return tuple(messages), thought
