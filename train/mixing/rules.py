"""What a mix asks of a row alone: thinking, licence, language, domain and length. Knows no other row and no file."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal

from reer.config import DataConfig, MixConfig
from reer.errors import ConfigError
from reer.files.columns import Parts
from reer.files.export.licences import is_unknown, refusal
from reer.files.pairs import identity_of
from reer.files.rows import BadRow, Row
from reer.text import language_code, language_of, words

VARIANTS = ("final", "first", "answer_only")
"""Of `data.variant`: trained on the thinking that the search ended with, that it began with, or on none."""
THINKINGS = ("final", "first", "blind", "none")
WITHOUT = "mix.without_domains"
Origin = Literal["trajectories", "general"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How to mix, beside what is mixed."""

    mix: MixConfig = field(default_factory=MixConfig)
    allow_unknown: bool = False
    """Whether rows are taken whose licence nobody knows."""
    seed: int = 0
    blind_search: bool = False
    """Whether the trajectories' search began with thinkings drawn from the query alone."""
    own_files: bool = False
    """Whether the pairs behind the trajectories were collected from files of the user's."""

    @property
    def has_general(self) -> bool:
        return bool(self.mix.general.path or self.mix.general.hub)

    @property
    def draws(self) -> bool:
        """Whether taking a row depends on the others."""
        return self.has_general or self.mix.rows is not None or self.mix.length is not None


@dataclass(slots=True, kw_only=True)
class Entry:
    """A row that may be trained on."""

    row: Row
    parts: Parts
    thinking: str | None
    """The one that is trained on; None: the answer alone."""
    origin: Origin
    source: str
    licence: str

    @property
    def id(self) -> str:
        return identity_of(self.parts)

    @property
    def language(self) -> str:
        """By its column where that says one, else that of the answer."""
        named = self.parts.there.get("language")
        return (language_code(str(named)) if named is not None else None) or language_of(self.parts.answer)

    @property
    def domain(self) -> str:
        return str(self.parts.there.get("domain", ""))

    @property
    def length(self) -> int:
        """Words of the thinking; a Chinese character counts as one."""
        return len(words(self.thinking or ""))


def one_of(key: str, value: str | None, known: Sequence[str] | Mapping[str, Any]) -> None:
    """Raises: ConfigError: a value that there is none of."""
    if value is not None and value not in known:
        raise ConfigError(f"{key}={value} is unknown: choose one of {', '.join(known)}")


def thinking_of(mix: MixConfig, data: DataConfig) -> str:
    """Which thinking is trained on, one of THINKINGS.

    Raises:
        ConfigError: `mix.thinking` or `data.variant` is unknown, or they say two different things.
    """
    one_of("data.variant", data.variant, VARIANTS)
    one_of("mix.thinking", mix.thinking, THINKINGS)
    variant = "none" if data.variant == "answer_only" else data.variant
    if mix.thinking not in (None, variant) and data.variant != "final":
        raise ConfigError(f"mix.thinking={mix.thinking} and data.variant={data.variant} say two things: leave one out")
    return mix.thinking or variant


def pick_thinking(parts: Parts, thinking: str, rules: Rules) -> str | None:
    """The text of a trajectory that is trained on; None: it has none, or none is wanted.

    Raises:
        BadRow: it has no such thinking.
    """
    if thinking == "none":
        return None
    if thinking == "final":
        return parts.thinking
    if thinking == "first":
        return first_of(parts.row)
    return _blind(parts.row, rules)


def first_of(row: Mapping[str, Any]) -> str:
    """The thinking that a search began with.

    Raises:
        BadRow: there is none.
    """
    first = row.get("first")
    if not isinstance(first, Mapping) or not isinstance(first.get("thinking"), str):
        raise BadRow("'first.thinking' is missing")
    return str(first["thinking"])


def _blind(row: Mapping[str, Any], rules: Rules) -> str:
    """The first of the blind draws that was not refused: to take the likeliest would be to look at the answer."""
    worth = row.get("worth")
    draws = (worth.get("blind") if isinstance(worth, Mapping) else None) or ()
    for draw in draws:
        if not draw.get("rejected") and isinstance(draw.get("text"), str) and draw["text"].strip():
            return str(draw["text"])
    if draws:
        raise BadRow("every blind thinking of it was refused")
    if rules.blind_search:
        return first_of(row)
    raise BadRow("no blind thinking is recorded (search.worth.blind=1, or search=blind, makes one)")


def reason_to_leave(entry: Entry, rules: Rules) -> str | None:
    """Why a row is not wanted, whatever the others are; None: it is."""
    mix = rules.mix
    own = rules.own_files and entry.origin == "trajectories"
    if why := refusal("" if own and is_unknown(entry.licence) else entry.licence, mix.use, rules.allow_unknown):
        return why
    if mix.languages and entry.language not in mix.languages:
        return f"its language ({entry.language}) is not among mix.languages"
    if entry.origin == "trajectories" and (why := _domain(entry.domain, mix)):
        return why
    if mix.min_words is not None and entry.length < mix.min_words:
        return "its thinking is shorter than mix.min_words"
    if mix.max_words is not None and entry.length > mix.max_words:
        return "its thinking is longer than mix.max_words"
    if mix.length is not None and entry.origin == "trajectories" and entry.thinking is None:
        return "it has no thinking whose length mix.length could compare"
    return None


def _domain(domain: str, mix: MixConfig) -> str | None:
    if not mix.domains and not mix.without_domains:
        return None
    names = _names(domain)
    if mix.domains and names.isdisjoint(map(plain, mix.domains)):
        return f"its domain ({domain}) is not among mix.domains" if domain else "it names no domain (mix.domains)"
    if not names.isdisjoint(map(plain, mix.without_domains)):
        return f"its domain ({domain}) is among {WITHOUT}"
    return None


@cache
def _names(domain: str) -> frozenset[str]:
    """What a domain is called: as a whole, and of `Artistic / Scriptwriting` or `artistic:essay` each part."""
    return frozenset(filter(None, map(plain, (domain, *re.split(r"[/:>]", domain)))))


def plain(name: str) -> str:
    return " ".join(word for word in re.split(r"[\W_]+", name.casefold()) if word not in ("", "and"))
