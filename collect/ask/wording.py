"""The prompts that queries are written and judged with: collect/ask/prompts/LANGUAGE/SET/, or a folder of your own."""

import functools
import hashlib
from dataclasses import dataclass
from pathlib import Path

from reer.errors import PromptError
from reer.layout.instruction import read_text
from reer.method.prompts import Prompt, parse

SHOWS = {"query": {"answer", "length"}, "fit": {"query", "answer"}}
"""What each message has to show."""
_HERE = Path(__file__).parent / "prompts"


@dataclass(frozen=True, slots=True)
class Wording:
    query: Prompt
    """Asks for the request behind a passage of about `length` words."""
    fit: Prompt
    """Asks how well a passage answers a query."""
    sha256: str
    """Of both files, for the manifest."""


@functools.cache
def load_wording(name: str, language: str) -> Wording:
    """The prompts of a set for passages of a language; English ones where the language has none.

    Raises:
        PromptError: no such set, or a file with a missing or unknown placeholder.
    """
    spoken = language if (_HERE / language).is_dir() else "en"
    folder = Path(name) if "/" in name else _HERE / spoken / name
    if not folder.is_dir():
        raise PromptError(f"ask.prompts={name}: there is no folder {folder}")
    texts = {role: read_text(folder / f"{role}.md") for role in SHOWS}
    parsed = {role: parse(text, role, folder / f"{role}.md", SHOWS[role]) for role, text in texts.items()}
    return Wording(**parsed, sha256=hashlib.sha256("\0".join(texts.values()).encode()).hexdigest())
