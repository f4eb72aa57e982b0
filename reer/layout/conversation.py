"""The turns before a query: what was said in them, and all of them as one readable text.

The prompts of a search and the judges show that text in place of a lone query.
"""

from collections.abc import Sequence
from dataclasses import replace

from reer.types import Message

THINK_OPEN, THINK_CLOSE = "<think>", "</think>"
_HEAD = {
    "en": "A conversation. The last turn is what is asked for now; the turns before it are given.",
    "zh": "一段对话。最后一轮是现在的要求，前面各轮是已知的。",
}
_ROLES = {
    "en": {"system": "System", "user": "User", "assistant": "Assistant"},
    "zh": {"system": "系统", "user": "用户", "assistant": "助手"},
}


def shown(query: str, history: Sequence[Message], language: str = "en") -> str:
    """The query alone where nothing came before it, else every turn under its speaker, in the prompt's language."""
    if not history:
        return query
    roles = _ROLES.get(language, _ROLES["en"])
    said = (*map(spoken, history), Message("user", query))
    turns = [f"[{roles[turn.role]}]\n{turn.content.strip()}" for turn in said]
    return "\n\n".join([*heading(history, language), *turns])


def heading(history: Sequence[Message], language: str = "en") -> tuple[str, ...]:
    """What of that text nobody said: the line above the turns; none where there are none."""
    return (_HEAD.get(language, _HEAD["en"]),) if history else ()


def spoken(turn: Message) -> Message:
    """A turn without the think block that an assistant's may begin with, which nobody was told."""
    block, closed, said = turn.content.partition(THINK_CLOSE)
    begins = turn.role == "assistant" and closed and block.lstrip().startswith(THINK_OPEN)
    return replace(turn, content=said.strip()) if begins else turn
