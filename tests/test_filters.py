"""Every filter by name: what it refuses, what it lets pass, and that all of them can be configured."""

from dataclasses import fields, replace

import pytest
from hydra import compose, initialize_config_module

from reer.config import FilterConfig, SynthesizeConfig, load, register
from reer.filters import FILTERS, Found, reason_to_drop
from reer.leak import Leak

PLAN = (
    "I want to open in the empty kitchen, before anybody speaks. Maybe the rain should come first? "
    "No, I will keep it for the end, when she leaves. The brother stays by the window and says little. "
    "The letter lies on the table all along and nobody names it. I will let the clock be heard once. "
    "Then the sister packs, slowly, and I keep her sentences short. The end is the rain on the empty step."
)
GOOD = Found(PLAN, "en", 3.0, 2.8, Leak(2, 0.0))


def limits(name):
    register()
    with initialize_config_module("reer.conf", version_base="1.3"):
        return load(compose("synthesize", overrides=[f"filter={name}"]), SynthesizeConfig).filter


def test_every_filter_has_a_threshold_in_the_config_and_none_by_default():
    assert list(FILTERS) == [f.name for f in fields(FilterConfig)]
    assert reason_to_drop(replace(GOOD, thinking="", nll_final=9.0), FilterConfig()) is None


def test_a_plain_plan_passes_every_preset_but_the_papers_length():
    strict = replace(limits("strict"), min_words=40)
    assert reason_to_drop(GOOD, strict) is None
    assert reason_to_drop(replace(GOOD, thinking=PLAN[:200]), limits("paper")) == "min_words"


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("tags", {"thinking": PLAN + " <refine>"}),
        ("wrong_language", {"language": "zh"}),
        ("max_words", {"thinking": PLAN * 60}),
        ("lists", {"thinking": "- rain\n- kitchen\n- letter\n" * 20}),
        ("lists", {"thinking": "rain, kitchen, letter, clock, sister, brother, " * 12}),
        ("repetition", {"thinking": "I will go on and on. " * 20}),
        ("exploring_end", {"thinking": PLAN + " Hmm, or should I start over?"}),
        ("past_tense", {"thinking": "I wrote the opening. I decided on rain. I ended it early. " + PLAN}),
        ("longest_run", {"leak": Leak(13, 0.0)}),
        ("containment", {"leak": Leak(3, 0.06)}),
        ("min_gain", {"nll_final": 3.1}),
    ],
)
def test_strict_names_what_it_refuses(name, changes):
    strict = replace(limits("strict"), min_words=40)
    assert reason_to_drop(replace(GOOD, **changes), strict) == name
    assert reason_to_drop(replace(GOOD, **changes), replace(strict, **{name: None})) != name


@pytest.mark.parametrize("marker", ["等等，", "也许", "不对，"])
def test_chinese_doubts_at_the_end_are_seen_and_earlier_ones_are_welcome(marker):
    settled = "我先写雪夜，再写湖心亭，最后写归舟。" * 10
    only = FilterConfig(exploring_end=0.1)
    found = replace(GOOD, thinking=f"{marker}从哪里写起？{settled}", language="zh")
    assert reason_to_drop(found, only) is None
    assert reason_to_drop(replace(found, thinking=settled + marker), only) == "exploring_end"
