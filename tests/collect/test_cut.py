"""Passages are whole, in order, of the wanted length, and lose nothing but headings and rules."""

import pytest

from collect.cut import cut
from reer.text import words


def sentences(count, start=0):
    return " ".join(f"The boat number {n} came home before it was light." for n in range(start, start + count))


def paragraphs(*counts):
    return "\n\n".join(sentences(count, 100 * n) for n, count in enumerate(counts))


def lengths(text, least, most):
    return [passage.words for passage in cut(text, least, most)]


def test_a_section_that_fits_is_one_passage_and_knows_its_heading():
    text = f"Chapter I\n\n{paragraphs(3, 3)}\n\nChapter II\nThe Lamp\n\n{paragraphs(2)}"
    first, second = cut(text, 10, 100)
    assert (first.heading, first.text) == ("Chapter I", paragraphs(3, 3))
    assert second.heading == "Chapter II The Lamp"
    assert text[first.start : first.end] == first.text
    assert second.text == paragraphs(2)


def test_a_longer_section_is_cut_between_paragraphs_into_about_equal_parts():
    text = paragraphs(*[3] * 10)  # 30 words each
    passages = list(cut(text, 50, 110))
    assert [passage.words for passage in passages] == [90, 90, 60, 60]
    assert "\n\n".join(passage.text for passage in passages) == text


def test_scenes_come_before_paragraphs():
    text = f"{paragraphs(6)}\n\n* * *\n\n{paragraphs(7)}"
    assert lengths(text, 30, 100) == [60, 70]


def test_a_paragraph_that_alone_is_too_long_is_cut_between_sentences():
    passages = list(cut(sentences(30), 20, 100))
    assert all(passage.text.endswith("light.") and passage.words <= 100 for passage in passages)
    assert sum(passage.words for passage in passages) == 300


def test_stanzas_stay_whole():
    stanzas = [f"Rain on the roof {n},\nrain on the sea {n},\nand none on me {n}." for n in range(12)]
    passages = list(cut("\n\n".join(stanzas), 20, 50))
    assert [stanza for passage in passages for stanza in passage.text.split("\n\n")] == stanzas


def test_verse_that_prose_quotes_stays_with_the_prose_before_it():
    verse = "“The poem hangs on the bush,\nWhen comes the eye,\nAnd all the street is a masque\nWhen he goes by.”"
    text = f"{sentences(7)}\n\n{verse}\n\n{sentences(7, 50)}"
    first, second = cut(text, 20, 95)
    assert (first.text, second.text) == (f"{sentences(7)}\n\n{verse}", sentences(7, 50))


def test_chinese_headings_and_characters_count():
    text = "第一回 灯\n\n灯灭了。船还没有回来。\n\n卷二/雨\n\n雨下了一夜，村里没有人说话。"
    assert [(passage.heading, passage.words) for passage in cut(text, 5, 50)] == [("第一回 灯", 9), ("卷二/雨", 12)]


def headings(text):
    return [passage.heading for passage in cut(text, 5, 500)]


def test_headings_in_capitals_and_titles_in_quotation_marks_end_the_passage_before_them():
    text = (
        f"LECTURE I.\n\nTHE FLAME--ITS SOURCES--STRUCTURE.\n\n{paragraphs(2)}\n\n\n"
        f"LECTURE II.\n\nAIR NECESSARY FOR COMBUSTION.\n\n{paragraphs(3)}\n\n\n“Defeat”\n\n{paragraphs(4)}"
    )
    passages = list(cut(text, 5, 500))
    assert [passage.text for passage in passages] == [paragraphs(2), paragraphs(3), paragraphs(4)]
    assert [passage.heading for passage in passages] == [
        "THE FLAME--ITS SOURCES--STRUCTURE.",
        "AIR NECESSARY FOR COMBUSTION.",
        "“Defeat”",
    ]


@pytest.mark.parametrize(
    "line", ["Part of him wanted to stay.", "Book after book he read!", "“Oui”", "NO ROOM.", "Luke 10:42"]
)
def test_what_only_looks_like_a_heading_stays_in_the_passage(line):
    text = f"Chapter I\n\n{paragraphs(2)}\n\n{line}\n\n{paragraphs(2)}"
    [passage] = cut(text, 5, 500)
    assert line in passage.text


@pytest.mark.parametrize(
    "line", ["Chapter I.", "Act the Second.", "BOOK TWO.", "Preface.", "第三回。", "XIV.", "XVII: “Kept Quiet”"]
)
def test_a_heading_that_says_what_it_is_may_end_with_a_full_stop(line):
    assert headings(f"{paragraphs(1)}\n\n{line}\n\n{paragraphs(1)}") == ["", line]


@pytest.mark.parametrize("most", [40, 90, 250])
def test_nothing_is_lost_and_nothing_stands_twice(most):
    text = f"Chapter I\n\n{paragraphs(9, 2, 14, 1)}\n\nChapter II\n\n{paragraphs(4, 4)}"
    found = [word for passage in cut(text, 10, most) for word in words(passage.text)]
    assert found == words(text.replace("Chapter II", "").replace("Chapter I", ""))
