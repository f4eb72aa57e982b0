"""Works cut into complete passages: at chapters, else scenes, stanzas, paragraphs, at worst between sentences.

A section between two headings that is neither too short nor too long is one passage. A longer one is cut where its
parts end, into pieces of about the same length. Positions are characters of the cleaned text.
"""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from reer.text import words

_BLOCK = re.compile(r"[^\n]+(?:\n[^\n]+)*")
_SCENE = re.compile(r"\s*(?:[*•⁂~#＊＃※◇◆]\s*){1,9}$|\s*[-–—_=]{3,}\s*$|\s*<?hr ?/?>?$")
_PARTS = "chapter|book|part|volume|canto|act|scene|letter|lecture|sermon|section|stave"
_CHINESE = r"第[一二三四五六七八九十百千零〇\d]{1,7}[章回节節卷篇部幕折出]|卷[之一二三四五六七八九十\d]"
_COUNTS = (
    "[ivxlc]+|[0-9]+|(?:the )?(?:first|second|third|fourth|fifth|sixth|seventh|eighth|ninth|tenth|last)"
    "|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|fifteen|sixteen|seventeen"
    "|eighteen|nineteen|(?:twenty|thirty)(?:-[a-z]+)?"
)
_NAMED = re.compile(
    rf"(?:{_PARTS}|prologue|epilogue|preface|introduction|contents)\b|{_CHINESE}|(?:[IVXLC]+|\d{{1,3}})[.:]?$",
    re.IGNORECASE,
)
"""How the line of a heading begins where it ends as no sentence does: "Part of the story"."""
_NUMBERED = re.compile(
    rf"(?:{_PARTS}) (?:{_COUNTS})\b|(?:prologue|epilogue|preface|introduction|contents)\W*$|{_CHINESE}"
    r"|(?:[IVXLC]+|\d{1,3})[.:]?$|(?-i:[IVXLC]{2,})[.:] \S",
    re.IGNORECASE,
)
"""The same where it ends with a full stop: "Part of him wanted to stay." is no heading."""
_QUOTED = re.compile(r"[\"“‘「『]([^\"“”「」『』]+)[\"”’」』]")
_REFERENCE = re.compile(r"\d:\d+(?:[-–]\d+)?$")
"""Of a motto: "Luke 10:42"."""
_ENDS_SENTENCE = ".!?…。！？;:,；：，—–-\"'”’」』）)]"
_SENTENCE = re.compile(r"(?<=[.!?…])[\"'”’)\]]*\s+(?=[\"'“‘(\[]?[^\Wa-z])|(?<=[。！？])[”’」』）]*")
_ENDED = re.compile(r"[.!?…。！？][\"'”’」』）)\]*_]*(?:\[?\d{1,3}\]?)?\s*$")
_LONGEST_HEADING = 80
_HEADING_WORDS = 12
_LONGEST_CAPITALS = 200
"""Of a heading in capitals, in characters: what old books say a chapter holds."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A span of a text."""

    start: int
    end: int
    words: int


@dataclass(frozen=True, slots=True)
class Passage:
    text: str
    start: int
    end: int
    words: int
    heading: str
    """The nearest one above it; empty where there is none."""


@dataclass(slots=True)
class _Section:
    heading: str
    parts: list[list[Piece]]
    """Paragraphs by scene."""

    @property
    def words(self) -> int:
        return sum(piece.words for scene in self.parts for piece in scene)


def cut(text: str, least: int, most: int) -> Iterator[Passage]:
    """Passages in their order; those shorter than `least` words and longer than `most` are among them, to be counted.

    One is longer than `most` only where a single sentence is.
    """
    for section in _sections(text):
        for run in _runs(section, text, least, most):
            start, end = run[0].start, run[-1].end
            yield Passage(text[start:end], start, end, sum(piece.words for piece in run), section.heading)


def _sections(text: str) -> Iterator[_Section]:
    section = _Section("", [[]])
    previous_end, below_heading = 0, False
    for block in _BLOCK.finditer(text):
        gap = text[previous_end : block.start()].count("\n")
        previous_end = block.end()
        if _SCENE.match(block.group()):
            section.parts.append([])
            below_heading = False
        elif heading := _heading(block.group(), apart=gap > 2 or below_heading):
            below_heading = True
            if section.words:
                yield section
                section = _Section("", [[]])
            section.heading = heading
        else:
            below_heading = False
            if gap > 2 and section.words:  # more than one empty line
                section.parts.append([])
            section.parts[-1].append(Piece(block.start(), block.end(), len(words(block.group()))))
    if section.words:
        yield section


def _heading(block: str, *, apart: bool) -> str:
    """The heading that a block is, without its signs; empty where it is none. `apart`: more than one empty line stands
    above it, or a heading."""
    first, *more = (line.strip() for line in block.strip().split("\n"))
    if marked := re.fullmatch(r"#{1,6} +(.+?) *#*", first):
        return "" if more else marked.group(1)
    if not more:
        return first if _is_title(first) or (apart and _is_set_off(first)) else ""
    whole = len(more) < 3 and _NAMED.match(first) and all(map(_is_title, [first, *more]))
    return " ".join([first, *more]) if whole else ""


def _is_title(line: str) -> bool:
    """A short line that begins as a name does and ends no sentence, or says what it is ("Chapter I.")."""
    if len(line) > _LONGEST_HEADING or not 0 < len(words(line)) <= _HEADING_WORDS or _REFERENCE.search(line):
        return False
    if line[-1] in _ENDS_SENTENCE:
        return _NUMBERED.match(line) is not None
    return _NAMED.match(line) is not None or line[0].isupper() or line[0].isdigit() or ord(line[0]) >= 0x3400


def _is_set_off(line: str) -> bool:
    """A title in quotation marks or a line in capitals; where it does not stand apart, it is speech or a shout."""
    if quoted := _QUOTED.fullmatch(line):
        return quoted.group(1)[-1] not in _ENDS_SENTENCE and _is_title(quoted.group(1))
    return line.isupper() and len(line) <= _LONGEST_CAPITALS and len(words(line)) > 1


def _runs(section: _Section, text: str, least: int, most: int) -> Iterator[Sequence[Piece]]:
    """The pieces of each passage of a section."""
    if section.words <= most:
        yield [piece for scene in section.parts for piece in scene]
        return
    for scenes in _grouped([(scene, sum(p.words for p in scene)) for scene in section.parts if scene], least, most):
        pieces = [piece for scene in scenes for piece in scene]
        if sum(piece.words for piece in pieces) <= most:
            yield pieces
        else:
            yield from _balanced(
                _glued([small for piece in pieces for small in _small(piece, text, most)], text, most), most
            )


def _grouped(scenes: Sequence[tuple[list[Piece], int]], least: int, most: int) -> Iterator[list[list[Piece]]]:
    """Scenes that are long enough stand alone; a shorter one goes with the next, if they fit together."""
    group: list[list[Piece]] = []
    size = 0
    for scene, length in scenes:
        if group and (size >= least or size + length > most):
            yield group
            group, size = [], 0
        group, size = [*group, scene], size + length
    if group:
        yield group


def _small(piece: Piece, text: str, most: int) -> Iterator[Piece]:
    """A paragraph; its lines or sentences, where it alone is too long."""
    if piece.words <= most:
        yield piece
        return
    body = text[piece.start : piece.end]
    ends = [match.end() for match in (re.finditer("\n", body) if _is_verse(body) else _SENTENCE.finditer(body))]
    start = 0
    for end in [*ends, len(body)]:
        if part := body[start:end].strip():
            begin = piece.start + start + body[start:end].index(part)
            yield Piece(begin, begin + len(part), len(words(part)))
        start = end


def _glued(pieces: Sequence[Piece], text: str, most: int) -> list[Piece]:
    """Pieces of which each but the last ends a sentence: what leads over to the next is one with it, and verse that
    prose quotes is one with the prose before it, if they fit together."""
    whole: list[Piece] = []
    before = ""
    for piece in pieces:
        body = text[piece.start : piece.end]
        quoted = before and _is_verse(body) and not _is_verse(before) and whole[-1].words + piece.words <= most
        if before and (quoted or not _ENDED.search(before)):
            last = whole.pop()
            piece = Piece(last.start, piece.end, last.words + piece.words)
        whole.append(piece)
        before = body
    return whole


def _is_verse(body: str) -> bool:
    lines = body.split("\n")
    return len(lines) > 3 and len(body) / len(lines) < 60


def _balanced(pieces: Sequence[Piece], most: int) -> Iterator[list[Piece]]:
    """As few passages as possible, of about the same length, none over `most` unless a single piece is."""
    left = sum(piece.words for piece in pieces)
    run: list[Piece] = []
    size = 0
    target = left / math.ceil(left / most)
    for piece in pieces:
        if run and (size + piece.words > most or size + piece.words / 2 > target):
            yield run
            left -= size
            run, size, target = [], 0, left / math.ceil(left / most)
        run, size = [*run, piece], size + piece.words
    if run:
        yield run
