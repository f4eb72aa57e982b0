import numpy as np
import pytest

from eval.statistics import bootstrap_mean


def test_same_seed_same_interval_and_the_mean_inside() -> None:
    values = [1.0, 2.0, 2.51, 3.99, 5.0, 1.37, 4.43]
    first, again, other = (bootstrap_mean(values, seed) for seed in (1, 1, 2))
    assert first == again != other
    assert first.mean is not None
    assert first.mean == pytest.approx(20.3 / 7)
    assert first.n == 7
    assert first.low is not None
    assert first.high is not None
    assert 1.0 < first.low < first.mean < first.high < 5.0


def test_no_interval_where_there_is_none() -> None:
    assert bootstrap_mean([], 0).mean is None
    one = bootstrap_mean([3.0], 0)
    assert (one.mean, one.low, one.high, one.n) == (3.0, None, None, 1)


def test_intervals_cover_the_true_mean_as_often_as_they_say() -> None:
    rng = np.random.default_rng(7)
    hits = 0
    for simulation in range(400):
        found = bootstrap_mean(list(rng.normal(3.0, 1.0, size=100)), simulation, draws=500)
        assert found.low is not None
        assert found.high is not None
        hits += found.low <= 3.0 <= found.high
    assert 0.915 <= hits / 400 <= 0.98  # 95 % within three standard errors of 400 simulations
