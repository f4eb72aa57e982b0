import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.benchmarks.longbench_write import length, length_score


@pytest.mark.parametrize(
    ("produced", "required", "expected"),
    [
        (500, 500, 100), (2000, 500, 0), (500, 1500, 0), (0, 500, 0),  # y = x, 4x, x/3, 0
        (1000, 500, 200 / 3), (1250, 500, 50), (250, 500, 50), (400, 500, 87.5), (9999, 500, 0), (1, 20000, 0),
    ],
)  # fmt: skip
def test_s_l_by_hand(produced: int, required: int, expected: float) -> None:
    assert length_score(produced, required) == pytest.approx(expected)


@given(st.integers(0, 100_000), st.integers(1, 20_000))
def test_s_l_stays_between_0_and_100_and_falls_with_the_distance(produced: int, required: int) -> None:
    score = length_score(produced, required)
    assert 0 <= score <= 100
    further = produced + 1 if produced >= required else max(0, produced - 1)
    assert length_score(further, required) <= score


def test_length_counts_chinese_characters_and_latin_words() -> None:
    assert length("Twenty-one words, it's 2026.") == 5
    assert length("月亮出来了，院子里很安静。OK") == 12
