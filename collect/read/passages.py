"""Works as passages that want a query: read, cleaned, cut. A passage is an `Example` whose query is still empty."""

from collections.abc import Iterator
from pathlib import Path

from reer.config import SourceConfig
from reer.errors import ConfigError
from reer.files.pairs import Notes, Quarantined
from reer.text import language_code, language_of, words
from reer.types import Example

from ..clean import clean
from ..cut import Passage, cut
from .pairs import described
from .texts import Document, read_texts

RIDES = ("title", "author")
"""Of what a work says of itself: what its passages keep."""


def from_texts(source: SourceConfig, notes: Notes) -> Iterator[Example | Quarantined]:
    """The passages of every work, those of a wrong length among them; works that cannot be used are set aside.

    `source.limit` counts passages of a right length.

    Raises:
        ConfigError: no path is given, or the least length is above the greatest.
        DataError: there is no such file, or none of a kind that is read.
    """
    if source.path is None:
        raise ConfigError("source.path is missing: a folder, a file or a pattern of texts")
    if source.min_words > source.max_words:
        raise ConfigError(f"source.min_words={source.min_words} is more than source.max_words={source.max_words}")
    count = 0
    for document in read_texts(Path(source.path)):
        for row in _passages(document, source, notes):
            if source.limit is not None and count >= source.limit:
                return
            yield row
            count += isinstance(row, Example) and off_length(row, source) is None


def off_length(row: Example, source: SourceConfig) -> str | None:
    """Under which name a passage of a wrong length is counted; a pair that came with its query has none."""
    if row.query:
        return None
    length = len(words(row.answer))
    return "short_passage" if length < source.min_words else "long_passage" if length > source.max_words else None


def _passages(document: Document | Quarantined, source: SourceConfig, notes: Notes) -> Iterator[Example | Quarantined]:
    if isinstance(document, Quarantined):
        yield document
        return
    text, done = clean(document.text)
    notes.cleaned.update(done)
    notes.cleaned.update(document.notes)
    found = False
    for passage in cut(text, source.min_words, source.max_words):
        found = True
        yield described(_example(document, passage), source, document.name)
    if not found:
        yield Quarantined(document.name, 1, "holds no passage once titles and notices are taken off", text[:1000])


def _example(document: Document, passage: Passage) -> Example:
    """Named by its place in the cleaned work."""
    about = {key: document.about[key] for key in RIDES if document.about.get(key)}
    return Example(
        id=f"{document.name}:{passage.start}",
        query="",
        answer=passage.text,
        language=language_code(document.about.get("language", "")) or language_of(passage.text),
        source=document.origin,
        licence=document.about.get("licence", ""),
        extra={"document": document.name, **about, "heading": passage.heading},
    )
