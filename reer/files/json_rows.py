"""JSON as people have it: a list, lines, objects one behind another, a list under a key; read piece by piece.

What a file holds decides, not how it is called. Knows nothing of what a row means but the names that show one.
"""

import json
import re
from collections.abc import Callable, Iterator
from itertools import chain
from typing import IO, Any

from reer.errors import DataError

CHUNK = 1 << 20
"""Characters of a text that are read at once."""
NOT_UNICODE = "half of a surrogate pair: it holds text that is no Unicode"
ROW_KEYS = frozenset(
    ("messages", "conversations", "conversation", "chat", "history", "query", "question", "prompt", "instruction")
    + ("answer", "solution", "completion", "response", "output", "story")
)
"""Keys that belong to a row rather than to an object with rows in it."""
_SURROGATE = re.compile("[\ud800-\udfff]")
_MEMBER = r'\s*"[^"\\]*"\s*:\s*(?:"[^"\\]*(?:\\.[^"\\]*)*"|[-+.\w]+)\s*,'
_UNDER_KEY = re.compile(rf'\s*\{{(?:{_MEMBER})*\s*"[^"\\]*"\s*:\s*(?=\[\s*(?:\{{|\]))')
"""The beginning of an object up to its first list of objects, where only texts and numbers stand before that."""
_KEY = re.compile(r'"([^"\\]*)"\s*:')
_ANOTHER = re.compile(r'"([^"\\]*)"\s*:\s*\[\s*\{')
_SPACE = re.compile(r"[\s,]*")
Refuse = Callable[[str], DataError]
"""Makes the error of a sentence: it knows the file."""
Found = tuple[str, Any]
"""A row as it stands in the text, and its value."""


class BadRow(ValueError):
    """A row that cannot be used; the message is the reason."""


def parsed(raw: bytes) -> Any:
    """The JSON value of a line, or the `BadRow` that says why there is none."""
    try:
        text = raw.decode().rstrip()
        text = text[1:] if text.startswith("\ufeff") else text
        return _unicode(text, json.loads(text))
    except UnicodeDecodeError as error:
        return BadRow(f"not UTF-8 (byte {error.start + 1})")
    except json.JSONDecodeError as error:
        return BadRow(f"broken JSON: {error.msg} (column {error.colno})")
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, brackets without end
        return BadRow(f"JSON that cannot be read: {error}")


def _unicode(text: str, value: Any) -> Any:
    """The value, if it can be written again: JSON can name half of a surrogate pair, which no file can hold."""
    return BadRow(NOT_UNICODE) if ("\\ud" in text or "\\uD" in text) and _broken(value) else value


def _broken(value: Any) -> bool:
    if isinstance(value, str):
        return _SURROGATE.search(value) is not None
    if isinstance(value, dict):
        return any(map(_broken, value)) or any(map(_broken, value.values()))
    return isinstance(value, list) and any(map(_broken, value))


def is_lines(file: IO[bytes], named: bool) -> bool:
    """Whether a file has one value per line; `named` so it is one that its name promises to be."""
    filled = (line for line in iter(lambda: file.readline(CHUNK), b"") if not line.isspace())
    head, second = next(filled, b"").removeprefix(b"\xef\xbb\xbf").strip(), next(filled, b"").lstrip()
    whole = not isinstance(parsed(head), BadRow)
    goes_on = not whole and head.endswith((b"[", b",", b"{"))
    if named:
        opens = head == b"{" and second or head.startswith(b"[") and (goes_on or not second)
        return not opens
    return head.startswith(b"{") and (bool(second) if whole else second.startswith(b"{") and not goes_on)


def rows_of(file: IO[str], refuse: Refuse) -> Iterator[Found]:
    """The rows of a text of which the lines mean nothing.

    Raises:
        DataError: the text is broken, holds no rows, or several lists of them.
    """
    text = _Text(file, refuse)
    if not text.opens_list():
        yield from _objects(text, refuse)
        return
    yield from text.values(in_list=True)
    rest = text.rest()
    if another := _ANOTHER.search(rest):
        raise refuse(f"holds another list of rows ({another.group(1)}); give each a file of its own")
    if not text.under_key and rest.strip():
        raise refuse("broken JSON: there is more behind the list")


class _Text:
    """A JSON text of which a piece is in memory."""

    def __init__(self, file: IO[str], refuse: Refuse) -> None:
        self.file, self.refuse = file, refuse
        self.buffer, self.at = file.read(CHUNK), 0
        self.under_key = False

    def opens_list(self) -> bool:
        """Go into the list of rows, if it can be seen from here."""
        head = _UNDER_KEY.match(self.buffer)
        self.under_key = head is not None and not ROW_KEYS.intersection(_KEY.findall(head.group()))
        self.at = head.end() if head and self.under_key else len(self.buffer) - len(self.buffer.lstrip())
        if self.buffer[self.at : self.at + 1] != "[":
            return False
        self.at += 1
        return True

    def values(self, *, in_list: bool) -> Iterator[Found]:
        """Each item up to the end of the list, or each value up to that of the file."""
        decode, number = json.JSONDecoder().raw_decode, 0
        while not self._ended(in_list):
            try:
                value, end = decode(self.buffer, self.at)
            except (ValueError, RecursionError) as error:
                if not self._grow():
                    raise self.refuse(f"broken JSON after row {number} ({error})") from error
                continue
            if end == len(self.buffer) and self._grow():  # a number may go on
                continue
            raw = self.buffer[self.at : end]
            number += 1
            yield raw, _unicode(raw, value)
            self.at = end
            if self.at > CHUNK:
                self.buffer, self.at = self.buffer[self.at :], 0

    def _ended(self, in_list: bool) -> bool:
        while True:
            self.at = _SPACE.match(self.buffer, self.at).end()  # type: ignore[union-attr]
            if self.at < len(self.buffer) or not self._grow():
                break
        if in_list and self.buffer[self.at : self.at + 1] == "]":
            self.at += 1
            return True
        return not in_list and self.at == len(self.buffer)

    def _grow(self) -> bool:
        more = self.file.read(max(CHUNK, len(self.buffer) - self.at))
        self.buffer, self.at = self.buffer[self.at :] + more, 0
        return bool(more)

    def rest(self) -> str:
        return self.buffer[self.at :] + self.file.read()


def _objects(text: _Text, refuse: Refuse) -> Iterator[Found]:
    """Objects one behind another; of a single one the rows may be a list in it."""
    values = text.values(in_list=False)
    first, second = next(values, None), next(values, None)
    if first and second:
        yield from chain((first, second), values)
    elif first:
        yield from _in_object(*first, refuse)


def _in_object(raw: str, value: Any, refuse: Refuse) -> Iterator[Found]:
    if not isinstance(value, dict) or not value:
        raise refuse("holds no list of rows")
    lists = [key for key, part in value.items() if isinstance(part, list) and part and isinstance(part[0], dict)]
    if ROW_KEYS.intersection(value) or not lists:
        yield raw, value
    elif len(lists) > 1:
        raise refuse(f"holds several lists of rows ({', '.join(lists)}); give each a file of its own")
    else:
        yield from ((json.dumps(row, ensure_ascii=False), row) for row in value[lists[0]])
