"""What is no part of a work is gone, and the work itself is whole."""

import pytest

from collect.clean import clean, header

BODY = "Chapter I\n\nThe lamp went out.\n\nNobody spoke of it."
GUTENBERG = f"""\ufeffThe Project Gutenberg eBook of The Lamp

This ebook is for the use of anyone anywhere.

Title: The Lamp
Author: A. Writer
Character set encoding: UTF-8

*** START OF THE PROJECT GUTENBERG EBOOK THE LAMP ***

Produced by Somebody and the Online Team

{BODY}

*** END OF THE PROJECT GUTENBERG EBOOK THE LAMP ***

Updated editions will replace the previous one.
"""
STANDARD = f"""Imprint

This ebook is the product of many hours of hard work by volunteers for Standard Ebooks, and builds on others.

Learn more at standardebooks.org.

{BODY}

Colophon
The Lamp was published by A. Writer.
This ebook was produced for Standard Ebooks.
"""


def test_the_frame_of_project_gutenberg_goes_and_its_head_tells_title_and_author():
    text, done = clean(GUTENBERG)
    assert text == BODY
    assert done == {
        "Gutenberg header": 1, "Gutenberg licence": 1, "Gutenberg credits": 1, "invisible characters": 1,
    }  # fmt: skip
    assert header(GUTENBERG) == {
        "title": "The Lamp", "author": "A. Writer", "character set encoding": "UTF-8", "gutenberg": "yes",
    }  # fmt: skip


def test_the_frame_of_standard_ebooks_goes():
    text, done = clean(STANDARD)
    assert text.removeprefix("Imprint").strip() == BODY
    assert set(done) == {"Standard Ebooks imprint", "Standard Ebooks colophon"}


def test_a_story_that_tells_of_a_colophon_and_of_an_end_keeps_them():
    own = f"{BODY}\n\nColophon\n\nHe had read the word in a library.\n\n*** The end of the project was near. ***"
    assert clean(own) == (own, {})


def test_lines_broken_for_a_typewriter_are_joined_and_verse_is_not():
    prose = (
        "The lamp went out before the boat came home and no one in the\n"
        "village spoke of it until the spring had come, and by then it\nwas too late.\n"
    )
    verse = "Rain on the roof,\nrain on the sea,\nrain on the boat\nand none on me."
    text, done = clean("\n".join([prose] * 15) + "\n" + verse)
    first, *_, last = text.split("\n\n")
    assert first == prose.strip().replace("\n", " ")
    assert last == verse
    assert done["hard-wrapped paragraphs"] == 15


@pytest.mark.parametrize("newline", ["\r\n", "\r"])
def test_other_line_ends_count_as_lines(newline):
    assert clean(BODY.replace("\n", newline))[0] == BODY
