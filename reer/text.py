"""What every part of the project needs of a text: its words, its language, its content hash.

Knows nothing but the standard library.
"""

import hashlib
import json
import re
import unicodedata

_CJK = r"[\u3040-\u30ff\u3400-\u9fff\U00020000-\U0003ffff]"
_HAS_CJK = re.compile(_CJK)
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")
_WORD_OR_CJK = re.compile(rf"{_CJK}|(?:(?!{_CJK})[^\W_])+(?:'(?:(?!{_CJK})[^\W_])+)*")  # three times slower


def words(text: str) -> list[str]:
    """Lower-cased words; every Chinese or Japanese character is a word of its own."""
    plain = unicodedata.normalize("NFKC", text).lower().replace("’", "'")
    return (_WORD_OR_CJK if _HAS_CJK.search(plain) else _WORD).findall(plain)


def is_cjk(word: str) -> bool:
    return _HAS_CJK.match(word) is not None


def language_of(text: str) -> str:
    """zh where most of the text is Chinese characters, else en."""
    found = words(text)
    return "zh" if found and sum(map(is_cjk, found)) > len(found) / 2 else "en"


def encodable(text: str) -> str:
    """The text with a question mark for each half of a surrogate pair, which JSON can name and no file can hold."""
    return text.encode("utf-8", "replace").decode()


def digest(*parts: object) -> str:
    """A content hash of JSON-able parts."""
    return hashlib.sha256(json.dumps(parts, ensure_ascii=False, sort_keys=True).encode()).hexdigest()


def seed_of(*parts: object) -> int:
    """A seed in [0, 2**63) that depends on nothing but its parts: not on worker, rank, batch or time."""
    return int(digest(*parts)[:16], 16) >> 1
