"""Prompt files: Markdown with strict placeholders, in reer/method/prompts/LANGUAGE/SET/ or a folder of the user's own.

A file has a section `# user` (the message), and may have `# openers` (one beginning of the reply per line, one is
drawn per request), `# reply` (the tag whose content is the result; without it the whole reply is) and `# reject`
(words that only talk of the request itself; a result that holds one is not used).

A message with `{part}` is asked passage by passage: a small model that cannot plan a whole text can still say what
happens in a few sentences of it. The first thinking then has one sentence per opener, in order, each drawn from its
share of the answer; the rewrite of a segment is shown the share that stands at the segment's place. Who has not seen
the answer (`blind`) has no shares; a message with `{opener}` is asked for one sentence per opener in the same way.
Knows nothing of models.
"""

import hashlib
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from reer.errors import PromptError
from reer.layout.instruction import COMMENT, PLACEHOLDER, read_text
from reer.method.segment import sentences
from reer.text import is_cjk, words

_HEADING = re.compile(r"^# (\w+)[ \t]*$", re.MULTILINE)

PLACEHOLDERS = {
    "initial": {"query", "answer"},
    "rewrite": {"query", "answer", "before", "segment", "after"},
    "skeleton": {"query", "answer"},
    "expand": {"query", "skeleton"},
    "blind": {"query"},
}
"""What a message has to show, unless it shows `{part}`."""
SKELETON = ("skeleton", "expand")
"""Used by search.start=skeleton alone."""
MAY_SHOW = {"initial": {"part"}, "rewrite": {"part"}, "blind": {"opener"}}
"""What else a message may show."""


@dataclass(frozen=True, slots=True)
class Prompt:
    user: str
    openers: tuple[str, ...]
    reply_tag: str | None
    reject: frozenset[str] = frozenset()

    def render(self, **values: str) -> str:
        """Fill the placeholders in one pass, so that braces inside the values stay as they are."""
        return PLACEHOLDER.sub(lambda match: values[match.group(1)], self.user)

    @property
    def fixed(self) -> tuple[str, ...]:
        """The message without what fills its placeholders, piece by piece."""
        return tuple(piece for piece in PLACEHOLDER.split(self.user)[::2] if piece.strip())

    @property
    def by_part(self) -> bool:
        """Whether the message shows one passage of the answer at a time."""
        return "{part}" in self.user

    @property
    def by_opener(self) -> bool:
        """Whether a thinking is drawn one sentence per opener."""
        return self.by_part or "{opener}" in self.user

    def talks_of_itself(self, text: str) -> bool:
        """Whether a reply holds one of the rejected words (in Chinese, which has no spaces: anywhere)."""
        found = set(words(text))
        return any(word in found or (is_cjk(word) and word in text) for word in self.reject)

    def opener(self, seed: int) -> str:
        return self.openers[seed % len(self.openers)] if self.openers else ""


@dataclass(frozen=True, slots=True)
class PromptSet:
    initial: Prompt
    rewrite: Prompt
    sha256: str
    """Of all files together, for the manifest."""
    skeleton: Prompt | None = None
    expand: Prompt | None = None
    blind: Prompt | None = None

    def first(self, start: str) -> Prompt:
        """What whole trajectories are drawn with, unless from a skeleton."""
        if start != "blind":
            return self.initial
        assert self.blind is not None
        return self.blind

    @property
    def fixed(self) -> tuple[str, ...]:
        """The fixed text of every message of the set."""
        prompts = (self.initial, self.rewrite, self.skeleton, self.expand, self.blind)
        return tuple(piece for prompt in prompts if prompt is not None for piece in prompt.fixed)


def load_set(name: str, language: str, start: str = "direct", blind: bool = False) -> PromptSet:
    """The prompts of one set in one language, as far as a search with this `start` uses them; `blind`: it is to be
    compared with thinking that has not seen the answer.

    Raises:
        PromptError: no such set, or a file with a missing or unknown placeholder.
    """
    folder = Path(name) if "/" in name else _packaged(spoken(language)) / name
    if not folder.is_dir():
        raise PromptError(f"prompts.set={name} has no prompts for language {language}: there is no folder {folder}")
    if start == "skeleton" and not (folder / "skeleton.md").exists():
        raise PromptError(f"search.start=skeleton needs skeleton.md and expand.md, which prompts.set={name} lacks")
    blind = blind or start == "blind"
    if blind and not (folder / "blind.md").exists():
        asked = "search.start=blind" if start == "blind" else "search.worth.blind"
        raise PromptError(f"{asked} needs blind.md, which prompts.set={name} lacks: there is no {folder / 'blind.md'}")
    unused = {*(SKELETON if start != "skeleton" else ()), *(() if blind else ("blind",))}
    paths = {role: folder / f"{role}.md" for role in PLACEHOLDERS if role not in unused}
    texts = {role: read_text(path) for role, path in paths.items()}
    digest = hashlib.sha256("\0".join(texts.values()).encode()).hexdigest()
    prompts = {role: parse(text, role, paths[role]) for role, text in texts.items()}
    return PromptSet(**prompts, sha256=digest)


def spoken(language: str) -> str:
    """The language of the prompts for a pair: its own where there are prompts in it, else English."""
    return language if re.fullmatch(r"\w+", language) and _packaged(language).is_dir() else "en"


def _packaged(language: str) -> Path:
    return Path(__file__).parent / language


def parse(text: str, role: str, path: Path, placeholders: Collection[str] | None = None) -> Prompt:
    """The prompt of a role from the text of its file; `placeholders`: what it has to show, of a role not ours."""
    placeholders = PLACEHOLDERS[role] if placeholders is None else set(placeholders)
    parts = _HEADING.split(COMMENT.sub("", text))
    sections = dict(zip(parts[1::2], (part.strip() for part in parts[2::2]), strict=True))
    if len(sections) < len(parts) // 2:
        raise PromptError(f"{path}: a section stands there twice")
    if unknown := sorted(sections.keys() - {"user", "openers", "reply", "reject"}):
        raise PromptError(f"{path}: unknown section '# {unknown[0]}' (known: user, openers, reply, reject)")
    if not sections.get("user"):
        raise PromptError(f"{path}: no section '# user'")
    found = set(PLACEHOLDER.findall(sections["user"]))
    if "part" not in found and (missing := sorted(placeholders - found)):
        raise PromptError(f"{path}: placeholder {{{missing[0]}}} is missing")
    if foreign := sorted(found - placeholders - MAY_SHOW.get(role, set())):
        raise PromptError(f"{path}: unknown placeholder {{{foreign[0]}}}")
    openers = tuple(line for line in sections.get("openers", "").splitlines() if line.strip())
    if (by := found & {"part", "opener"}) and not openers:
        raise PromptError(f"{path}: {{{min(by)}}} needs a section '# openers', one line per passage")
    if "part" in found and (cut := next((one for one in openers if len(sentences(f"{one} it")) > 1), None)):
        raise PromptError(f"{path}: with {{part}} a draw is one sentence, and '{cut}' holds the end of one")
    reject = frozenset(sections.get("reject", "").lower().split())
    return Prompt(sections["user"], openers, sections.get("reply") or None, reject)
