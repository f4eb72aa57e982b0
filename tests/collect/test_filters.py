"""Each quality filter on the row that it is for and on the row next to it."""

import pytest

from collect.check.filters import masked, refused
from reer.config import QualityConfig
from reer.types import Example

OFF = {"languages": [], "min_words": None, "max_words": None, "boilerplate": None, "repetition": None,
       "min_score": None}  # fmt: skip
ENGLISH = "The lamp went out before the boat came back, and nobody in the village spoke of it until the spring. " * 2
FRENCH = "La lampe s'éteignit avant le retour du bateau, et personne au village n'en parla jusqu'au printemps. " * 2
CHINESE = "船还没有回来，灯就灭了，村里谁也没有再提起这件事，一直到第二年的春天。" * 2
NOTICE = "Copyright 2019\nSubscribe to our letter\nThe boat came back.\nThe lamp went out."


def row(answer, **extra):
    return Example(id="a", query="q", answer=answer, extra=extra)


@pytest.mark.parametrize(
    ("name", "limit", "bad", "good"),
    [
        ("languages", ["en", "zh-CN"], row(FRENCH), row(CHINESE)),
        ("languages", ["en"], row(CHINESE), row(ENGLISH)),
        ("min_words", 4, row("one two three"), row("one two three four")),
        ("max_words", 3, row("one two three four"), row("one two three")),
        ("max_words", 3, row("灯灭了。船回"), row("灯灭了")),
        ("boilerplate", 0.49, row(NOTICE), row(NOTICE.replace("Copyright 2019\n", "It was late.\n"))),
        ("repetition", 0.2, row("the lamp went out " * 9), row(ENGLISH[: len(ENGLISH) // 2])),
        ("min_score", 10, row("t", score="9.5"), row("t", score=10)),
        ("min_score", 10, row("t"), row("t", score="12")),
    ],
)
def test_a_filter_refuses_by_its_name_and_lets_the_next_row_pass(name, limit, bad, good):
    limits = QualityConfig(**OFF | {name: limit})
    assert refused(bad, limits) == name
    assert refused(good, limits) is None
    assert refused(bad, QualityConfig(**OFF)) is None


@pytest.mark.parametrize(
    "notice",
    ["ALL RIGHTS RESERVED", "Copyright (c) Ann", "© 1999", "our Cookie Policy", "Privacy policy", "Terms of Use",
     "Terms of service", "Subscribe to our list", "Sign up for the letter", "CLICK HERE", "Follow us on X",
     "Share this page", "share on Y", "Skip to content", "Skip to main content", "版权所有", "未经许可",
     "不得转载", "点击这里", "扫码关注", "关注公众号", "订阅我们"],
)  # fmt: skip
def test_every_kind_of_notice_counts(notice):
    limits = QualityConfig(**OFF | {"boilerplate": 0.4})
    assert refused(row(f"The boat came back.\n{notice}"), limits) == "boilerplate"


def test_masking_counts_patterns_and_leaves_dates_and_years_alone():
    text = "Write to ann.lee@example.org or call +44 20 7946 0958 by 2024-05-17; 1.2.3 and 4.5.6.7.8 stay."
    found, count = masked(row(text))
    assert (found.answer, count) == (
        "Write to [e-mail] or call [telephone] by 2024-05-17; 1.2.3 and 4.5.6.7.8 stay.", 2,
    )  # fmt: skip
