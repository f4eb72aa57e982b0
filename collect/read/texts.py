"""Works from files: which there are, their bytes as text, what they say of themselves.

One broken file stops no other.
"""

import html
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from reer.errors import DataError
from reer.files.pairs import Quarantined
from reer.files.rows import files_of

from ..clean import header
from .books import Unreadable, epub_text, html_text, pdf_text

LARGEST = 300_000_000
"""Bytes of a file of text that is read; a longer one is no book."""
_FRONT_MATTER = re.compile(r"\A---\n(.*?)\n---\n", re.DOTALL)
_CHARSET = re.compile(rb"Character set encoding: *(ISO-?8859-1|Latin-?1|Windows-1252|cp-?1252)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Document:
    """A work as its file holds it."""

    name: str
    """Of the file, seen from the source's folder."""
    text: str
    about: dict[str, str] = field(default_factory=dict)
    """title, author, licence, as far as the file tells."""
    notes: dict[str, int] = field(default_factory=dict)
    """What reading left out, and how often."""

    @property
    def origin(self) -> str:
        """Author and title, or the name of the file."""
        known = [self.about[key] for key in ("author", "title") if self.about.get(key)]
        return f"{', '.join(known)} ({self.name})" if known else self.name


def read_texts(path: Path) -> Iterator[Document | Quarantined]:
    """The works of a file, a folder or a pattern, in the order of their names; what cannot be read is set aside.

    Raises:
        DataError: there is no such file, or none of a kind that is read.
    """
    paths = text_files(path)
    root = path if path.is_dir() else Path(os.path.commonpath([file.parent for file in paths]))
    for file in paths:
        name = file.relative_to(root).as_posix()
        try:
            yield READERS[file.suffix.lower()](file, name)
        except Unreadable as error:
            yield Quarantined(name, 1, str(error), "")
        except OSError as error:
            yield Quarantined(name, 1, f"cannot be read ({error.strerror or error})", "")


def text_files(path: Path) -> list[Path]:
    """Raises: DataError: no file of a kind that is read."""
    if path.is_dir():
        inside = (file for file in path.rglob("*") if file.is_file() and file.suffix.lower() in READERS)
        found = sorted(f for f in inside if not any(part.startswith(".") for part in f.relative_to(path).parts))
        if not found:
            raise DataError(f"{path}: holds no text ({', '.join(READERS)})")
        return found
    found = files_of(path)
    if unknown := [file for file in found if file.suffix.lower() not in READERS]:
        raise DataError(f"{unknown[0]}: no kind of text that is read ({', '.join(READERS)})")
    return found


def decoded(raw: bytes) -> str:
    """Bytes as text: UTF-8, UTF-16 with its mark, or the character set that the text itself names.

    Raises:
        Unreadable: none of them.
    """
    if len(raw) > LARGEST:
        raise Unreadable(f"{len(raw):,} bytes: longer than any book ({LARGEST:,})")
    encoding = "utf-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    if _CHARSET.search(raw[:4000]):
        encoding = "cp1252"
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError as error:
        raise Unreadable(
            f"is not {encoding.removesuffix('-sig')} at byte {error.start:,}; save it as UTF-8"
        ) from error
    if "\0" in text:
        raise Unreadable("holds NUL bytes: no text")
    if not text.strip():
        raise Unreadable("is empty")
    return text


def _plain(path: Path, name: str) -> Document:
    text = decoded(path.read_bytes())
    about = header(text)
    if "gutenberg" in about:
        about["licence"] = "Public domain in the US (Project Gutenberg)"
    return Document(name, text, about)


def _markdown(path: Path, name: str) -> Document:
    """Its own signs stay: models write them too."""
    text = decoded(path.read_bytes()).replace("\r\n", "\n")
    front = _FRONT_MATTER.match(text)
    found = re.findall(r"^(title|author|licence|license): *(.+?) *$", front.group(1) if front else "", re.MULTILINE)
    about = {key.replace("license", "licence"): value.strip("\"'") for key, value in found}
    return Document(name, text[front.end() :] if front else text, about, {"YAML front matter": int(bool(front))})


def _html(path: Path, name: str) -> Document:
    source = decoded(path.read_bytes())
    title = re.search(r"<title[^>]*>(.*?)</title>", source, re.DOTALL | re.IGNORECASE)
    about = {"title": " ".join(html.unescape(title.group(1)).split())} if title else {}
    return Document(name, html_text(source, main=True), about)


def _epub(path: Path, name: str) -> Document:
    return Document(name, *epub_text(path))


def _pdf(path: Path, name: str) -> Document:
    return Document(name, *pdf_text(path))


READERS: dict[str, Callable[[Path, str], Document]] = {
    ".txt": _plain,
    ".md": _markdown,
    ".markdown": _markdown,
    ".html": _html,
    ".htm": _html,
    ".xhtml": _html,
    ".epub": _epub,
    ".pdf": _pdf,
}
