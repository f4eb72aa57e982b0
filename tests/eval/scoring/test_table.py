"""Results in the terminal."""

from eval.scoring.table import _row

ROW = {"mean": 3.0, "low": 2.5, "high": 3.5, "n_ok": 8, "n": 8, "worst": 3.0, "best": 3.0}


def test_bounds_are_shown_wherever_a_verdict_is_missing() -> None:
    """A prompt whose every criterion has one usable repeat of three has a value, and wide bounds."""
    assert "between" not in _row("depth", ROW, 3)
    assert "8/8  between 1.667 and 4.333 with what is missing" in _row(
        "depth", ROW | {"worst": 5 / 3, "best": 13 / 3}, 3
    )
    assert "between" not in _row("length", ROW | {"worst": None, "best": None}, 3)
