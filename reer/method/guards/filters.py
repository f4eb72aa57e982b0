"""Which found trajectories are worth training on: every filter has a name, a threshold from config, and a count.

The paper names two filters, end-of-thinking and repetition, and publishes neither; their thresholds here are the
only ones reported (second-hand, method of low reliability: a tenth of the trace, the three commonest trigrams, 30 %).
The others catch what such data is known to suffer from. Works on texts and recorded NLLs; knows nothing of models.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from reer.config import FilterConfig
from reer.method.guards.echo import NOTHING, Echo, talks_to_asker
from reer.method.guards.leak import Leak
from reer.text import is_cjk, repeats, without_quotes, words

_START = r"(?:^|[.!?…:;。！？；：—–][\"'”’」』)）]*\s*)"  # of a clause; a comma does not begin one
_DOUBTS = (
    # not: the guests wait; a Mr. Wait
    rf"(?:{_START}|\b(?:but|no|well|oh|hmm+|okay|ok|actually),?\s+)(?:wait|hold on)\b"
    r"(?=\s*(?:[,.!?…:—–-]|$)|\s+(?:no|maybe|perhaps|a (?:moment|minute|second)|what|should|why|how|I)\b)",
    # not: a sad tone, perhaps a bitter one; the reader is not sure
    rf"{_START}(?:(?:or|but|and|so|no|well|yes|then|actually|okay|ok)\b,?\s+)*(?:maybe|perhaps|not sure|no, that)\b",
    r"\b(?:maybe|perhaps|should I|what if)\b[^.!?…\n]*\?|\b(?:could|might|should|or) (?:maybe|perhaps)\b",
    r"\bI(?:['’]m| am)(?: still| really| just)? not(?: \w+)? sure\b|\bI wonder (?:if|whether|about)\b",
    r"\b(?:hmm+|alternatively|let me (?:think|see|rethink|reconsider)|on second thoughts?|scratch that)\b",
    # not: 小桥、流水等等; 不对他说; 他也许在等人; 让读者再想想; 最后换个角度写
    rf"(?:{_START}|[不嗯哦啊]，)等(?:等|一下)(?=\W|$)|(?:{_START}|，)不对(?=\W|$)|{_START}(?:也许|或许|要不(?!然|是))",
    r"(?:我|，)(?:也许|或许)(?:我|可以|应该|该|能|还|先|把|用|写|从|再|要|不)|(?:要不要|是不是|该不该)[^。！？\n]*？",
    rf"我[还也]?(?:不确定|拿不准|没想好)|(?:{_START}|[，我])再(?:好好)?想(?:想|一想)|换[个种](?:角度|思路|写法)[想看试考]",
)
_EXPLORING = re.compile("|".join(_DOUBTS), re.IGNORECASE | re.MULTILINE)
_PAST = re.compile(
    # not: I need, I proceed; nor what is past and present alike: I let, I put, I set
    r"\bI (?:(?:then|first|also|finally|next|already|just|even|only|[a-z]+ly) )?"
    r"(?:\w*[^e\W]ed|agreed|wrote|began|chose|made|thought|knew|felt|had|was|went|took|gave|kept|left|told)\b"
    # not: 我想好了; 我要让他忘了路
    r"|我们?(?:就|又|还|便|也|先|再|才|已经?|于是|最[后终]|然后|接着|当时|终于|随后|[特故]意)*(?:把[^，。！？；\n]{1,12}?)?"
    r"(?:写|描写|描述|选|选择|决定|用|采用|使用|运用|安排|加|加入|添加|设置|设计|塑造|构思|强调|突出|讲|讲述|交代|保留|删|删除"
    r"|改|改成|引入|创作|展示|展现|刻画|确定|放|放弃|回顾|意识到|注意到|想到|考虑)[出下完成到入上掉进]?[了过]"
)
_LIST_ITEM = re.compile(
    r"\s*(?:[-*+•·◦>]\s|\d{1,3}(?:[.)]\s|[、．）])|[（(](?:\d{1,2}|[a-z]|[一二三四五六七八九十]{1,3})[）)]|[①-⑳]"
    r"|[一二三四五六七八九十]{1,3}[、．]|#+\s|\*\*[^*]+\*\*|__[^_]+__)"
)
_BETWEEN_ITEMS = re.compile(r"[,;|/•·、，；]")
_SENTENCE_END = re.compile(r"[.!?…。！？][\"'”’」』）)\]*_]*\s*$")
_TAG = re.compile(r"</?[a-z_]+\s*/?>", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Found:
    """What a filter sees of a trajectory. NLLs are means in nats per answer token."""

    thinking: str
    language: str
    nll_none: float
    nll_final: float
    leak: Leak
    echo: Echo = NOTHING


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
        echo=Echo(**row.get("echo") or asdict(NOTHING)),
    )


def exploring_end(found: Found, share: float) -> bool:
    """Still doubting or searching in the last `share` of the text: it never settles."""
    return explores(found.thinking, int(len(found.thinking) * (1 - share)))


def explores(thinking: str, start: int = 0) -> bool:
    """Whether a text holds a reflection marker from `start` on: a doubt, a second thought, another way."""
    return _EXPLORING.search(without_quotes(thinking), start) is not None


def repetition(found: Found, limit: float) -> bool:
    """The three commonest trigrams make up more than `limit` of all trigrams."""
    tokens = words(found.thinking)
    trigrams = Counter(zip(tokens, tokens[1:], tokens[2:], strict=False))
    return sum(n for _, n in trigrams.most_common(3)) > limit * max(10, trigrams.total())


def loops(found: Found, limit: float) -> bool:
    """More than `limit` of the trigrams stood before: the same sentences again, which no single trigram gives away."""
    return repeats(words(found.thinking), 3, limit)


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


def min_relative_gain(found: Found, limit: float) -> bool:
    """Thinking takes less than `limit` of the answer's NLL away; of nothing nothing can be taken."""
    return found.nll_none - found.nll_final < limit * found.nll_none


def tags(found: Found, _: bool) -> bool:
    """Residue of a prompt's tags."""
    return _TAG.search(found.thinking) is not None


def asker(found: Found, _: bool) -> bool:
    """It talks to whoever asked."""
    return talks_to_asker(found.thinking)


def echo(found: Found, limit: float) -> bool:
    """More than `limit` of a sentence's n-grams are the prompts' own."""
    return found.echo.containment > limit


def wrong_language(found: Found, limit: float) -> bool:
    """Less than `limit` of the words are in the answer's script."""
    tokens = words(found.thinking)
    chinese = sum(map(is_cjk, tokens))
    own = chinese if found.language in ("zh", "ja") else len(tokens) - chinese
    return own < limit * len(tokens)


def lists(found: Found, limit: float) -> bool:
    """More than `limit` of the lines are list items or key words, or do not end as a sentence does."""
    lines = [line for line in found.thinking.splitlines() if line.strip()]
    odd = sum(bool(_LIST_ITEM.match(line) or not _SENTENCE_END.search(line) or _is_keywords(line)) for line in lines)
    return odd > limit * len(lines)


def past_tense(found: Found, limit: float) -> bool:
    """More than `limit` sentences in a hundred tell what the writer did, as if the text were already there."""
    own = without_quotes(found.thinking)
    ends = max(1, len(re.findall(r"[.!?…。！？]+", own)))
    return len(_PAST.findall(own)) > limit * ends


def _is_keywords(line: str) -> bool:
    """At least four items of three words (Chinese: four characters) or less, and most of the line is made of them."""
    items = [item for part in _BETWEEN_ITEMS.split(line) if (item := words(part))]
    short = [len(item) for item in items if len(item) <= (4 if is_cjk(item[0]) else 3)]
    return len(short) >= 4 and sum(short) > sum(map(len, items)) / 2


FILTERS: dict[str, Callable[[Found, Any], bool]] = {
    "tags": tags,
    "asker": asker,
    "echo": echo,
    "wrong_language": wrong_language,
    "min_words": min_words,
    "max_words": max_words,
    "lists": lists,
    "repetition": repetition,
    "loops": loops,
    "exploring_end": exploring_end,
    "past_tense": past_tense,
    "longest_run": longest_run,
    "containment": containment,
    "min_gain": min_gain,
    "min_relative_gain": min_relative_gain,
}
"""In the order they are asked; a trajectory is counted under the first that refuses it."""
