"""What every part of the project needs of a text: its words, its language, its content hash.

Knows nothing but the standard library.
"""

import functools
import hashlib
import json
import re
import unicodedata
from collections.abc import Sequence
from json.encoder import encode_basestring

_CJK = r"[\u3040-\u30ff\u3400-\u9fff\U00020000-\U0003ffff]"
_HAS_CJK = re.compile(_CJK)
_CJK_RUN = re.compile(f"{_CJK}+")
_MAY_BE_CJK = re.compile("[\u2e80-\U0003ffff]")
"""What is Chinese or Japanese, or may be once it is normalised."""
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")
_WORD_OR_CJK = re.compile(rf"{_CJK}|(?:(?!{_CJK})[^\W_])+(?:'(?:(?!{_CJK})[^\W_])+)*")  # three times slower

_QUOTED = re.compile(r"“[^”\n]{0,400}”|「[^」\n]{0,400}」|『[^』\n]{0,400}』|\"[^\"\n]{0,400}\"")


def words(text: str) -> list[str]:
    """Lower-cased words; every Chinese or Japanese character is a word of its own."""
    plain = unicodedata.normalize("NFKC", text).lower().replace("’", "'")
    return (_WORD_OR_CJK if _HAS_CJK.search(plain) else _WORD).findall(plain)


def without_quotes(text: str) -> str:
    """The text with the words in quotation marks made unreadable: same length, same punctuation.

    What stands there is somebody else's doubt, request or story.
    """
    return _QUOTED.sub(lambda quoted: re.sub(r"\w", "x", quoted.group()), text)


def repeats(tokens: Sequence[str], n: int, share: float) -> bool:
    """Whether more than a share of the runs of n words stood before; fewer than ten runs count as ten."""
    runs = list(zip(*(tokens[start:] for start in range(n)), strict=False))
    return len(runs) - len(set(runs)) > share * max(10, len(runs))


def is_cjk(word: str) -> bool:
    return _HAS_CJK.match(word) is not None


def language_of(text: str) -> str:
    """zh where most of the text is Chinese characters, else en."""
    if text.isascii() or not _MAY_BE_CJK.search(text):
        return "en"
    runs = _CJK_RUN.findall(text)
    characters = len("".join(runs))
    if 2 * characters > len(text):  # a word needs a character at least
        return "zh"
    others = words(_CJK_RUN.sub(" ", text))
    odd = sum(map(is_cjk, others))  # written in a compatible form
    return "zh" if characters + odd > len(others) - odd else "en"


def encodable(text: str) -> str:
    """The text with a question mark for each half of a surrogate pair, which JSON can name and no file can hold."""
    return text.encode("utf-8", "replace").decode()


_encode = json.JSONEncoder(ensure_ascii=False, sort_keys=True).encode


def digest(*parts: object) -> str:
    """A content hash of JSON-able parts."""
    return hashlib.sha256(_encode(parts).encode()).hexdigest()


def digest_of_texts(*texts: str) -> str:
    """The `digest` of texts alone, in half the time."""
    return hashlib.sha256(f"[{', '.join(map(encode_basestring, texts))}]".encode()).hexdigest()


def seed_of(*parts: object) -> int:
    """A seed in [0, 2**63) that depends on nothing but its parts: not on worker, rank, batch or time."""
    return int(digest(*parts)[:16], 16) >> 1


LANGUAGES = {
    "en": "english eng anglais 英文 英语 英語",
    "zh": "chinese chi zho cmn mandarin cantonese yue wuu lzh 中文 汉语 漢語 华语 普通话 简体中文 繁體中文 繁体中文",
    "de": "german deutsch deu ger", "fr": "french français fra fre", "es": "spanish español spa",
    "it": "italian italiano ita", "pt": "portuguese português por", "nl": "dutch nederlands nld dut",
    "ru": "russian русский rus", "uk": "ukrainian ukr", "pl": "polish polski pol", "cs": "czech ces cze",
    "sv": "swedish svenska swe", "da": "danish dansk dan", "fi": "finnish suomi fin", "tr": "turkish türkçe tur",
    "ar": "arabic ara", "he": "hebrew heb", "fa": "persian farsi fas per", "hi": "hindi hin", "bn": "bengali ben",
    "ja": "japanese 日本語 日语 jpn", "ko": "korean 한국어 韩语 kor", "vi": "vietnamese vie", "th": "thai tha",
    "id": "indonesian ind", "ms": "malay msa may", "el": "greek ell gre", "ro": "romanian ron rum",
    "hu": "hungarian magyar hun", "la": "latin lat",
}  # fmt: skip
"""ISO 639-1 code -> other names of the language in lower case: its own, the English one, those of ISO 639-2 and 3."""
_CODES = {name: code for code, names in LANGUAGES.items() for name in (code, *names.split())}


@functools.cache
def language_code(name: str) -> str | None:
    """The two-letter code of a language named `English`, `EN`, `en-US`, `zh_Hans`, `cmn` or 中文; None: not known."""
    plain = unicodedata.normalize("NFKC", name).strip().lower()
    first, *_ = re.split(r"[-_ (（]", plain)
    return _CODES.get(plain) or _CODES.get(first) or next((_CODES[w] for w in plain.split() if w in _CODES), None)
