"""Cut thinking into segments, losing nothing: `"".join(split(z)) == z`.

A segment is a contiguous piece of the text with the white space that follows it. Paragraphs are the natural
segments; short ones join the next, long ones are cut at sentence ends. Knows sizes in words only.
"""

import re

from reer.leak import words

_PARAGRAPH = re.compile(r"\s*.+?(?:\n[ \t]*\n\s*|\Z)", re.DOTALL)
_SENTENCE_END = re.compile(r"(?<![A-Z])[.!?…]+[\"'”’)\]]*\s+|[。！？]+[”’」』）]*\s*")
_ABBREVIATION = re.compile(r"\b(?:Mr|Mrs|Ms|Dr|St|vs|etc|e\.g|i\.e|cf)\.\s+\Z")


def split(text: str, min_words: int, max_words: int) -> tuple[str, ...]:
    """Segments of about `min_words` to `max_words` words (Chinese: characters), in order.

    A single sentence longer than `max_words` stays whole.
    """
    if not text:
        return ()
    pieces: list[str] = []
    for paragraph in _PARAGRAPH.findall(text) or [text]:
        fits = len(words(paragraph)) <= max_words
        pieces += [paragraph] if fits else _chunks(sentences(paragraph), min_words, max_words)
    return tuple(_join_short(pieces, min_words))


def sentences(text: str) -> list[str]:
    """Sentences with the white space after them; their concatenation is the text."""
    found, start = [], 0
    for end in (match.end() for match in _SENTENCE_END.finditer(text)):
        if not _ABBREVIATION.search(text[start:end]):
            found.append(text[start:end])
            start = end
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


def _chunks(pieces: list[str], min_words: int, max_words: int) -> list[str]:
    """Neighbouring sentences together while they stay under `max_words`, each chunk at least `min_words`."""
    chunks = [""]
    for piece in pieces:
        size = len(words(chunks[-1]))
        if size >= min_words and size + len(words(piece)) > max_words:
            chunks.append("")
        chunks[-1] += piece
    return chunks


def _join_short(pieces: list[str], min_words: int) -> list[str]:
    """Pieces under `min_words` join the next one, the last one the one before it."""
    joined: list[str] = []
    carry = ""
    for piece in pieces:
        carry += piece
        if len(words(carry)) >= min_words:
            joined.append(carry)
            carry = ""
    if carry and joined:
        joined[-1] += carry
    elif carry:
        joined.append(carry)
    return joined
