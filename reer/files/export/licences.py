"""What the name of a licence says: the Hub's own names for it, and whether it keeps rows to research.

Names come as people write them ("Apache 2.0", "Public domain in the US (text); edition CC0-1.0"). Of several in one
name the strictest counts. This reads names, not licences, and is no legal advice.
"""

import re
from dataclasses import dataclass
from functools import cache
from typing import Literal

Standing = Literal["free", "research", "forbidden", "unnamed", "unknown", "unread"]

_CC = re.compile(r"\bcc by((?: (?:nc|nd|sa))*)(?: v?(\d \d))?\b")
_WORDED_CC = re.compile(
    r"creative commons attribution((?: (?:non ?commercial|no ?derivatives|share ?alike))*)(?: (\d \d))?"
)
_NAMES = {
    r"cc ?0|cc zero": "cc0-1.0",
    r"public domain": "other",
    r"pddl": "pddl",
    r"mit": "mit",
    r"apache(?: licen[cs]e)?(?: version)?(?: v?2(?: 0)?)?": "apache-2.0",
    r"bsd 2(?: clause)?": "bsd-2-clause",
    r"bsd(?: 3(?: clause)?)?": "bsd-3-clause",
    r"isc": "isc",
    r"unlicense": "unlicense",
    r"odc by(?: 1 0)?|open data commons attribution": "odc-by",
    r"odbl(?: 1 0)?": "odbl",
    r"cdla permissive 2 0": "cdla-permissive-2.0",
    r"cdla permissive 1 0": "cdla-permissive-1.0",
    r"cdla sharing 1 0": "cdla-sharing-1.0",
    r"mpl 2 0": "mpl-2.0",
    r"gpl v?3(?: 0)?": "gpl-3.0",
    r"gpl v?2(?: 0)?": "gpl-2.0",
}
"""Licences under which rows may be used for anything: pattern of the name -> what the Hub calls it."""
_RESEARCH = re.compile(
    r"non ?commercial|research (?:only|use|purposes)|academic (?:only|use)|\bnc\b|no ?deriv\w*|\bnd\b"
)
_FORBIDDEN = re.compile(r"all rights reserved|proprietary|(?:no|not for) (?:ai|machine learning|training)\b")
_UNKNOWN = re.compile(r"unknown|none|n a|not (?:known|stated|specified|named)|no licen[cs]e|unspecified")


@dataclass(frozen=True, slots=True)
class Terms:
    """What is known of a licence."""

    standing: Standing
    """free: for any use. research: nothing commercial, or no changed copies. forbidden: not at all. unnamed: nothing
    is said. unknown: it is said that nobody knows. unread: a name that is not known here."""
    hub: tuple[str, ...]
    """Names as the Hub's cards take them."""


@cache
def terms_of(name: str) -> Terms:
    """What a licence's name says; an empty one says nothing."""
    plain = re.sub(r"[^a-z0-9]+", " ", name.lower()).strip()
    if not plain:
        return Terms("unnamed", ("unknown",))
    if _UNKNOWN.fullmatch(plain):
        return Terms("unknown", ("unknown",))
    found = _creative_commons(plain)
    found += [hub for pattern, hub in _NAMES.items() if re.search(rf"\b(?:{pattern})\b", plain)]
    hub = tuple(dict.fromkeys(found)) or ("other",)
    if _FORBIDDEN.search(plain):
        return Terms("forbidden", ("other",))
    if _RESEARCH.search(plain):
        return Terms("research", hub)
    return Terms("free" if found else "unread", hub)


def _creative_commons(plain: str) -> list[str]:
    """cc-by, cc-by-sa-4.0, cc-by-nc-nd-4.0 and the like."""
    found = []
    for match in (*_CC.finditer(plain), *_WORDED_CC.finditer(plain)):
        parts = re.sub(
            r"share ?alike", "sa", re.sub(r"no ?derivatives", "nd", re.sub(r"non ?commercial", "nc", match[1]))
        )
        version = f"-{match[2].replace(' ', '.')}" if match[2] else ""
        found.append("-".join(["cc-by", *parts.split()]) + version)
    return found


def is_unknown(name: str) -> bool:
    """Whether it is said that nobody knows the licence."""
    return terms_of(name).standing == "unknown"


def refusal(name: str, use: str, allow_unknown: bool) -> str | None:
    """Why a row under a licence may not be used for research, or commercially; None: it may.

    A row that names no licence (an empty name) is its owner's own and is never refused here.
    """
    standing = terms_of(name).standing
    if standing == "forbidden" or standing == "research" and use == "commercial":
        return f"its licence ({name}) forbids {'any use' if standing == 'forbidden' else 'commercial use'}"
    if allow_unknown:
        return None
    if standing == "unknown":
        return "nobody knows its licence (licence.unknown=allow takes it)"
    if standing == "unread" and use == "commercial":
        return f"its licence ({name}) is not known here (licence.unknown=allow takes it)"
    return None
