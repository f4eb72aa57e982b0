"""A conversation as one readable text: what the prompts of a search and the judges show in place of a lone query."""

from collections.abc import Sequence

from reer.types import Message

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
    turns = [f"[{roles[turn.role]}]\n{turn.content.strip()}" for turn in (*history, Message("user", query))]
    return "\n\n".join([_HEAD.get(language, _HEAD["en"]), *turns])
