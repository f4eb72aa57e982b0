"""Which found trajectories are worth training on: every filter has a name, a threshold from config, and a count.

The paper names two filters, end-of-thinking and repetition, and publishes neither; their thresholds here are the
only ones reported (second-hand, method of low reliability: a tenth of the trace, the three commonest trigrams, 30 %).
The others catch what such data is known to suffer from. Works on texts and recorded NLLs; knows nothing of models.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from reer.config import FilterConfig
from reer.leak import Leak, is_cjk, words

_EXPLORING = re.compile(
    r"\b(?:wait|hmm+|maybe|perhaps|alternatively|let me think|on second thought|not sure|or should i|no, that)\b"
    r"|等等|也许|或许|可能是不是|不对|再想想|换个角度|要不然|或者说",
    re.IGNORECASE,
)
_PAST = re.compile(
    r"\bI (?:\w+ed|wrote|began|chose|made|thought|knew|felt|had|was|went|took|gave|kept|left|told|let|put|set)\b"
)
_LIST_ITEM = re.compile(r"^\s*(?:[-*•]|\d+[.)]|#+)\s")
_SENTENCE_END = re.compile(r"[.!?…。！？][\"'”’」』）)\]]*\s*$")
_TAG = re.compile(r"</?[a-z_]+>")


@dataclass(frozen=True, slots=True)
class Found:
    """What a filter sees of a trajectory. NLLs are means in nats per answer token."""

    thinking: str
    language: str
    nll_none: float
    nll_final: float
    leak: Leak


def reason_to_drop(found: Found, limits: FilterConfig) -> str | None:
    """Name of the first filter that refuses the trajectory, or None. A limit of null switches its filter off."""
    for name, refuses in FILTERS.items():
        limit = getattr(limits, name)
        if limit is not None and limit is not False and refuses(found, limit):
            return name
    return None


def of_row(row: Mapping[str, Any]) -> Found:
    """What a filter sees of one object of trajectories.jsonl."""
    return Found(
        thinking=row["thinking"],
        language=row["language"],
        nll_none=row["nll"]["none"],
        nll_final=row["nll"]["final"],
        leak=Leak(**row["leak"]),
    )


def exploring_end(found: Found, share: float) -> bool:
    """Still doubting or searching in the last `share` of the text: it never settles."""
    tail = found.thinking[int(len(found.thinking) * (1 - share)) :]
    return _EXPLORING.search(tail) is not None


def repetition(found: Found, limit: float) -> bool:
    """The three commonest trigrams make up more than `limit` of all trigrams."""
    tokens = words(found.thinking)
    trigrams = Counter(zip(tokens, tokens[1:], tokens[2:], strict=False))
    return sum(n for _, n in trigrams.most_common(3)) > limit * max(10, trigrams.total())


def longest_run(found: Found, limit: int) -> bool:
    """A run of more than `limit` words of the answer."""
    return found.leak.longest_run > limit


def containment(found: Found, limit: float) -> bool:
    """More than `limit` of the answer's n-grams."""
    return found.leak.containment > limit


def min_words(found: Found, limit: int) -> bool:
    return len(words(found.thinking)) < limit


def max_words(found: Found, limit: int) -> bool:
    return len(words(found.thinking)) > limit


def min_gain(found: Found, limit: float) -> bool:
    """Thinking lowers the NLL of the answer by less than `limit`."""
    return found.nll_none - found.nll_final < limit


def tags(found: Found, _: bool) -> bool:
    """Residue of a prompt's tags."""
    return _TAG.search(found.thinking) is not None


def wrong_language(found: Found, limit: float) -> bool:
    """Less than `limit` of the words are in the answer's script."""
    tokens = words(found.thinking)
    chinese = sum(map(is_cjk, tokens))
    own = chinese if found.language == "zh" else len(tokens) - chinese
    return own < limit * len(tokens)


def lists(found: Found, limit: float) -> bool:
    """More than `limit` of the lines are list items, or do not end as a sentence does."""
    lines = [line for line in found.thinking.splitlines() if line.strip()]
    odd = sum(bool(_LIST_ITEM.match(line)) or not _SENTENCE_END.search(line) for line in lines)
    return odd > limit * len(lines)


def past_tense(found: Found, limit: float) -> bool:
    """More than `limit` sentences in a hundred tell what the writer did, as if the text were already there."""
    ends = max(1, len(re.findall(r"[.!?。！？]", found.thinking)))
    return len(_PAST.findall(found.thinking)) > limit * ends


FILTERS: dict[str, Callable[[Found, Any], bool]] = {
    "tags": tags,
    "wrong_language": wrong_language,
    "min_words": min_words,
    "max_words": max_words,
    "lists": lists,
    "repetition": repetition,
    "exploring_end": exploring_end,
    "past_tense": past_tense,
    "longest_run": longest_run,
    "containment": containment,
    "min_gain": min_gain,
}
"""In the order they are asked; a trajectory is counted under the first that refuses it."""
