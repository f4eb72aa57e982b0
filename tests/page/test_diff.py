"""Marked edits: both texts can be read back from the pieces, and small changes stay small."""

from hypothesis import given
from hypothesis import strategies as st

from reer.page.diff import diff

TEXT = st.lists(st.sampled_from(["the ", "fox", " ", "ran", ".", "\n\n", "hill ", "山", "<b>"]), max_size=12).map(
    "".join
)


@given(st.lists(TEXT, max_size=5), st.lists(TEXT, max_size=5))
def test_both_texts_can_be_read_back(before: list[str], after: list[str]) -> None:
    pieces = diff(before, after)
    assert "".join(text for kind, text in pieces if kind != "ins") == "".join(before)
    assert "".join(text for kind, text in pieces if kind != "del") == "".join(after)


def test_one_word_is_one_edit() -> None:
    pieces = diff(["The fox ran over the hill.\n\n"], ["The fox ran over the wall.\n\n"])
    assert [piece for piece in pieces if piece[0] != "same"] == [("del", "hill"), ("ins", "wall")]


def test_a_new_segment_is_one_deletion_and_one_insertion() -> None:
    pieces = diff(["One.\n\n", "It was cold and late."], ["One.\n\n", "Nobody ever came there."])
    assert pieces[-3:] == [("same", "One.\n\n"), ("del", "It was cold and late."), ("ins", "Nobody ever came there.")]


def test_short_islands_between_changes_are_absorbed() -> None:
    before, after = "a b c d e f old x old g h i j k l", "a b c d e f new x new g h i j k l"
    assert [piece for piece in diff([before], [after]) if piece[0] != "same"] == [
        ("del", "old x old"),
        ("ins", "new x new"),
    ]


def test_equal_texts_have_no_edits() -> None:
    assert diff(["a ", "b"], ["a ", "b"]) == [("same", "a b")]
