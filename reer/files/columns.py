"""Which column is what: one table for pairs, for training rows and for answers, whatever a data set calls them.

Names that the user gave win, then our own. A column that is null or empty is absent. Two different texts for one part
of a row are a reason to set it aside, for nobody can tell which was meant. What no part is made of rides along.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from reer.config import ColumnsConfig
from reer.errors import DataError
from reer.files.chats import THINKING, Turn, absent, is_chat, may_be_chat, said, split_block, text_of, turns_of
from reer.files.json_rows import BadRow
from reer.types import Message

QUERIES = ("query", "question", "prompt", "input")
ANSWERS = ("answer", "solution", "completion", "response", "output", "story")
CHATS = ("messages", "conversations", "conversation", "chat")
MORE = ("input", "context")
"""What an `instruction` is about, in Alpaca's and Dolly's form."""
SYSTEMS = ("system", "system_prompt")
ABOUT = ("id", "language", "domain", "source", "licence")
"""Parts that are no text of the conversation."""
_OTHER_NAMES = {"license": "licence", "lang": "language"}
_REQUIRED = ("query", "answer", "messages")
_BEFORE = frozenset((*SYSTEMS, "history"))
_TEXTS = frozenset((*QUERIES, *ANSWERS))
_KNOWN = _TEXTS.union((*CHATS, *MORE, *SYSTEMS, *THINKING, "instruction", "history"))


def keyed(sentence: str, group: str) -> str:
    """A sentence about a row, where another group than `data` names columns."""
    return sentence.replace("data.columns.", f"{group}.columns.")


@dataclass(slots=True)
class Parts:
    """A row taken apart."""

    row: Mapping[str, Any]
    there: dict[str, Any]
    """What it holds and is not empty; what the user named a column for, under the name of that part."""
    columns: Mapping[str, str]
    query: str = ""
    answer: str = ""
    history: tuple[Message, ...] = ()
    thinking: str | None = None
    used: dict[str, str] = field(default_factory=dict)
    """Part -> the column or columns it was made of, as the row calls them."""
    extra: dict[str, Any] = field(default_factory=dict)
    thought_before: bool = False
    """Whether earlier replies showed their thinking, which is left out."""
    taken: set[str] = field(default_factory=set)

    def use(self, part: str, *names: str) -> None:
        """Note which columns a part is made of."""
        self.used[part] = "+".join([self.columns.get(name, name) for name in names] if self.columns else names)
        self.taken.update(names)

    def found(self, names: Sequence[str]) -> list[str]:
        """Those of the names that the row has something under."""
        return [name for name in names if name in self.there]

    def one(self, part: str, names: Sequence[str]) -> str | None:
        """The one column of a part: our own name, or whichever it has.

        Raises:
            BadRow: there are two, and they differ.
        """
        if part in self.there or not (found := self.found(names)):
            return part if part in self.there else None
        for other in found[1:]:
            if self.there[other] != self.there[found[0]]:
                raise two_texts(found[0], other, part)
        self.taken.update(found)
        return found[0]


def two_texts(one: str, other: str, part: str) -> BadRow:
    return BadRow(f"'{one}' and '{other}' are two different texts for the {part}")


class Named:
    """The columns that the user named, and whether there are any such."""

    def __init__(self, columns: ColumnsConfig) -> None:
        self.columns: dict[str, str] = {part: name for part, name in asdict(columns).items() if name is not None}
        self.unseen = set(self.columns.values())
        self.there: dict[str, None] = {}

    def look(self, row: Any) -> None:
        """Note which columns a row has."""
        if self.unseen and isinstance(row, dict):
            self.unseen -= row.keys()
            self.there |= dict.fromkeys(row)

    def refuse_unseen(self, source: str | Path, group: str = "data") -> None:
        """Raises: DataError: no row had a column of that name, which `group` named."""
        for part, name in self.columns.items():
            if name in self.unseen and self.there:
                there = ", ".join(self.there)
                raise DataError(
                    f"{group}.columns.{part}={name}: no row of {source} has that column (there are: {there})"
                )


def take_apart(row: Any, columns: Mapping[str, str] | None = None) -> Parts:
    """The parts of a row; `columns` names the column of a part where no table can know it.

    Raises:
        BadRow: it is no object, lacks a part, holds two texts for one, or what is no text.
    """
    if not isinstance(row, dict):
        raise row if isinstance(row, BadRow) else BadRow("not a JSON object")
    parts = Parts(row, _there(row, columns or {}), columns or {})
    turns = _conversation(parts)
    if turns is None:
        turns = _of_columns(parts)
    elif [turn.role for turn in turns[-2:]] != ["user", "assistant"]:
        raise BadRow(f"'{parts.used['conversation']}' {_end(turns)}")
    parts.query = turns[-2].text
    before = turns[:-2] if parts.there.keys().isdisjoint(_BEFORE) else [*_before(parts, turns[:-2]), *turns[:-2]]
    if before:
        parts.history, parts.thought_before = said(before)
    _think(parts, turns[-1])
    for part in columns or ():
        if part in ABOUT and part in parts.there:
            parts.use(part, part)
    parts.extra = _extra(parts)
    return parts


def _there(row: dict[str, Any], columns: Mapping[str, str]) -> dict[str, Any]:
    there = {name: value for name, value in row.items() if not absent(value)}
    for other, name in _OTHER_NAMES.items():
        if other in there:
            there.setdefault(name, there[other])
    if not columns:
        return there
    for part, name in columns.items():
        if part in _REQUIRED and name not in there:
            raise BadRow(f"column '{name}' is {'empty' if name in row else 'missing'} (there are: {', '.join(row)})")
    kept = {name: value for name, value in there.items() if name not in columns and name not in columns.values()}
    return kept | {part: there[name] for part, name in columns.items() if name in there}


def _conversation(parts: Parts) -> list[Turn] | None:
    """The turns of a row that is a conversation; None where it is none."""
    if "query" in parts.columns and "messages" not in parts.columns and not is_chat(parts.there.get("query")):
        return None
    if list not in map(type, parts.there.values()) and parts.there.keys().isdisjoint(CHATS):
        return None
    if chats := [name for name in CHATS if may_be_chat(parts.there.get(name))]:
        return _whole_chat(parts, chats[:1] if "messages" in parts.columns else chats)
    if prompts := [name for name in (*QUERIES, "instruction") if is_chat(parts.there.get(name))]:
        reply, column = _reply(parts)
        parts.use("conversation", prompts[0], column)
        return [*turns_of(parts.there[prompts[0]], prompts[0]), *reply]
    return None


def _whole_chat(parts: Parts, names: Sequence[str]) -> list[Turn] | None:
    """The turns of a column; if they end with a question, with the reply that stands beside it. None: a query and an
    answer under our own names say something else, and win."""
    where, *others = names
    pair = [parts.there["query"], parts.there["answer"]] if {"query", "answer"} <= parts.there.keys() else []
    own = pair and "messages" not in parts.columns and all(isinstance(text, str) for text in pair)
    try:
        turns = turns_of(parts.there[where], where)
    except BadRow:
        if own:
            return None
        raise
    if own and pair != [turn.text for turn in turns[-2:]]:
        return None
    for other in others:
        if turns_of(parts.there[other], other) != turns:
            raise two_texts(where, other, "conversation")
    parts.use("conversation", *names)
    if turns and turns[-1].role == "user" and parts.found(ANSWERS):
        reply, column = _reply(parts)
        parts.use("conversation", where, column)
        return [*turns, *reply]
    if "messages" not in parts.columns:
        _refuse_another(parts, where, turns)
    return turns


def _refuse_another(parts: Parts, where: str, turns: Sequence[Turn]) -> None:
    """Columns beside a chat may repeat a turn of it (the first question, often); they may say nothing else."""
    if parts.there.keys().isdisjoint(_TEXTS):
        return
    texts = {turn.text.strip() for turn in turns}
    for part, names in (("query", QUERIES), ("answer", ANSWERS)):
        for name in parts.found(names):
            if isinstance(parts.there[name], str) and parts.there[name].strip() not in texts:
                raise two_texts(name, where, part)
            parts.taken.add(name)


def _end(turns: Sequence[Turn]) -> str:
    """What is wrong with the end of a conversation."""
    roles = [turn.role for turn in turns[-2:]]
    if not roles or roles[-1] != "assistant":
        return "does not end with an assistant turn: it holds no answer"
    if len(roles) == 2 and roles[0] == "assistant":
        return "ends with two assistant turns: which is the answer?"
    return "holds no user turn before its last: there is no query"


def _reply(parts: Parts) -> tuple[list[Turn], str]:
    """What the assistant says, in a column of its own: a text, or turns (TRL's `completion`)."""
    column = parts.one("answer", ANSWERS)
    if column is None:
        raise _missing(parts, "answer", ANSWERS)
    value = parts.there[column]
    return (turns_of(value, column) if is_chat(value) else [Turn("assistant", text_of(value, column))]), column


def _missing(parts: Parts, part: str, names: Sequence[str]) -> BadRow:
    if empty := [name for name in names if isinstance(parts.row.get(name), str)]:
        return BadRow(f"'{empty[0]}' is empty")
    others = [name for name in parts.there if name not in ("query", "answer", *ABOUT)]
    hint = f" (there are: {', '.join(others)}; data.columns.{part}=NAME says which)" if others else ""
    return BadRow(f"'{part}' is missing{hint}")


def _of_columns(parts: Parts) -> list[Turn]:
    """Query and answer from columns of texts."""
    query = Turn("user", _query(parts))
    reply, column = _reply(parts)
    if len(reply) != 1 or reply[0].role != "assistant":
        raise BadRow(f"'{column}' is no single assistant turn")
    parts.use("answer", column)
    return [query, *reply]


def _query(parts: Parts) -> str:
    if "query" in parts.there or "instruction" not in parts.there:
        name = parts.one("query", QUERIES)
        if name is None:
            raise _missing(parts, "query", QUERIES)
        names = [name, *(["context"] if "context" in parts.columns and "context" in parts.there else [])]
    else:
        for other in parts.found(("question", "prompt")):
            if parts.there[other] != parts.there["instruction"]:
                raise two_texts("instruction", other, "query")
        names = ["instruction", *parts.found(MORE)]
    parts.use("query", *names)
    if len(names) == 1:
        return text_of(parts.there[names[0]], names[0])
    return "\n\n".join([text_of(parts.there[name], name) for name in names])


def _before(parts: Parts, turns: Sequence[Turn]) -> list[Turn]:
    """Turns in columns of their own: a system text, and a history as objects or as pairs of texts."""
    before: list[Turn] = []
    if (name := parts.one("system", SYSTEMS)) is not None:
        text = text_of(parts.there[name], name)
        there = next((turn.text for turn in turns if turn.role == "system"), None)
        if there is not None and there.strip() != text.strip():
            raise two_texts(name, parts.used["conversation"], "system turn")
        before = [Turn("system", text)] if there is None else []
        parts.use("system", name)
    if "history" in parts.there:
        parts.use("history", "history")
        before += _history(parts.there["history"])
    return before


def _history(value: Any) -> Iterable[Turn]:
    if isinstance(value, list) and isinstance(value[0], list):
        for pair in value:
            if not isinstance(pair, list) or len(pair) != 2:
                raise BadRow("'history' holds what is no pair of texts")
            yield Turn("user", text_of(pair[0], "history"))
            yield Turn("assistant", text_of(pair[1], "history"))
    else:
        yield from turns_of(value, "history")


def _think(parts: Parts, reply: Turn) -> None:
    """What was thought: in a field of the turn, in a column, or in a block that the answer begins with."""
    found: dict[str, str] = {} if reply.thinking is None else {"thinking of the turn": reply.thinking}
    if name := _thinking_column(parts):
        found[parts.columns.get(name, name)] = parts.there[name]
        parts.taken.add(name)
    block, parts.answer = split_block(reply.text)
    if not block and not found:
        return
    if block and not block.isspace():
        found["the block before the answer"] = block
    for label, text in found.items():
        if parts.thinking is None:
            parts.thinking, parts.used["thinking"] = text, label
        elif parts.thinking.strip() != text.strip():
            raise BadRow(f"{parts.used['thinking']} and {label} are two different texts for the thinking")


def _thinking_column(parts: Parts) -> str | None:
    if parts.there.keys().isdisjoint(THINKING):
        return None
    for name in parts.found(THINKING):
        value = parts.there[name]
        if isinstance(value, str) and not (name == "reasoning" and _is_switch(value)):
            return name
    return None


def _is_switch(value: str) -> bool:
    """Whether a column `reasoning` says that there was some (on, high), rather than what."""
    return value.isascii() and len(value.split()) == 1


def _extra(parts: Parts) -> dict[str, Any]:
    """Columns that no part was made of."""
    row = parts.row
    if len(row) == len(parts.taken):
        return {}
    taken = {parts.columns.get(name, name) for name in (*parts.taken, *ABOUT)}
    taken |= {other for other, name in _OTHER_NAMES.items() if name not in row}
    return {k: v for k, v in row.items() if k not in taken and not (k in _KNOWN and absent(v))}
