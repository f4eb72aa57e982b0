"""What is no part of a work is taken off it: the frames of Project Gutenberg and Standard Ebooks, hard line breaks.

Every kind of thing that is taken away or changed is counted under its name; nothing else is touched.
"""

import re
import unicodedata
from collections import Counter
from statistics import median

_GUTENBERG_START = re.compile(
    r"^\*\*\* ?START OF (?:THE|THIS) PROJECT GUTENBERG E(?:BOOK|TEXT)\b[^*]*\*\*\*[ \t]*$"
    r"|^\*END[* ]*THE SMALL PRINT.*$|^\*\*\*START OF THE PROJECT GUTENBERG E(?:BOOK|TEXT)\b.*$",
    re.MULTILINE | re.IGNORECASE,
)
_GUTENBERG_END = re.compile(
    r"^\*\*\* ?END OF (?:THE|THIS) PROJECT GUTENBERG E(?:BOOK|TEXT)\b|^\*\*\*END OF THE PROJECT GUTENBERG"
    r"|^End of (?:the |this )?Project Gutenberg(?:'s|’s)? ",
    re.MULTILINE | re.IGNORECASE,
)
_CREDITS = re.compile(
    r"\A\s*(?:(?:E-?text )?(?:produced|prepared|transcribed|scanned) by|this e-?text was (?:produced|prepared)"
    r"|credits:|\[?transcriber(?:'s|’s) note|updated editions will)",
    re.IGNORECASE,
)
_STANDARD_FRONT = re.compile(
    r"This ebook is the product of many hours of hard work by volunteers for Standard Ebooks.*?"
    r"standardebooks\.org\.?[ \t]*(?=\n|$)",
    re.DOTALL,
)
_STANDARD_BACK = re.compile(
    r"^(?:#+ )?(?:Colophon|Uncopyright)[ \t]*\n(?=(?:.*\n){1,60}?.*(?:Standard Ebooks|CC0 1\.0 Universal))",
    re.MULTILINE,
)
_MARKS = re.compile(r"\[Illustration(?::[^\]]*)?\]")
_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u2064\ufeff]")
_UNDERSCORES = re.compile(r"(?<!\w)_(?=\S)([^_\n]+(?:\n[^_\n]+){0,3})(?<=\S)_(?!\w)")
_WRAPPED = range(55, 81)
"""Length of the lines of a text that was broken for a typewriter, in characters."""
_VERSE = 50
"""Lines that are shorter, or begin with a blank, stay apart."""


def clean(text: str) -> tuple[str, Counter[str]]:
    """The work itself, and how often each kind of thing was taken away."""
    done: Counter[str] = Counter()
    text = unicodedata.normalize("NFC", text.replace("\r\n", "\n").replace("\r", "\n").replace("\f", "\n\n\n"))
    text = _counted(_INVISIBLE, "", text, "invisible characters", done)
    text = _without_gutenberg(text, done)
    text = _without_standard(text, done)
    text = _counted(_MARKS, "", text, "[Illustration]", done)
    text = "\n".join(line.rstrip() for line in text.split("\n")).strip("\n")
    if _is_wrapped(text):
        text = _unwrapped(text, done)
        text = _counted(_UNDERSCORES, r"\1", text, "_italics_", done)
    return text, done


def header(text: str) -> dict[str, str]:
    """Title, author and character set as the head of a Gutenberg text names them; empty for other texts."""
    start = _GUTENBERG_START.search(text)
    head = text[: start.start()] if start else ""
    found = re.findall(r"^(Title|Author|Character set encoding): *(\S.*)$", head, re.MULTILINE)
    return {name.lower(): value.strip() for name, value in found} | ({"gutenberg": "yes"} if start else {})


def _counted(pattern: re.Pattern[str], new: str, text: str, name: str, done: Counter[str]) -> str:
    text, n = pattern.subn(new, text)
    if n:
        done[name] += n
    return text


def _without_gutenberg(text: str, done: Counter[str]) -> str:
    starts = list(_GUTENBERG_START.finditer(text))
    if starts:
        text = text[starts[-1].end() :]
        done["Gutenberg header"] += 1
    if end := _GUTENBERG_END.search(text):
        text = text[: end.start()]
        done["Gutenberg licence"] += 1
    while starts and (credit := _CREDITS.match(text)):
        text = text[credit.start() :].lstrip().partition("\n\n")[2]
        done["Gutenberg credits"] += 1
    return text


def _without_standard(text: str, done: Counter[str]) -> str:
    if back := _STANDARD_BACK.search(text):
        text = text[: back.start()]
        done["Standard Ebooks colophon"] += 1
    return _counted(_STANDARD_FRONT, "", text, "Standard Ebooks imprint", done)


def _is_wrapped(text: str) -> bool:
    """Whether lines end where the paper did: most lines that are followed by another have about the same length."""
    inner = [len(line) for part in text.split("\n\n") for line in part.split("\n")[:-1] if line]
    return len(inner) >= 20 and int(median(inner)) in _WRAPPED


def _unwrapped(text: str, done: Counter[str]) -> str:
    parts = re.split(r"(\n{2,})", text)
    for n, part in enumerate(parts[::2]):
        lines = part.split("\n")
        if len(lines) > 1 and not _is_verse(lines):
            parts[2 * n] = _joined(lines)
            done["hard-wrapped paragraphs"] += 1
    return "".join(parts)


def _is_verse(lines: list[str]) -> bool:
    """Lines of their own: most but the last are short, or are set in from the margin."""
    inner = lines[:-1]
    return sum(len(line) < _VERSE or line.startswith((" ", "\t")) for line in inner) * 2 > len(inner)


def _joined(lines: list[str]) -> str:
    """A line that ends with the hyphen of a compound is joined without a blank; letters are never taken away."""
    text = lines[0]
    for line in lines[1:]:
        text += line.strip() if re.search(r"\w-$|—$", text) else f" {line.strip()}"
    return text
