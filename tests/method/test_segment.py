"""Cutting thinking into segments loses nothing, keeps what belongs together and never gets out of hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reer.method import segment
from reer.text import words

SPANS = [
    "```py\nif a:\n\n    b = 1. And. So\n```",
    "~~~~\n~~~\n\n- x, y. z\n~~~~",
    "\\[\na = b, \\\\[2pt]\n\nc. D = \\text{if } $x$\n\\]",
    "$$\na; b\n\nC. D\n$$",
    "\\begin{align*}\na. B\n\n\\begin{x}c, d\\end{x}\n\\end{align*}",
    "$a, b.\nC\\$ d$",
    "\\(f(x); g.\nH\\)",
]
PIECES = [
    "I will begin. ",
    "A word ",
    "\n\n",
    "\n",
    "  ",
    "Mr. Smith came! ",
    "“Really?” ",
    "- an item\n  of mine\n",
    "Tom: no, never; ",
    "好的。然后，“我”……",
    "\t\n \n",
    "… ",
]
FRAGMENTS = ["$", "$$", "\\[", "\\]", "\\(", "```", "~~~\n", "\\begin{a}", "\\end{a}", "x" * 40]
PROSE = st.lists(st.sampled_from(PIECES), max_size=30).map("".join)
TEXTS = st.one_of(st.text(), PROSE, st.lists(st.sampled_from(PIECES + FRAGMENTS + SPANS), max_size=30).map("".join))


def size(text):
    return len(words(text))


def split(text, min_tokens, max_tokens):
    return list(segment.split(text, min_tokens, max_tokens, size))


@given(TEXTS, st.integers(1, 20), st.integers(1, 60))
def test_join_of_split_is_the_text(text, min_tokens, max_tokens):
    assert "".join(split(text, min_tokens, max_tokens)) == text


@given(TEXTS, st.integers(1, 20), st.integers(1, 60))
def test_every_segment_begins_with_text_and_holds_the_white_space_after_it(text, min_tokens, max_tokens):
    segments = split(text, min_tokens, max_tokens)
    assert all(piece and not piece[0].isspace() for piece in segments[1:])
    assert not text.strip() or segments[0].strip()


@given(TEXTS, st.integers(1, 20), st.integers(1, 60))
def test_no_segment_is_too_short_unless_it_is_the_only_one(text, min_tokens, max_tokens):
    segments = split(text, min_tokens, max_tokens)
    assert len(segments) <= 1 or all(size(piece) >= min_tokens for piece in segments)


@given(PROSE, st.integers(1, 20), st.integers(1, 60))
def test_no_segment_of_prose_is_too_long(text, min_tokens, max_tokens):
    segments = split(text, min_tokens, max_tokens)
    assert all(size(piece) < max_tokens + min_tokens for piece in segments[:-1])
    assert size(segments[-1]) < max_tokens + 2 * min_tokens if segments else text == ""


@given(st.lists(st.sampled_from(PIECES)), st.sampled_from(SPANS), st.lists(st.sampled_from(PIECES)))
def test_code_and_formulas_are_never_cut(before, span, after):
    text = "".join([*before, "\n", span, "\n", *after])
    assert any(span in piece for piece in split(text, 1, 1))


def test_no_text_is_counted_over_and_over():
    counted = []
    text = "One two three, four five six; seven. " * 500
    segment.split(text, 1, 2, lambda piece: counted.append(len(piece)) or size(piece))
    assert sum(counted) <= 4 * len(text), "the whole, its sentences, its clauses, its words"


@pytest.mark.parametrize("text", ["", " \n\n ", "word", "\n\n  One.\n"])
def test_a_text_without_a_boundary_is_one_segment(text):
    assert split(text, 1, 1) == ([text] if text else [])


def test_paragraphs_are_segments_and_short_ones_join_the_next():
    text = "\n\nOne.\n\nTwo words here and more of them.\n \n\nThe third one is long enough too.\n\nThe end."
    assert split(text, 4, 50) == [
        "\n\nOne.\n\nTwo words here and more of them.\n \n\n",
        "The third one is long enough too.\n\nThe end.",
    ]


def test_without_blank_lines_every_line_is_a_paragraph_and_an_item_keeps_its_lines():
    assert split("First the sea\n1. the storm\n   at night\n2. the calm\nThen home\n\n", 2, 50) == [
        "First the sea\n",
        "1. the storm\n   at night\n",
        "2. the calm\n",
        "Then home\n\n",
    ]


def test_a_long_paragraph_is_cut_at_sentence_ends_into_even_segments():
    text = "I open at sea. Then Mr. J. R. Hale speaks, e.g. of 3.5 knots. “Really?” she asks. Well... he nods. End."
    assert split(text, 1, 12) == [
        "I open at sea. ",
        "Then Mr. J. R. Hale speaks, e.g. of 3.5 knots. ",
        "“Really?” she asks. Well... he nods. End.",
    ]


def test_chinese_is_cut_at_its_own_sentence_ends():
    pieces = ["我先写雪夜。", "他问：“然后呢？”", "最后写归舟！"]
    assert split("".join(pieces), 4, 8) == pieces


def test_a_formula_stays_in_its_paragraph():
    text = "So we get\n\\[\na = b\n\nc = d\n\\]\nas I said.\n\nThe next."
    assert split(text, 1, 50) == ["So we get\n\\[\na = b\n\nc = d\n\\]\nas I said.\n\n", "The next."]


@pytest.mark.parametrize(
    "pieces",
    [
        ["It costs $5. ", "Or $6. ", "No way."],
        ["$5.\n\n", "B$ is \\(.\n\n", "C\\) D."],
        ["Now $4. ", "Or not.$6."],
        ["```x``` is. ", "No code."],
    ],
)
def test_money_and_stray_openers_are_no_formulas(pieces):
    assert split("".join(pieces), 1, 3) == pieces


def test_a_fence_keeps_its_blank_lines_and_an_unclosed_one_runs_to_the_end():
    text = "I try:\n\n```py\na = 1\n\nb = 2\n```` \n\nIt works.\n\n```\nc = 3\n\nd = 4\n"
    assert split(text, 1, 50) == [
        "I try:\n\n",
        "```py\na = 1\n\nb = 2\n```` \n\n",
        "It works.\n\n",
        "```\nc = 3\n\nd = 4\n",
    ]


@pytest.mark.parametrize("mark", ["- ", "* ", "•", "1. ", "1.", "1) ", "（1）", "一、", "1、"])
def test_a_long_list_is_cut_between_its_items(mark):
    pieces = ["A title.\n\n", f"{mark}你好. It begins\n  at night. So\n", f"{mark}你好. And so we go home."]
    assert split("".join(pieces), 1, 9) == pieces


@pytest.mark.parametrize(
    "lines",
    [
        ["“Who is it? Who?”\n", "“Me. Only me,” he said.\n", "“Go. Please go.”"],
        ["— Who is it? Who?\n", "— Me. Only me.\n", "— Go. Please go now."],
        ["Tom: Who is it? Who\n", "Old Ann: Me. Only me\n", "Tom: Go. Please go."],
        ["“谁呀？是谁？”\n", "“是我。我呀。”\n", "「走吧。快走」"],
        ["小明：谁呀？谁\n", "小红：我。是我\n", "小明：走。你走。"],
    ],
)
def test_long_dialogue_is_cut_between_its_lines(lines):
    assert split("The scene of the two.\n\n" + "".join(lines), 1, 6) == ["The scene of the two.\n\n", *lines]


def test_lines_that_end_with_a_full_stop_are_cut_between_lines():
    lines = ["The sea.\n", "A calm. A calm.\n", "The ship. The ship."]
    assert split("A title.\n\n" + "".join(lines), 2, 5) == ["A title.\n\n", *lines]


def test_wrapped_prose_is_cut_at_sentence_ends_not_at_lines():
    text = "A title.\n\nThe sea is\ncalm today. The\nship is near."
    assert split(text, 2, 5) == ["A title.\n\n", "The sea is\ncalm today. ", "The\nship is near."]


def test_verse_without_full_stops_is_cut_at_lines_not_at_commas():
    lines = ["the sea, the sea\n", "a calm, a calm\n", "the ship"]
    assert split("A title\n\n" + "".join(lines), 2, 4) == ["A title\n\n", *lines]


@pytest.mark.parametrize(
    ("sentence", "pieces"),
    [
        ("I see the sea, the ship sails — and home we go", ["I see the sea, ", "the ship sails — ", "and home we go"]),
        ("我看见了海，看见了船；回家", ["我看见了海，", "看见了船；", "回家"]),
        ("one two three four five six seven", ["one two three four ", "five six seven"]),
        ("我看见大海和小船", ["我看见大", "海和小船"]),
    ],
)
def test_a_single_long_sentence_is_cut_at_clauses_then_words_then_characters(sentence, pieces):
    assert split(sentence, 1, 5) == pieces


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


@pytest.mark.parametrize(
    "sentences",
    [
        ["Mr. J. R. Hale, e.g. of the U.S. Navy, has 3.5 knots. ", "So have I! ", "Why?"],
        ["“Really?” she asks. ", "“Yes.” ", "Well... he nods. ", "And then… ", "(It ends.) ", "So."],
        ["1. The storm. ", "It was in 1914.\n", "2. The calm."],
        ["他问：“然后呢？”", "我想……不写了。", "「好！！」", "完"],
    ],
)
def test_a_sentence_ends_at_its_end(sentences):
    assert segment.sentences("".join(sentences)) == sentences


@pytest.mark.parametrize(
    ("old", "new"), [("One.\n\n", "Two.\n\n"), ("  One.", "  Two."), ("One.", "Two."), ("\n\n", "Two.\n\n")]
)
def test_an_exchanged_core_keeps_the_white_space_around_it(old, new):
    assert segment.with_core(old, "Two.") == new
