"""Cutting thinking into segments loses nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reer import segment
from reer.leak import words

PIECES = st.sampled_from(
    [
        "I will begin. ",
        "A word",
        "\n\n",
        "\n",
        "  ",
        "Mr. Smith came! ",
        "“Really?” ",
        "好的。然后",
        "\t\n \n",
        "…",
        "x" * 40,
    ]
)
TEXTS = st.one_of(st.text(), st.lists(PIECES, max_size=30).map("".join))


@given(TEXTS, st.integers(1, 20), st.integers(1, 60))
def test_join_of_split_is_the_text(text, min_words, max_words):
    assert "".join(segment.split(text, min_words, max_words)) == text


@given(TEXTS, st.integers(1, 20), st.integers(20, 60))
def test_no_segment_is_too_short_unless_it_is_the_only_one(text, min_words, max_words):
    segments = segment.split(text, min_words, max_words)
    assert len(segments) <= 1 or all(len(words(piece)) >= min_words for piece in segments)


@given(TEXTS, st.integers(1, 9))
def test_parts_lose_nothing_and_are_never_too_many(text, n):
    found = segment.parts(text, n)
    assert "".join(found) == text
    assert len(found) <= n


def test_parts_are_about_equal():
    text = "One two three. Four five six. Seven eight nine. Ten eleven twelve."
    assert segment.parts(text, 2) == ["One two three. Four five six. ", "Seven eight nine. Ten eleven twelve."]


@given(st.text())
def test_sentences_lose_nothing(text):
    assert "".join(segment.sentences(text)) == text


def test_paragraphs_are_segments_and_short_ones_join_the_next():
    text = "One.\n\nTwo words here and more of them.\n\nThe third one is long enough too."
    assert segment.split(text, 4, 50) == (
        "One.\n\nTwo words here and more of them.\n\n",
        "The third one is long enough too.",
    )


def test_a_long_paragraph_is_cut_at_sentence_ends():
    text = "I will open at sea. Then Mr. Hale speaks first. The storm comes at the end of it all."
    assert segment.split(text, 4, 6) == (
        "I will open at sea. ",
        "Then Mr. Hale speaks first. ",
        "The storm comes at the end of it all.",
    )


def test_chinese_is_cut_at_its_own_sentence_ends():
    assert segment.split("我先写雪夜。然后写湖心亭。最后写归舟。", 4, 7) == (
        "我先写雪夜。",
        "然后写湖心亭。",
        "最后写归舟。",
    )


@pytest.mark.parametrize(
    ("old", "new"), [("One.\n\n", "Two.\n\n"), ("  One.", "  Two."), ("One.", "Two."), ("\n\n", "Two.\n\n")]
)
def test_an_exchanged_core_keeps_the_white_space_around_it(old, new):
    assert segment.with_core(old, "Two.") == new
