import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reer.files.outputs import (
    LOOP_REPEATS,
    LOOP_UNITS,
    Overlap,
    distinct,
    length_complies,
    loops,
    overlaps,
    word_count,
)

WORDS = st.sampled_from(["the", "rain", "fell", "on", "a", "quiet", "town"])


def test_words_and_chinese_characters_count_one_each() -> None:
    assert word_count("It's two words, 2 more.") == 5
    assert word_count("月亮出来了，yes") == 6
    assert word_count(" \n—…") == 0


@given(st.lists(WORDS, max_size=20), st.lists(WORDS, min_size=1, max_size=9), st.integers(0, 8))
def test_a_repeated_sequence_at_the_end_is_a_loop(before: list[str], unit: list[str], cut: int) -> None:
    times = max(LOOP_REPEATS, -(-LOOP_UNITS // len(unit)))
    assert loops(" ".join(before + unit * times + unit[: cut % len(unit)]))


@given(st.lists(WORDS, min_size=1, max_size=9), st.integers(0, 2**32))
def test_a_loop_that_the_text_leaves_again_is_none(unit: list[str], seed: int) -> None:
    tail = [f"word{n}" for n in range(LOOP_UNITS)]
    random.Random(seed).shuffle(tail)
    assert not loops(" ".join(unit * 30 + tail))


@given(st.lists(st.sampled_from("ab"), max_size=70))
def test_agrees_with_the_definition_spelled_out(units: list[str]) -> None:
    def periodic(n: int, period: int) -> bool:
        tail = units[len(units) - n :]
        return all(tail[i] == tail[i - period] for i in range(period, n))

    expected = any(
        periodic(n, period) for n in range(LOOP_UNITS, len(units) + 1) for period in range(1, n // LOOP_REPEATS + 1)
    )
    assert loops(" ".join(units)) == expected


def test_what_writers_do_is_no_loop() -> None:
    assert not loops("No, no, no!")
    assert not loops("And the sea came in, and the sea went out.\n" * 2)
    assert not loops("He stopped.\n\n" + "-" * 80)


def test_signs_and_characters_can_loop_too() -> None:
    assert loops("!" * 500)
    assert loops("他走了。" * 8)


def test_distinct_by_hand() -> None:
    assert distinct("A rose is a rose is a rose", 1) == pytest.approx(3 / 8)
    assert distinct("A rose is a rose is a rose", 2) == pytest.approx(3 / 7)
    assert distinct("one", 2) is None


@pytest.mark.parametrize(("produced", "complies"), [(400, True), (399, False), (600, True), (601, False), (0, False)])
def test_length_complies_within_a_fifth(produced: int, complies: bool) -> None:
    assert length_complies(produced, 500) == complies


def test_what_stands_in_training_data_is_found_once_and_counted_in_words() -> None:
    story = [f"word{n}" for n in range(60)]
    copy = " ".join(["New", "words", "first.", *story[10:40], "And", "then", "others."])
    found = overlaps([copy, "Too short.", " ".join(story[::-1])], ["Nothing here.", " ".join(story).upper()])
    assert found[0] == Overlap(share=18 / 24, longest_run=30)  # 36 words, 24 13-grams, 18 of them copied
    assert found[1] == Overlap(share=None, longest_run=0)
    assert found[2] == Overlap(share=0.0, longest_run=0)


def test_two_texts_that_copy_the_same_passage_are_both_marked() -> None:
    passage = " ".join(f"w{n}" for n in range(13))
    assert overlaps([passage, passage], iter([passage])) == [Overlap(1.0, 13), Overlap(1.0, 13)]
