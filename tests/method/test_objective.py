"""The authors' objective: which tokens at the beginning of an answer are left out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reer.backend.fake import FakeTokenizer
from reer.config import ObjectiveConfig
from reer.method.objective import SEGMENT, opening_of, skipped_tokens

SKIP = ObjectiveConfig(skip_opening=True)
LONG, LONGER = "Rain fell. " * 10, "Snow came down in the night. " * 5  # 110 and 145 characters
SHORT = "A door opened."


@pytest.mark.parametrize(
    ("answer", "opening"),
    [
        (f"{LONG}\n\n{LONGER}", f"{LONG}\n\n"),
        (f"{LONG}\n \n\n{LONGER}\n\n{LONGER}", f"{LONG}\n \n\n"),
        (LONGER * 3, LONGER * 3),
        (f"{SHORT}\n\n{SHORT}\n\n{LONG}\n\n{LONGER}", f"{SHORT}\n\n{SHORT}\n\n{LONG}\n\n"),
        (f"{LONG}\n\n{SHORT}", f"{LONG}\n\n{SHORT}"),
        (f"{LONG}\n\n{LONGER}\n\n{SHORT}", f"{LONG}\n\n"),
        (f"{LONG}\n\n" + f"{SHORT}\n\n" * 8, f"{LONG}\n\n"),
        (SHORT, SHORT),
        (f"{LONG}\n{LONGER}", f"{LONG}\n"),
        (f"{SHORT}\n{SHORT}\n{LONG}\n{LONGER}", f"{SHORT}\n{SHORT}\n{LONG}\n"),
        (f"{LONG}\n{LONGER}\n\n{SHORT}", f"{LONG}\n"),
        (f"\n\n{LONG}\n\n{LONGER}", f"\n\n{LONG}\n\n"),
        ("雪" * 99 + "\n\n" + "山" * 100 + "\n\n" + "水" * 100, "雪" * 99 + "\n\n" + "山" * 100 + "\n\n"),
        ("雪" * 100 + "\n\n" + "山" * 99, "雪" * 100 + "\n\n" + "山" * 99),
    ],
    ids=[
        "two paragraphs", "wide gap", "one paragraph is all", "short ones join the next", "a short rest is not alone",
        "a short last one belongs to the second", "short ones make a rest together", "a line",
        "lines where nothing is blank", "short lines join the next", "one paragraph by blank lines: lines",
        "leading lines", "99 characters are too few", "a rest of 99 is short",
    ],
)  # fmt: skip
def test_the_opening_is_the_authors_first_segment(answer, opening):
    assert opening_of(answer) == opening


@given(st.lists(st.sampled_from([LONG, SHORT, "\n", "\n\n", " ", "雪夜。"]), max_size=12).map("".join))
def test_an_opening_begins_the_answer_and_leaves_a_whole_segment_or_nothing(answer):
    opening = opening_of(answer)
    assert answer.startswith(opening)
    assert opening == answer or min(len(opening.strip()), len(answer[len(opening) :].strip())) >= SEGMENT


def test_nothing_is_left_out_by_default():
    assert skipped_tokens(f"{LONG}\n\n{LONGER}", FakeTokenizer(), ObjectiveConfig(clip=2.0)) == 0


def test_the_tokens_of_the_opening_are_left_out():
    assert skipped_tokens(f"{LONG}\n\n{LONGER}", FakeTokenizer(), SKIP) == 112


@pytest.mark.parametrize("answer", [SHORT, LONGER, "x", f"{LONG}\n\n{SHORT}"])
def test_an_answer_of_one_segment_keeps_its_last_token(answer):
    assert skipped_tokens(answer, FakeTokenizer(), SKIP) == len(answer) - 1


def test_a_token_that_crosses_the_border_counts():
    class Words(FakeTokenizer):
        """One token for every word, and for the two line breaks together with the word after them."""

        def encode(self, text):
            return tuple(hash(word) for word in text.split(" "))

    text = f"{LONG.strip()}\n\n{LONGER.strip()}"
    assert skipped_tokens(text, Words(), SKIP) == len(LONG.split()) - 1
