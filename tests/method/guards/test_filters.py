"""Every filter by name: what it refuses, what it lets pass, and that all of them can be configured."""

from dataclasses import fields, replace

import pytest
from hydra import compose, initialize_config_module

from reer.config import FilterConfig, SynthesizeConfig, load, register
from reer.method.guards.filters import FILTERS, Found, exploring_end, reason_to_drop
from reer.method.guards.leak import Leak

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
        ("loops", {"thinking": PLAN + " Then he goes on." + (" " + PLAN[PLAN.index("The brother") :]) * 3}),
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


@pytest.mark.parametrize(
    ("language", "thinking"), [("ja", "まず雨の夜を書く。"), ("zh", "我先写雨夜。"), ("en", "First the rain.")]
)
def test_the_answers_own_script_is_not_refused(language, thinking):
    scripts = ["First the rain.", thinking]
    dropped = [
        reason_to_drop(replace(GOOD, thinking=text, language=language), FilterConfig(wrong_language=0.5))
        for text in scripts
    ]
    assert dropped == [None if language == "en" else "wrong_language", None]


def test_a_relative_gain_is_a_share_of_the_nats_without_thinking():
    found = replace(GOOD, nll_none=2.0, nll_final=1.5)
    wanted = FilterConfig(min_relative_gain=0.25)
    assert reason_to_drop(found, wanted) is None
    assert reason_to_drop(replace(found, nll_none=2.0001), wanted) is None
    assert reason_to_drop(replace(found, nll_final=1.5001), wanted) == "min_relative_gain"
    assert reason_to_drop(replace(found, nll_none=20.0, nll_final=15.1), wanted) == "min_relative_gain"


SETTLED = "Then the sister packs and the rain goes on. " * 20
SETTLED_ZH = "我先写雪夜，再写湖心亭，最后写归舟。" * 20


@pytest.mark.parametrize(
    ("end", "language"),
    [
        ("Wait, maybe the dog should come back.", "en"),
        ("But wait, is that enough for an end?", "en"),
        ("Perhaps the letter comes first.", "en"),
        ("A sad tone, or perhaps a bitter one.", "en"),
        ("Should I close on the fog?", "en"),
        ("I'm still not sure about the end.", "en"),
        ("Hmm, or should I start over?", "en"),
        ("No, that would be too much.", "en"),
        ("等等，这样太平了。", "zh"),
        ("也许", "zh"),
        ("不对，", "zh"),
        ("这个开头太平，也许可以从雪写起。", "zh"),
        ("我还没想好结尾。", "zh"),
        ("要不要先写雪？", "zh"),
        ("再想想，换个写法。", "zh"),
    ],
)
def test_doubts_at_the_end_are_seen_and_earlier_ones_are_welcome(end, language):
    settled, only = SETTLED if language == "en" else SETTLED_ZH, FilterConfig(exploring_end=0.1)
    found = replace(GOOD, thinking=f"{end} {settled}", language=language)
    assert reason_to_drop(found, only) is None
    assert reason_to_drop(replace(found, thinking=settled + end), only) == "exploring_end"


@pytest.mark.parametrize(
    "end",
    [
        "I end at the gate, and the guests wait.",
        "The last word goes to Lord Wait, who shuts the gate.",
        "I close on a dry tone, perhaps a bitter one.",
        "The reader is not sure who wins, and that is right.",
        "The mother says: “Maybe tomorrow.” Then the door shuts.",
        'She says "Hmm, perhaps not." and that is all.',
        "最后写柳树、小桥、流水等等。",
        "结尾写他在门口，也许在等人。",
        "他不对任何人说话。",
        "让读者再想想这句话。",
        "最后换个角度，从母亲的眼睛写。",
        "要不然读者会迷路。",
        "他说：“等等，不对。”然后离开。",
    ],
)
def test_the_same_words_in_settled_text_are_no_doubts(end):
    found = replace(GOOD, thinking=(SETTLED_ZH if "。" in end else SETTLED) + end)
    assert reason_to_drop(found, FilterConfig(exploring_end=0.1)) is None


def test_a_word_cut_by_the_beginning_of_the_end_is_read_whole():
    """Of `await` at the cut, `wait` is left."""
    text = "The guests await, perhaps."
    assert exploring_end(replace(GOOD, thinking=text), (len(text) - text.index("wait")) / len(text)) is False


@pytest.mark.parametrize(
    ("thinking", "refused"),
    [
        (
            "I need to open with rain. I proceed slowly. I let the clock strike, I put the bowl there, I set it here.",
            False,
        ),
        ("She says “I walked home and I wept.” and there I stop.", False),
        ("I decided on rain. I will end with it.", True),
        ("I then wrote the end. I carefully chose the rain.", True),
        ("我想好了：从雪写起。我要让他忘了路。我除了雪什么都不写。", False),
        ("他写：“我写了一封信。”我用这句开头。", False),
        ("我写了开头。我选择了雨。", True),
        ("我先把结尾写完了。我也用过对话。", True),
    ],
)
def test_past_tense_is_what_the_writer_tells_of_himself(thinking, refused):
    found = replace(GOOD, thinking=thinking)
    assert (reason_to_drop(found, FilterConfig(past_tense=0.1)) == "past_tense") is refused


@pytest.mark.parametrize(
    "thinking",
    [
        "rain, kitchen, letter, clock, sister, brother.",
        "Key words: rain, kitchen, the old letter, the clock, sister, brother.",
        "雪夜、湖心亭、小舟、炉火、童子、金陵人。",
        "雪夜，湖心亭，小舟，炉火，童子。",
        "**Opening:** I begin with rain.\n**Middle:** The letter comes.",
        "## Plan\nI begin with rain.",
        "1、先写雪。\n2、再写舟。",
        "（一）先写雪。\n（二）再写舟。",
        "• The rain comes.\n• She leaves.",
    ],
)
def test_key_words_and_markdown_are_lists_however_they_are_set(thinking):
    assert reason_to_drop(replace(GOOD, thinking=thinking), FilterConfig(lists=0.2)) == "lists"


@pytest.mark.parametrize(
    "thinking",
    [
        "At night the fog mumbles its list, galleons, an argosy from Tyre, triremes, yachts, admirals. I only listen.",
        "*I begin with the rain.*\nThen she leaves.\n“Go,” she says, and I stop.",
        "先写雪，语气要平静，像在记一件真事。\n最后让舟子说一句痴话收尾。",
    ],
)
def test_sentences_with_commas_are_no_lists(thinking):
    assert reason_to_drop(replace(GOOD, thinking=thinking), FilterConfig(lists=0.2)) is None


@pytest.mark.parametrize("residue", ["<refine>", "</Analyze>", "<think >", "<part_to_rewrite/>"])
def test_tags_of_any_form_are_residue(residue):
    assert reason_to_drop(replace(GOOD, thinking=f"{PLAN} {residue}"), FilterConfig(tags=True)) == "tags"
    assert reason_to_drop(replace(GOOD, thinking=f"{PLAN} 3 < 4 and x > 2"), FilterConfig(tags=True)) is None
