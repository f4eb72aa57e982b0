"""The text inside HTML, EPUB and PDF (extra `books`).

Headings come out as `# Heading`, parts of a book two empty lines apart, lines of verse as lines.

Knows the formats; knows nothing of what a work is made of. The libraries are imported where they are used.
"""

import importlib
import posixpath
import re
import zipfile
import zlib
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from reer.errors import ConfigError

UNPACKED = 300_000_000
"""Bytes that all files of an EPUB may unpack to, pictures included. What an archive says of their sizes binds its
reader: no file is read beyond it."""
TEXT = 50_000_000
"""The same of one chapter."""
_HEADING = re.compile(r"(<h[1-6]\b[^>]*>)(.*?)(</h[1-6]>)", re.DOTALL | re.IGNORECASE)
_LINE_HYPHEN = "\ufffe"
"""What pdfium writes for a hyphen at the end of a line, and for the line's end with it."""
_TAG = re.compile(r"<[^>]+>")
_RULE = re.compile(r"<hr\b[^>]*>", re.IGNORECASE)
_NOTE_MARK = re.compile(
    r'<(a|sup)\b[^>]*epub:type="noteref"[^>]*>.*?</\1>|<a\b[^>]*epub:type="noteref"[^>]*>.*?</a>', re.DOTALL
)
_NO_CONTENT = re.compile(
    r'epub:type="[^"]*\b(?:titlepage|halftitlepage|imprint|colophon|copyright-page|toc|landmarks|loi|endnotes|cover)\b'
)
_NO_CONTENT_FILE = re.compile(
    r"(?:^|[/_-])(?:title-?page|half-?title-?page|imprint|colophon|uncopyright|copyright|toc|nav|cover|loi|endnotes)"
    r"\.x?html?$",
    re.IGNORECASE,
)


class Unreadable(Exception):
    """A file holds no text that can be used; the message says why."""


def html_text(source: str, *, main: bool = False) -> str:
    """The text of a page; with `main` without navigation, footers and the like, as far as they can be told."""
    html2text = _needs("resiliparse.extract.html2text")

    def marked(heading: re.Match[str]) -> str:
        words = " ".join(_TAG.sub(" ", heading.group(2)).split())
        return f"{heading.group(1)}# {words}{heading.group(3)}" if words else ""

    source = _NOTE_MARK.sub("", source)
    source = _RULE.sub("<p>* * *</p>", _HEADING.sub(marked, source))
    text: str = html2text.extract_plain_text(source, main_content=main, alt_texts=False, list_bullets=True)
    if not text.strip():
        raise Unreadable("holds no text")
    return text


def epub_text(path: Path) -> tuple[str, dict[str, str], dict[str, int]]:
    """The chapters of a book in their order, what it says of itself, and how many parts were left out as no content.

    Raises:
        Unreadable: it is no EPUB, unpacks to too much, or holds no text.
    """
    etree = _needs("lxml.etree")
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
            if size > UNPACKED:
                raise Unreadable(f"unpacks to {size:,} bytes, more than any book ({UNPACKED:,})")
            return _chapters(archive, etree)
    except _BROKEN as error:
        raise Unreadable(f"is no whole EPUB ({' '.join(str(error).split())})") from error
    except etree.XMLSyntaxError as error:
        raise Unreadable(f"is no whole EPUB ({error.msg})") from error


_BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError)
"""What `zipfile` says of an archive that is cut, packed in another way, or asks for a password."""


def _chapters(archive: zipfile.ZipFile, etree: Any) -> tuple[str, dict[str, str], dict[str, int]]:
    container = _xml(etree, _read(archive, "META-INF/container.xml"))
    root = container.find(".//{*}rootfile")
    if root is None or not root.get("full-path"):
        raise Unreadable("is no EPUB: its container names no package")
    package = root.get("full-path")
    opf = _xml(etree, _read(archive, package))
    files = {item.get("id"): item.get("href", "") for item in opf.iterfind(".//{*}manifest/{*}item")}
    spine = [item.get("idref") for item in opf.iterfind(".//{*}spine/{*}itemref") if item.get("linear") != "no"]
    parts, left_out = [], 0
    for idref in spine:
        if idref not in files:
            raise Unreadable(f"is no whole EPUB: its spine names {idref!r}, which is not in its manifest")
        name = posixpath.normpath(posixpath.join(posixpath.dirname(package), unquote(files[idref])))
        chapter = _chapter(archive, name)
        parts += [chapter] if chapter else []
        left_out += not chapter
    if not parts:
        raise Unreadable("holds no chapter with text")
    return "\n\n\n".join(parts), _about(opf), {"parts of a book without its text": left_out}


def _chapter(archive: zipfile.ZipFile, name: str) -> str:
    """The text of a file of the spine; empty for title pages, imprints, colophons, notes and pictures."""
    raw = _read(archive, name)
    try:
        source = raw.decode("utf-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise Unreadable(f"its part {name} is not UTF-8 at byte {error.start:,}") from error
    if _NO_CONTENT_FILE.search(name) or _NO_CONTENT.search(source[:3000]):
        return ""
    try:
        return html_text(source)
    except Unreadable:
        return ""


def _read(archive: zipfile.ZipFile, name: str) -> bytes:
    try:
        entry = archive.getinfo(name)
    except KeyError:
        raise Unreadable(f"is no whole EPUB: it holds no {name}") from None
    if entry.file_size > TEXT:
        raise Unreadable(f"its part {name} has {entry.file_size:,} bytes, more than any chapter ({TEXT:,})")
    return archive.read(entry)


def _xml(etree: Any, source: bytes) -> Any:
    return etree.fromstring(source, etree.XMLParser(resolve_entities=False, no_network=True))


def _about(opf: Any) -> dict[str, str]:
    found = {"title": "title", "creator": "author", "rights": "licence", "language": "language"}
    there = {ours: opf.find(f".//{{http://purl.org/dc/elements/1.1/}}{theirs}") for theirs, ours in found.items()}
    return {key: " ".join(node.text.split()) for key, node in there.items() if node is not None and node.text}


def pdf_text(path: Path) -> tuple[str, dict[str, str], dict[str, int]]:
    """The text of all pages, without lines that head or end most of them; words broken at the end of a line are whole.

    Columns that a file holds row by row are not taken apart: no library does.

    Raises:
        Unreadable: it is no PDF, asks for a password, or its pages are pictures.
    """
    pdfium = _needs("pypdfium2")
    try:
        document = pdfium.PdfDocument(path)
        try:
            pages = [_lines(page.get_textpage().get_text_range()) for page in document]
            about = {"title": document.get_metadata_value("Title"), "author": document.get_metadata_value("Author")}
        finally:
            document.close()
    except pdfium.PdfiumError as error:
        raise Unreadable(f"is no PDF that can be read ({error})") from error
    if not any(page.strip() for page in pages):
        raise Unreadable(f"its {len(pages)} pages hold no text: pictures of pages, which have to be recognised first")
    text, heads = _without_heads(pages)
    empty = sum(not page.strip() for page in pages)
    about = {key: value for key, value in about.items() if value}
    return _paragraphs(text), about, {"running heads": heads, "pages without text": empty}


def _without_heads(pages: list[str]) -> tuple[str, int]:
    """Pages as one text. A first or last line that stands on most pages, whatever its number, is no part of it."""
    lines = [[line.strip() for line in page.split("\n") if line.strip()] for page in pages]
    ends = Counter(_shape(line) for page in lines if len(page) > 2 for line in {page[0], page[-1]})
    heads = {shape for shape, n in ends.items() if len(pages) > 3 and n * 2 > len(pages)}
    kept, gone = [], 0
    for page in lines:
        body = [line for n, line in enumerate(page) if n not in (0, len(page) - 1) or _shape(line) not in heads]
        gone += len(page) - len(body)
        kept += body
    return "\n".join(kept), gone


def _shape(line: str) -> str:
    return re.sub(r"\d+", "0", line)


def _lines(page: str) -> str:
    return page.replace("\r\n", "\n").replace(_LINE_HYPHEN, "-\n")


def _paragraphs(text: str) -> str:
    """PDF knows lines alone: a line that is much shorter than the others and ends a sentence ends a paragraph.

    A hyphen between small letters at the end of a line is taken for one of the line, not of the word.
    """
    lines = text.split("\n")
    long = sorted(map(len, lines))[int(len(lines) * 0.8)]
    built = ""
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        if re.search(r"[^\W\d_]-$", line) and following[:1].islower():
            built += line[:-1]
        else:
            ends = len(line) < 0.8 * long and re.search(r"[.!?…。！？][\"'”’)]*$", line)
            built += f"{line}\n\n" if ends else f"{line} "
    return built.strip()


def _needs(module: str) -> Any:
    """Raises: ConfigError: the library is not installed."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ConfigError(f"this kind of text needs the extra `books`: pip install 'reer[books]' ({error})") from error
