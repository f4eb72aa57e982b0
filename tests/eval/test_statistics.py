import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.statistics import (
    alpha_estimate,
    bootstrap_mean,
    cluster_bootstrap,
    crossed_bootstrap,
    histogram,
    holm,
    kendall_tau,
    krippendorff_alpha,
    length_adjusted,
    paired_difference,
    spearman,
    spearman_estimate,
    within_prompt_correlation,
)

Draw = Callable[[np.random.Generator], np.ndarray]


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
    same = bootstrap_mean([2.0, 2.0, 2.0], 0)
    assert (same.mean, same.low, same.high) == (2.0, 2.0, 2.0)


def ratings(levels: int) -> Draw:
    """Three whole ratings of each of 100 prompts, bunched at the top of the scale; the prompt itself varies."""

    def draw(rng: np.random.Generator) -> np.ndarray:
        quality = rng.beta(4, 1.5, size=(100, 1))
        return 1 + rng.binomial(levels - 1, np.broadcast_to(quality, (100, 3)))

    return draw


def ceiling(rng: np.random.Generator) -> np.ndarray:
    """Like HelloBench's published judgements: two thirds at exactly 1, the rest anywhere below."""
    return np.where(rng.random((100, 1)) < 0.65, 1.0, rng.beta(2, 1.5, (100, 1)))


@pytest.mark.parametrize(
    ("draw", "truth"),
    [
        pytest.param(lambda rng: rng.normal(3.0, 1.0, (100, 1)), 3.0, id="normal"),
        pytest.param(ratings(5), 1 + 4 * 4 / 5.5, id="ratings"),
        pytest.param(ceiling, 0.65 + 0.35 * 2 / 3.5, id="ceiling"),
        pytest.param(lambda rng: (rng.random((100, 1)) < 0.9) * 1.0, 0.9, id="binary"),
    ],
)
def test_intervals_cover_the_true_mean_as_often_as_they_say(draw: Draw, truth: float) -> None:
    rng, hits = np.random.default_rng(7), 0
    for simulation in range(1000):
        found = cluster_bootstrap(list(draw(rng)), simulation, draws=1000)
        assert found.low is not None
        assert found.high is not None
        hits += found.low <= truth <= found.high
    assert 930 <= hits <= 970


def test_paired_intervals_cover_and_the_test_keeps_its_level() -> None:
    rng, hits, false_alarms = np.random.default_rng(3), 0, 0
    for simulation in range(300):
        easy = rng.normal(3.0, 1.0, size=100)
        a, b = (dict(enumerate(easy + rng.normal(0, 0.4, size=100))) for _ in range(2))
        named = [{str(key): float(value) for key, value in scores.items()} for scores in (a, b)]
        found = paired_difference(named[0], named[1], simulation, draws=500, permutations=499)
        assert found.low is not None
        assert found.high is not None
        assert found.p is not None
        hits += found.low <= 0.0 <= found.high
        false_alarms += found.p <= 0.05
    assert 0.91 <= hits / 300 <= 0.985
    assert false_alarms / 300 <= 0.085


def test_values_of_one_prompt_are_drawn_together() -> None:
    """Ten copies of every value tell no more than one."""
    values = [1.0, 2.0, 4.0, 5.0, 3.5, 2.5]
    assert cluster_bootstrap([[v] * 10 for v in values], 5) == bootstrap_mean(values, 5)


def test_seeds_and_prompts_are_drawn_independently() -> None:
    """Against the exact variance of such draws (Owen 2007), which two factors alone make."""
    prompts, seeds = np.linspace(-1, 1, 40), np.linspace(-0.5, 0.5, 30)[:, None]
    found = crossed_bootstrap(prompts + seeds, 3, draws=20000)
    # widened by t over the normal quantile, of samples' own variances: t(39) = 2.0227, t(29) = 2.0452
    deviation = ((2.0227**2 * prompts.var() / 39) + (2.0452**2 * seeds.var() / 29)) ** 0.5
    assert found.mean == pytest.approx(0.0, abs=1e-12)
    assert found.high == pytest.approx(deviation, rel=0.04)
    assert found.low == pytest.approx(-deviation, rel=0.04)


@pytest.mark.parametrize("of_seeds", [0.0, 0.02])
def test_three_seeds_keep_their_level_whether_trainings_differ_or_not(of_seeds: float) -> None:
    rng = np.random.default_rng(1)
    held = 0
    for _ in range(300):
        prompts, noise = rng.normal(0, 0.04, 24), rng.normal(0, 0.02, (3, 24))
        found = crossed_bootstrap(prompts + noise + rng.normal(0, of_seeds, (3, 1)), 0, draws=400)
        assert found.low is not None
        assert found.high is not None
        held += found.low <= 0 <= found.high
    assert held / 300 >= 0.93  # plain percentiles: 0.95 and 0.86


def test_one_seed_is_a_bootstrap_of_prompts() -> None:
    values = [1.0, 2.0, 4.0, 5.0, 3.5, 2.5]
    assert crossed_bootstrap(np.asarray([values]), 5) == bootstrap_mean(values, 5)


def test_prompts_count_the_same_unless_values_are_pooled() -> None:
    clusters = [[1.0], [3.0, 3.0, 3.0], []]
    assert cluster_bootstrap(clusters, 0).mean == 2.0
    assert cluster_bootstrap(clusters, 0, pooled=True).mean == 2.5
    assert cluster_bootstrap(clusters, 0).n == 2


def test_a_paired_difference_knows_shared_prompts_only() -> None:
    a = {f"p{n}": float(n) for n in range(8)}
    b = {name: value + 1.0 for name, value in a.items()} | {"other": 99.0}
    found = paired_difference(a, b, 0)
    assert (found.mean, found.low, found.high, found.n) == (1.0, 1.0, 1.0, 8)
    assert found.p == pytest.approx(2 / 2**8)  # exact: all signs equal, either way
    assert paired_difference(a, a, 0).p == 1.0
    assert paired_difference(a, {}, 0).mean is None
    assert paired_difference({"x": 1.0}, {"x": 2.0}, 0).p is None


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_never_lowers_a_p_value_and_keeps_the_order(p: list[float]) -> None:
    adjusted = holm(p)
    assert all(q >= x for q, x in zip(adjusted, p, strict=True))
    assert all(adjusted[i] <= adjusted[j] for i in range(len(p)) for j in range(len(p)) if p[i] <= p[j])


KRIPPENDORFF = [  # the worked example of Krippendorff (2011), "Computing Krippendorff's Alpha-Reliability"
    [1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3],
    [None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None],
]


@pytest.mark.parametrize(("level", "published"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)])
def test_alpha_of_the_published_example(level: str, published: float) -> None:
    assert krippendorff_alpha(KRIPPENDORFF, level) == pytest.approx(published, abs=0.0006)  # type: ignore[arg-type]


def test_alpha_where_there_is_none() -> None:
    assert krippendorff_alpha([[3, 3], [3, 3]], "interval") is None
    assert krippendorff_alpha([[1, None], [None, 2]], "interval") is None
    assert alpha_estimate([[], []], "interval", 0).n == 0
    found = alpha_estimate(KRIPPENDORFF, "interval", 0)
    assert found.n == 11  # the last unit has one rating alone
    assert found.low is not None
    assert found.high is not None
    assert found.low < 0.849 < found.high <= 1.0


def test_interval_alpha_of_real_numbers_is_that_of_all_pairs() -> None:
    rng = np.random.default_rng(1)
    data = 90 + rng.normal(size=200) + rng.normal(scale=0.7, size=(3, 200))
    data[0, :50], data[1, 0] = np.nan, 0.0  # missing ratings, and one far from all others
    units = [column[~np.isnan(column)] for column in data.T]
    within = sum(((unit[:, None] - unit) ** 2).sum() / (len(unit) - 1) for unit in units)
    ratings = np.concatenate(units)
    everything = ((ratings[:, None] - ratings) ** 2).sum() / (len(ratings) - 1)
    given = [[None if np.isnan(x) else float(x) for x in row] for row in data]
    assert krippendorff_alpha(given, "interval") == pytest.approx(1 - within / everything, abs=1e-9)


def test_interval_alpha_of_whole_numbers_is_the_packages() -> None:
    import krippendorff

    data = np.random.default_rng(2).integers(1, 6, size=(4, 40)).astype(float)
    data[0, :7] = data[1:, 9] = np.nan
    given = [[None if np.isnan(x) else float(x) for x in row] for row in data]
    package = krippendorff.alpha(reliability_data=data, level_of_measurement="interval")
    assert krippendorff_alpha(given, "interval") == pytest.approx(package, abs=1e-12)


def test_rank_statistics() -> None:
    assert spearman([1, 2, 3, 4], [10, 20, 25, 99]) == pytest.approx(1.0)
    assert spearman([1, 2], [1, 2]) is None
    assert spearman([1, 1, 1], [1, 2, 3]) is None
    assert kendall_tau([1, 2, 3], [3, 2, 1]) == pytest.approx(-1.0)
    assert kendall_tau([1, 2, 3, 4], [1, 2, 4, 3]) == pytest.approx(2 / 3)
    assert kendall_tau([1, 1], [1, 2]) is None
    found = spearman_estimate(list(range(40)), [n + (n % 7) for n in range(40)], 0)
    assert found.low is not None
    assert found.high is not None
    assert found.mean is not None
    assert 0.9 < found.low <= found.mean <= found.high <= 1.0


def test_length_within_prompts_ignores_what_prompts_ask_for() -> None:
    """Across prompts longer is better, within each prompt shorter is: only the latter counts."""
    scores, words = [[1.0, 2.0], [5.0, 6.0], [8.0, 9.0]], [[20, 10], [200, 100], [2000, 1000]]
    found = within_prompt_correlation(scores, words)
    assert found is not None
    assert found < -0.8
    assert within_prompt_correlation([[1.0], [2.0]], [[5], [9]]) is None


def test_scores_at_one_length() -> None:
    """Two models, equal but for half a point per doubling; the second writes four times as much."""
    words = [[2.0**n - 1 for n in (5, 7, 6, 9)], [2.0**n - 1 for n in (8, 8, 8, 11)]]
    scores = [[p + 0.5 * math.log2(1 + w) for p, w in enumerate(row)] for row in words]
    effect = length_adjusted(scores, words)
    assert effect.slope == pytest.approx(0.5)
    assert effect.adjusted[0] == pytest.approx(effect.adjusted[1])
    raw = [sum(row) / 4 for row in scores]
    assert raw[1] - raw[0] == pytest.approx(0.5 * 2)
    assert sum(effect.adjusted) == pytest.approx(sum(raw))


def test_lengths_that_do_not_vary_adjust_nothing() -> None:
    effect = length_adjusted([[1.0, 2.0]], [[10, 10]])
    assert (effect.slope, effect.adjusted) == (None, (1.5,))


def test_histogram_counts_every_value_once() -> None:
    assert histogram([1, 1, 2.5, 5], 1, 5, 4) == [2, 1, 0, 1]
    assert histogram([], 0, 1, 2) == [0, 0]
