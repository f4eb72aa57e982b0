import random

from hypothesis import given
from hypothesis import strategies as st

from reer.outputs import LOOP_REPEATS, LOOP_UNITS, loops, word_count

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
