"""Results in the terminal."""

import pytest

from eval.scoring.table import _forced, _row

ROW = {"mean": 3.0, "low": 2.5, "high": 3.5, "n_ok": 8, "n": 8, "worst": 3.0, "best": 3.0}


def test_bounds_are_shown_wherever_a_verdict_is_missing() -> None:
    """A prompt whose every criterion has one usable repeat of three has a value, and wide bounds."""
    assert "between" not in _row("depth", ROW, 3)
    assert "8/8  between 1.667 and 4.333 with what is missing" in _row(
        "depth", ROW | {"worst": 5 / 3, "best": 13 / 3}, 3
    )
    assert "between" not in _row("length", ROW | {"worst": None, "best": None}, 3)


@pytest.mark.parametrize(
    ("well_formed", "exact", "told"),
    [(0.0, False, True), (0.1, False, False), (0.0, True, False), (None, False, False)],
)
def test_a_model_that_never_thinks_by_itself_is_told_how_it_is_measured(well_formed, exact, told) -> None:
    assert bool(_forced({"exact": exact}, {"well_formed": {"mean": well_formed}})) is told
