"""Texts that are tokenised apart and put together again: no blank comes in at a seam, and none gets lost.

The SentencePiece kinds put a blank before every text they are given and take one off every text they give back. For
what stands at the beginning of a document that is right; for a part that follows another it is not.
"""

import copy
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from reer.errors import ModelError

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerBase

_PROBE = "a e\n\na  e\ne"
"""What every tokenizer that can be used gives back as it is: blanks, a blank line, line breaks."""


class Parts(Protocol):
    """Ids of a part of a text, and the text of a part of the ids: of whatever stands beside it they know nothing."""

    def encode(self, text: str) -> tuple[int, ...]: ...

    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool) -> str: ...


def parts_of(tokenizer: "PreTrainedTokenizerBase", name: str) -> Parts:
    """The tokenizer as it is where its seams hold, else one that differs from it in the blanks alone.

    Raises:
        ModelError: texts come back changed, whatever is done.
    """
    given = _Given(tokenizer)
    if not (fault := _fault(given)):
        return given
    backend = getattr(tokenizer, "backend_tokenizer", None)
    plain = _Plain(_without_blanks(backend)) if backend is not None else None
    if plain is None or (fault := _fault(plain)):
        raise ModelError(f"model {name}: its tokenizer does not give texts back as they were: {fault}")
    return plain


class _Given:
    """A tokenizer of transformers as it is."""

    def __init__(self, tokenizer: "PreTrainedTokenizerBase") -> None:
        self._tokenizer = tokenizer

    def encode(self, text: str) -> tuple[int, ...]:
        return tuple(self._tokenizer.encode(text, add_special_tokens=False))

    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool) -> str:
        return str(
            self._tokenizer.decode(
                list(ids), skip_special_tokens=skip_special_tokens, clean_up_tokenization_spaces=False
            )
        )


class _Plain:
    """A tokenizer of the tokenizers library."""

    def __init__(self, tokenizer: "Tokenizer") -> None:
        self._tokenizer = tokenizer

    def encode(self, text: str) -> tuple[int, ...]:
        return tuple(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool) -> str:
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=skip_special_tokens))


def _fault(parts: Parts) -> str | None:
    """What goes wrong with the probe, cut at every place and put together again as ids, or as text; if anything."""
    ids = parts.encode(_PROBE)
    for at in range(1, len(_PROBE)):
        joined = parts.encode(_PROBE[:at]) + parts.encode(_PROBE[at:])
        if (found := parts.decode(joined, skip_special_tokens=False)) != _PROBE:
            return f"{_PROBE!r}, tokenised in two parts, comes back as {found!r}"
    for at in range(1, len(ids)):
        found = "".join(parts.decode(part, skip_special_tokens=False) for part in (ids[:at], ids[at:]))
        if found != _PROBE:
            return f"{_PROBE!r}, read in two parts, comes back as {found!r}"
    return None


def _without_blanks(backend: "Tokenizer") -> "Tokenizer":
    """The same vocabulary and merges, with no blank put before a text and none taken off."""
    from tokenizers import Tokenizer

    described = json.loads(backend.to_str())
    for part in ("normalizer", "pre_tokenizer", "decoder"):
        described[part] = _edited(described[part])
    made = Tokenizer.from_str(json.dumps(described))
    made.no_truncation()
    made.no_padding()
    return made


def _edited(part: Any) -> Any:
    """A component of tokenizer.json without its blanks; None where nothing is left of it."""
    if not isinstance(part, dict):
        return part
    part = copy.copy(part)
    for key in ("normalizers", "pretokenizers", "decoders"):
        if key in part:
            part[key] = [kept for each in part[key] if (kept := _edited(each)) is not None]
    kind = part.get("type")
    if kind == "Prepend":
        return None
    if kind == "Metaspace":
        part["prepend_scheme"] = "never"
    if kind in ("Metaspace", "ByteLevel") and "add_prefix_space" in part:
        part["add_prefix_space"] = False
    if kind == "Strip" and "start" in part:
        part["start"] = 0
    return part
