r"""Cut thinking into segments, losing nothing: `"".join(split(z, ...)) == z`.

A segment is a contiguous piece of the text with the white space that follows it. Paragraphs are the natural
segments; short ones join the next, long ones are cut at the best boundaries they have: list items and lines of
dialogue, sentence ends, lines, clauses, words, at last Chinese and Japanese characters.

Code fences and LaTeX are never cut: a copy of the text has them painted over, and boundaries are only ever looked
for in that copy. Knows English and Chinese punctuation; of tokens only what the caller's `count` says. Knows nothing
of nested `\begin{x}` of the same name (the inner one is whole) nor of Markdown tables and indented code.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate, pairwise
from math import ceil

_CJK = r"\u3040-\u30ff\u3400-\u9fff\U00020000-\U0003ffff"
_CLOSING = "，。！？；：、…”」』）》】〉"
_OPENING = "“‘「『（《【〈"

# In every body the opener is refused, so that a text full of unclosed openers is still read only once.
_WHOLE = re.compile(
    r"""
    ^[^\S\n]* (?P<fence>`{3,}(?=[^`\n]*$)|~{3,}) (?s:.*?) (?:\n[^\S\n]*(?P=fence)[`~]*[^\S\n]*$|\Z)
    | (?<!\\)\\\[ (?:[^\\]|\\[^][])* \\\]
    | (?<!\\)\\\( (?:[^\\\n]|\\[^()]|\n(?![^\S\n]*\n))* \\\)
    | (?<!\\)\\begin\{(?P<name>[\w*]+)\} (?:[^\\]|\\(?!(?:begin|end)\{(?P=name)\}))* \\end\{(?P=name)\}
    | (?<!\\)\$\$ (?:[^$\\]|\\[\s\S]|\$(?!\$))* \$\$
    # not money: white space inside the dollars or a digit behind them
    | (?<![\\$])\$(?![\s$]) (?:[^$\\\n]|\\.|\n(?![^\S\n]*\n))+ (?<!\s)\$(?!\d)
    """,
    re.VERBOSE | re.MULTILINE,
)

_BLANK_LINE = re.compile(r"(?<=\S)[^\S\n]*\n[^\S\n]*\n\s*(?=\S)")
_LINE_BREAK = re.compile(r"(?<=\S)[^\S\n]*\n\s*")
_ITEM = re.compile(
    r"\s*(?:[-*+]\s|[•‣◦·①-⑳]|\d{1,3}[.)、．）](?!\d)|[（(](?:\d{1,3}|[一二三四五六七八九十]{1,3}|[a-zA-Z])[）)]"
    r"|[一二三四五六七八九十]{1,3}[、．.]|[a-zA-Z]\)\s)"
)
_SPEECH = re.compile(r"[\"“„'‘「『«—]|--|–\s|\**[^\W\d_a-z][\w.'’· -]{0,30}(?:：|:(?![/\d]))")
_LINE_ENDS = frozenset(".!?…:\"'”’»)。！？：」』）")

# Behind an ellipsis or a closing quote a small letter goes on with the sentence: “Really?” he asked.
_SENTENCE_END = re.compile(
    r"(?<![.!?…])(?:[.!?]+(?<!\.\.)\s+|[.!?…]+[\"'”’)\]]*\s+(?![a-z\s]))|[。！？]+…*[”’」』）]*\s*"
)
_NO_END = re.compile(
    r"(?:\b(?:Mr|Mrs|Ms|Dr|Prof|Rev|Capt|Lt|Sgt|St|Jr|Sr|vs|etc|e\.g|i\.e|cf|ca|al|Fig|Vol|pp|[A-HJ-Z])"
    r"|^[ \t]*(?:\d{1,3}|[IVX]{1,4}))\.\Z",
    re.MULTILINE,
)
_CLAUSE_END = re.compile(
    rf"[,;:][\"'”’)\]]*\s+|(?:—+|--+)\s*|[，；：、][”’」』）]*\s*|…+[”’」』）]*\s*(?=[{_CJK}{_OPENING}])"
)
_SPACE = re.compile(r"(?<=\S)\s+")
_CHARACTER = re.compile(rf"(?<=[\w{_CLOSING}])(?=[{_CJK}{_OPENING}])|(?<=[{_CJK}{_CLOSING}])(?=\w)")


def split(text: str, min_tokens: int, max_tokens: int, count: Callable[[str], int]) -> tuple[str, ...]:
    """Segments of about `min_tokens` to `max_tokens`, in order; none empty, none blank unless the text is.

    Sizes are those of the counted pieces, added up. A piece under `min_tokens` joins the next, the last the one
    before, so that only a text that is too short as a whole gives a shorter segment. Every segment has less than
    `max_tokens + min_tokens`, the last less than `max_tokens + 2 * min_tokens`, unless it holds a fence, a formula or
    a run without any boundary that alone is over `max_tokens`. No text is counted more than once per kind of boundary.
    """
    if not text:
        return ()
    cutter = _Cutter(text, _painted(text), max_tokens, count)
    paragraphs = cutter.units(cutter.piece(0, len(text)), _paragraphs)
    pieces = [piece for paragraph in paragraphs for piece in cutter.fit(paragraph)]
    return tuple(text[piece.start : piece.end] for piece in _join_short(pieces, min_tokens))


def sentences(text: str) -> list[str]:
    """Sentences with the white space after them; their concatenation is the text."""
    found, start = [], 0
    for end in _SENTENCE_END.finditer(text):
        if not _NO_END.search(text, max(start, end.start() - 8), end.start() + 1):
            found.append(text[start : end.end()])
            start = end.end()
    return [*found, text[start:]] if start < len(text) else found


def parts(text: str, n: int) -> list[str]:
    """At most `n` contiguous parts of about equal length, cut at sentence ends; their concatenation is the text."""
    found = [""] * n
    done = 0
    for sentence in sentences(text):
        middle = done + len(sentence) / 2
        found[min(n - 1, int(middle / len(text) * n))] += sentence
        done += len(sentence)
    return [part for part in found if part]


def with_core(segment: str, core: str) -> str:
    """The segment with its text exchanged and the white space around it kept."""
    stripped = segment.strip()
    lead, _, trail = segment.partition(stripped) if stripped else ("", "", segment)
    return f"{lead}{core}{trail}"


@dataclass(frozen=True, slots=True)
class _Piece:
    start: int
    end: int
    size: int

    def __add__(self, following: "_Piece") -> "_Piece":
        return _Piece(self.start, following.end, self.size + following.size)


@dataclass(frozen=True, slots=True)
class _Cutter:
    text: str
    painted: str
    limit: int
    count: Callable[[str], int]

    def piece(self, start: int, end: int) -> _Piece:
        return _Piece(start, end, self.count(self.text[start:end]))

    def fit(self, piece: _Piece, level: int = 0) -> list[_Piece]:
        """The piece cut at the best boundaries that make it fit, as far as it has any."""
        if piece.size <= self.limit or level == len(_BOUNDARIES):
            return [piece]
        chunks = _packed(self.units(piece, _BOUNDARIES[level]), self.limit)
        return [part for chunk in chunks for part in self.fit(chunk, level + 1)]

    def units(self, piece: _Piece, boundaries: Callable[[str], Iterable[int]]) -> list[_Piece]:
        """The piece cut at every boundary."""
        found = boundaries(self.painted[piece.start : piece.end])
        inner = [piece.start + place for place in found if piece.start + place < piece.end]
        cuts = pairwise([piece.start, *inner, piece.end])
        return [self.piece(start, end) for start, end in cuts] if inner else [piece]


def _packed(units: list[_Piece], limit: int) -> list[_Piece]:
    """Neighbours together in chunks of about equal size; only a chunk of one unit is over the limit."""
    total = sum(unit.size for unit in units)
    share = total / ceil(total / limit)
    chunks: list[_Piece] = []
    for unit in units:
        if chunks and chunks[-1].size < share and chunks[-1].size + unit.size <= limit:
            chunks[-1] += unit
        else:
            chunks.append(unit)
    return chunks


def _join_short(pieces: list[_Piece], min_tokens: int) -> list[_Piece]:
    """Pieces under `min_tokens` join the next one, the last one the one before it."""
    joined = pieces[:1]
    for piece in pieces[1:]:
        if joined[-1].size < min_tokens:
            joined[-1] += piece
        else:
            joined.append(piece)
    if len(joined) > 1 and joined[-1].size < min_tokens:
        last = joined.pop()
        joined[-1] += last
    return joined


def _painted(text: str) -> str:
    """The text with all that must stay whole turned into words: same places, no boundaries inside."""
    return _WHOLE.sub(lambda whole: with_core(whole.group(), "Z" * len(whole.group().strip())), text)


def _paragraphs(text: str) -> list[int]:
    """Starts of paragraphs; in a text without blank lines every line is one."""
    return [gap.end() for gap in _BLANK_LINE.finditer(text)] or [gap.end() for gap in _lines(text)]


def _lines(text: str) -> Iterator[re.Match[str]]:
    """The breaks between lines, save those before the indented further lines of an item."""
    in_item = _ITEM.match(text) is not None
    for gap in _LINE_BREAK.finditer(text):
        begins = _ITEM.match(text, gap.end()) is not None
        indented = not gap.group().endswith("\n")
        in_item = begins or (in_item and indented)
        if begins or not in_item:
            yield gap


def _blocks(text: str) -> Iterator[int]:
    """Starts of items, of speeches and of lines after a full stop: wrapped prose breaks its other lines anywhere."""
    for gap in _lines(text):
        place = gap.end()
        if text[gap.start() - 1] in _LINE_ENDS or _ITEM.match(text, place) or _SPEECH.match(text, place):
            yield place


def _sentence_starts(text: str) -> Iterator[int]:
    return accumulate(map(len, sentences(text)))


def _ends(pattern: re.Pattern[str]) -> Callable[[str], Iterator[int]]:
    return lambda text: (match.end() for match in pattern.finditer(text))


_BOUNDARIES: tuple[Callable[[str], Iterable[int]], ...] = (
    _blocks,
    _sentence_starts,
    _ends(_LINE_BREAK),
    _ends(_CLAUSE_END),
    _ends(_SPACE),
    _ends(_CHARACTER),
)
