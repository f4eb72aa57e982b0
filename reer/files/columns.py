"""Which column is what: one table for pairs, for training rows and for answers, whatever a data set calls them.

Our own names win. A column that is null or empty is absent. Two different texts for one part of a row are a reason to
set it aside, for nobody can tell which was meant. What no part is made of rides along.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from reer.files.rows import BadRow
from reer.types import Message

QUERIES = ("question", "prompt", "input")
ANSWERS = ("solution", "completion", "response", "output", "story")
CHATS = ("messages", "conversations", "conversation", "chat")
MORE = ("input", "context")
"""What an `instruction` is about, in Alpaca's and Dolly's form."""
SYSTEMS = ("system", "system_prompt")
THINKING = ("thinking", "reasoning_content", "reasoning")
ROLES = {
    "user": "user", "human": "user", "prompter": "user",
    "assistant": "assistant", "gpt": "assistant", "model": "assistant", "bot": "assistant", "chatgpt": "assistant",
    "system": "system", "developer": "system",
}  # fmt: skip
NOT_UNICODE = "half of a surrogate pair: it holds text that is no Unicode"
PARTS = ("query", "answer", "history", "thinking", "id", "language", "domain", "source", "licence")
"""What `data.columns` can name a column for."""
TEXT_PARTS = ("text", "input_text", "output_text")
_ALIASES = {"license": "licence", "lang": "language"}
_BLOCK = re.compile(r"\s*<think>(.*?)</think>\s*", re.DOTALL)
_OPENED = re.compile(r"\s*<think>")
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(slots=True)
class Parts:
    """A row taken apart."""

    query: str = ""
    answer: str = ""
    history: tuple[Message, ...] = ()
    thinking: str | None = None
    used: dict[str, str] = field(default_factory=dict)
    """Part -> the column or columns it was made of."""
    named: dict[str, Any] = field(default_factory=dict)
    """id, language, domain, source, licence, as they stand in the row."""
    extra: dict[str, Any] = field(default_factory=dict)

    def told(self) -> str:
        """What was taken for what, as one line."""
        return ", ".join(f"{columns} -> {part}" for part, columns in self.used.items())


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn of a chat."""

    role: str
    text: str
    thinking: str | None = None


def take_apart(row: Any, columns: Mapping[str, str] | None = None) -> Parts:
    """The parts of a row; `columns` names the column of a part where no table can know it.

    Raises:
        BadRow: it is no object, lacks a part, holds two texts for one, or what is no text.
    """
    if isinstance(row, BadRow):
        raise row
    if not isinstance(row, Mapping):
        raise BadRow("not a JSON object")
    if not_unicode(row):
        raise BadRow(NOT_UNICODE)
    row = {str(key): value for key, value in row.items()}
    parts = Parts(named=_named(row, columns or {}))
    row = _renamed(row, columns) if columns else row
    turns = _chat(row, parts)
    if turns is None:
        _from_columns(row, parts)
    else:
        _from_turns(turns, row, parts)
    _split_thinking(row, parts)
    parts.extra = _extra(row, parts)
    return parts


def not_unicode(row: Mapping[Any, Any]) -> bool:
    """Whether a row holds half of a surrogate pair, which JSON can name and no file can hold."""
    return any(map(_broken, row.values())) or any(map(_broken, row))


def _broken(value: Any) -> bool:
    if isinstance(value, str):
        return not value.isascii() and _SURROGATE.search(value) is not None
    if isinstance(value, Mapping):
        return not_unicode(value)
    return isinstance(value, list) and any(map(_broken, value))


def _renamed(row: dict[str, Any], columns: Mapping[str, str]) -> dict[str, Any]:
    """The row with the named columns under our own names."""
    if absent := [name for name in columns.values() if name not in row]:
        raise BadRow(f"there is no column '{absent[0]}' (there are: {', '.join(row)})")
    taken = set(columns.values())
    kept = {key: value for key, value in row.items() if key not in taken and key not in columns}
    return kept | {part: row[name] for part, name in columns.items()}


def _named(row: Mapping[str, Any], columns: Mapping[str, str]) -> dict[str, Any]:
    """What is no text of the conversation: id, language and where it comes from."""
    plain = {_ALIASES.get(key, key): value for key, value in row.items() if not _absent(value)}
    plain |= {part: row.get(name) for part, name in columns.items()}
    return {key: plain.get(key) for key in PARTS[4:]}


def _absent(value: Any) -> bool:
    """Null, NaN, and what is empty."""
    return value is None or value != value or (isinstance(value, str | list) and not value)


def _there(row: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    return [name for name in names if name in row and not _absent(row[name])]


def _chat(row: Mapping[str, Any], parts: Parts) -> list[Turn] | None:
    """The turns of a row that is a conversation; None where it is none, or where own names stand beside it."""
    found = [name for name in _there(row, (*CHATS, "query", "prompt")) if isinstance(row[name], list)]
    own = {name: row[name] for name in ("query", "answer") if isinstance(row.get(name), str) and row[name].strip()}
    if not found:
        return None
    turns = [turn_of(turn, n) for n, turn in enumerate(row[found[0]], start=1)]
    where = found[0]
    if where in ("query", "prompt"):  # the beginning of a chat, with its reply beside it
        reply, column = _reply(row)
        turns, where = [*turns, reply], f"{where}+{column}"
    elif len(own) == 2 and [own["query"], own["answer"]] != [turn.text for turn in turns[-2:]]:
        return None
    parts.used = {"conversation": where}
    return turns


def _reply(row: Mapping[str, Any]) -> tuple[Turn, str]:
    """The assistant's turn that stands in a column of its own."""
    names = _there(row, ("answer", *ANSWERS))
    if not names:
        raise BadRow(f"'answer' is missing (there are: {', '.join(row)})")
    value = row[names[0]]
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], Mapping) and "role" in value[0]:
        return turn_of(value[0], 1), names[0]
    return Turn("assistant", text_of(value, names[0])), names[0]


def turn_of(turn: Any, number: int) -> Turn:
    """One turn in the form of OpenAI (`role`, `content`) or ShareGPT (`from`, `value`).

    Raises:
        BadRow: of a role that is no speaker (a tool), or without text.
    """
    if not isinstance(turn, Mapping):
        raise BadRow(f"turn {number} is {type(turn).__name__}, not an object")
    speaker = turn.get("role", turn.get("from"))
    if str(speaker).lower() not in ROLES:
        raise BadRow(f"turn {number} is of the role {speaker!r}: only system, user and assistant speak")
    content = turn["content"] if "content" in turn else turn.get("value")
    thinking = next((turn[name] for name in THINKING if isinstance(turn.get(name), str) and turn[name].strip()), None)
    return Turn(ROLES[str(speaker).lower()], text_of(content, f"turn {number}"), thinking)


def text_of(value: Any, name: str) -> str:
    """A text, or the texts of a list of parts, joined.

    Raises:
        BadRow: it is something else, is empty, or holds a NUL byte.
    """
    if isinstance(value, list) and all(isinstance(part, Mapping) for part in value):
        value = "".join(_part(part, name) for part in value)
    if not isinstance(value, str):
        raise BadRow(f"'{name}' is missing" if value is None else f"'{name}' is {type(value).__name__}, not text")
    if not any(character.isprintable() and not character.isspace() for character in value):
        raise BadRow(f"'{name}' is empty")
    if "\0" in value:
        raise BadRow(f"'{name}' holds a NUL byte")
    return value


def _part(part: Mapping[str, Any], name: str) -> str:
    if isinstance(part.get("text"), str) and part.get("type", "text") in TEXT_PARTS:
        return str(part["text"])
    raise BadRow(f"'{name}' holds a part of type {part.get('type')}, not text")


def _from_turns(turns: Sequence[Turn], row: Mapping[str, Any], parts: Parts) -> None:
    if len(turns) < 2 or [turn.role for turn in turns[-2:]] != ["user", "assistant"]:
        where = parts.used["conversation"]
        raise BadRow(f"'{where}' does not end with a user turn and an assistant turn")
    parts.query, parts.answer, parts.thinking = turns[-2].text, turns[-1].text, turns[-1].thinking
    earlier = [*_before(row, parts), *turns[:-2]]
    parts.history = tuple(Message(turn.role, _without_block(turn)) for turn in earlier)  # type: ignore[arg-type]


def _without_block(turn: Turn) -> str:
    """What was said: what an earlier reply thought is no part of a conversation."""
    return _BLOCK.sub("", turn.text, count=1) if turn.role == "assistant" and _OPENED.match(turn.text) else turn.text


def _before(row: Mapping[str, Any], parts: Parts) -> list[Turn]:
    """Turns in columns of their own: a system text, and a history as objects or as pairs of texts."""
    turns: list[Turn] = []
    for name in _there(row, SYSTEMS)[:1]:
        turns.append(Turn("system", text_of(row[name], name)))
        parts.used["system"] = name
    if _there(row, ("history",)):
        if not isinstance(row["history"], list):
            raise BadRow(f"'history' is {type(row['history']).__name__}, not a list of turns")
        parts.used["history"] = "history"
        for n, turn in enumerate(row["history"], start=1):
            if isinstance(turn, list) and len(turn) == 2:
                turns += [Turn("user", text_of(turn[0], "history")), Turn("assistant", text_of(turn[1], "history"))]
            else:
                turns.append(turn_of(turn, n))
    return turns


def _from_columns(row: Mapping[str, Any], parts: Parts) -> None:
    """Query and answer from columns of texts."""
    parts.query = _query(row, parts)
    parts.answer = _text(row, "answer", ANSWERS, parts)
    before = _before(row, parts)
    parts.history = tuple(Message(turn.role, _without_block(turn)) for turn in before)  # type: ignore[arg-type]


def _query(row: Mapping[str, Any], parts: Parts) -> str:
    names = _there(row, ("instruction",))
    if _there(row, ("query",)) or not names:
        return _text(row, "query", QUERIES, parts)
    if other := [name for name in _there(row, QUERIES) if name not in MORE and row[name] != row["instruction"]]:
        raise BadRow(f"'instruction' and '{other[0]}' are two different texts for the query")
    names += _there(row, MORE)
    parts.used["query"] = "+".join(names)
    return "\n\n".join(text_of(row[name], name) for name in names)


def _text(row: Mapping[str, Any], part: str, aliases: Sequence[str], parts: Parts) -> str:
    """The text of a part under our own name, else under the one other name it has."""
    if _there(row, (part,)):
        parts.used[part] = part
        return text_of(row[part], part)
    names = _there(row, aliases)
    if not names:
        if part in row:
            return text_of(row[part], part)
        others = sorted(row.keys() - set(PARTS))
        raise BadRow(f"'{part}' is missing" + (f" (there are: {', '.join(others)})" if others else ""))
    if other := [name for name in names[1:] if row[name] != row[names[0]]]:
        raise BadRow(f"'{names[0]}' and '{other[0]}' are two different texts for the {part}")
    parts.used[part] = names[0]
    return text_of(row[names[0]], names[0])


def _split_thinking(row: Mapping[str, Any], parts: Parts) -> None:
    """Take the thinking off an answer that begins with it. An answer that only mentions its marks stays whole."""
    named = [name for name in _there(row, THINKING) if isinstance(row[name], str)]
    if parts.thinking is None and named:
        parts.thinking, parts.used["thinking"] = row[named[0]], named[0]
    if not _OPENED.match(parts.answer):
        return
    block = _BLOCK.match(parts.answer)
    if block is None:
        raise BadRow("its think block is not closed")
    if not parts.answer[block.end() :].strip():
        raise BadRow("'answer' is empty after its think block")
    parts.answer = parts.answer[block.end() :]
    if parts.thinking is None:
        parts.thinking, parts.used["thinking"] = block.group(1).strip("\n"), "the block before the answer"


def _extra(row: Mapping[str, Any], parts: Parts) -> dict[str, Any]:
    """Columns that no part was made of."""
    taken = {name for columns in parts.used.values() for name in columns.split("+")} | {*PARTS[4:], *_ALIASES}
    return {key: value for key, value in row.items() if key not in taken and not (key in PARTS and _absent(value))}
