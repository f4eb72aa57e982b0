"""Estimates with their uncertainty, agreement between raters, and the pull of length. Knows numbers only.

The unit that is drawn is always the prompt: repeats, judges and criteria of one prompt are not independent.
Resampling and rank statistics are scipy's, Krippendorff's alpha is the `krippendorff` package's but for real numbers.
"""

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

DRAWS = 2000
LEVEL = 0.95
AGREEMENT_DRAWS = 500
"""Draws for the interval of an agreement, which is dearer than a mean."""
BATCH = 2_000_000
"""Numbers drawn at once: bounds memory, changes no result."""

Scale = Literal["nominal", "ordinal", "interval"]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value and its interval; None where the numbers do not allow one."""

    mean: float | None
    low: float | None
    high: float | None
    n: int
    """Prompts (or rated units) behind the value."""


@dataclass(frozen=True, slots=True)
class Difference(Estimate):
    """Mean of paired differences; `p` is two-sided, None where there is nothing to test."""

    p: float | None


def bootstrap_mean(values: Sequence[float], seed: int, draws: int = DRAWS, level: float = LEVEL) -> Estimate:
    """Mean of one value per prompt, with its bootstrap interval.

    The interval is the percentile interval, widened for few prompts so that it keeps its level
    (Hesterberg 2015, "What Teachers Should Know About the Bootstrap", section 3.4: expanded percentile).
    Without values there is no mean, with a single one no interval.
    """
    return cluster_bootstrap([[value] for value in values], seed, draws=draws, level=level)


def cluster_bootstrap(
    clusters: Sequence[Sequence[float]],
    seed: int,
    *,
    pooled: bool = False,
    draws: int = DRAWS,
    level: float = LEVEL,
) -> Estimate:
    """Mean over prompts with its interval; a cluster is a prompt with all values that belong to it.

    Prompts are drawn whole. Each counts the same; with `pooled` each value does. Empty clusters do not count.
    """
    filled = [cluster for cluster in clusters if len(cluster)]
    if not filled:
        return Estimate(None, None, None, 0)
    sums = np.asarray([math.fsum(cluster) for cluster in filled])
    sizes = np.asarray([len(cluster) for cluster in filled], dtype=np.float64)
    if not pooled:
        sums, sizes = sums / sizes, np.ones_like(sizes)
    mean = float(sums.sum() / sizes.sum())

    def drawn_mean(chosen: NDArray[np.int64], axis: int) -> Floats:
        return np.asarray(sums[chosen].sum(axis=axis) / sizes[chosen].sum(axis=axis))

    low, high = _interval(len(filled), drawn_mean, seed, draws, level, vectorised=True)
    return Estimate(mean, low, high, len(filled))


def crossed_bootstrap(values: Floats, seed: int, draws: int = DRAWS, level: float = LEVEL) -> Estimate:
    """Mean of `values` (repetitions, prompts) with its interval: both are drawn, independently of each other.

    For trainings with several seeds, asked the same prompts (Owen 2007, "The pigeonhole bootstrap"). What each of the
    two contributes is widened for few, as in `bootstrap_mean`: two or three seeds say little of a third or fourth. A
    single repetition is that of `bootstrap_mean`. `n` counts prompts.
    """
    repetitions, prompts = values.shape
    if repetitions < 2 or prompts < 2:
        return bootstrap_mean(values.mean(axis=0).tolist(), seed, draws, level)
    rng = np.random.default_rng(seed)
    rows, columns = (rng.multinomial(n, np.full(n, 1 / n), size=draws) / n for n in values.shape)
    mean = float(values.mean())
    of_rows = rows @ values.mean(axis=1) - mean
    others = np.einsum("dr,rp,dp->d", rows, values, columns) - mean - of_rows
    drawn = mean + _widening(repetitions, level) * of_rows + _widening(prompts, level) * others
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return Estimate(mean, float(low), float(high), prompts)


def _widening(n: int, level: float) -> float:
    """By how much the deviations of a bootstrap's means are too small for a sample of n from a normal distribution."""
    from scipy import stats

    return _expanded(n, level) / float(stats.norm.ppf((1 + level) / 2))


def _expanded(n: int, level: float) -> float:
    """Half an interval of a sample's mean, in deviations of a bootstrap's means (Hesterberg 2015, section 3.4)."""
    from scipy import stats

    return math.sqrt(n / (n - 1)) * float(stats.t.ppf((1 + level) / 2, n - 1))


def bootstrap(n: int, statistic: Callable[[NDArray[np.int64]], float], seed: int, draws: int = DRAWS) -> Estimate:
    """Any statistic of `n` units, given as a function of their indexes, with its interval.

    Draws on which the statistic is not a number do not count.
    """
    if n == 0:
        return Estimate(None, None, None, 0)
    value = statistic(np.arange(n))
    if math.isnan(value):
        return Estimate(None, None, None, n)
    low, high = _interval(n, statistic, seed, draws, LEVEL, vectorised=False)
    return Estimate(value, low, high, n)


def _interval(
    n: int, statistic: Callable[..., Any], seed: int, draws: int, level: float, *, vectorised: bool
) -> tuple[float | None, float | None]:
    from scipy import stats

    if n < 2:
        return None, None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)  # draws that are not a number are left out below
        drawn = stats.bootstrap(
            (np.arange(n),),
            statistic,
            n_resamples=draws,
            batch=max(1, BATCH // n),
            vectorized=vectorised,
            method="percentile",
            rng=np.random.default_rng(seed),
        ).bootstrap_distribution
    drawn = drawn[~np.isnan(drawn)]
    if not drawn.size:
        return None, None
    tail = float(stats.norm.cdf(-_expanded(n, level)))
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return float(low), float(high)


def paired_difference(
    a: Mapping[str, float], b: Mapping[str, float], seed: int, *, draws: int = DRAWS, permutations: int = 9999
) -> Difference:
    """Mean of b − a over the prompts that both have, with its interval and a p-value.

    The p-value is that of a permutation test: under no difference the two models' scores on a prompt may be
    swapped, so signs are flipped (all ways for few prompts, else `permutations` drawn ones).
    """
    from scipy import stats

    differences = np.asarray([b[key] - a[key] for key in a if key in b])
    found = bootstrap_mean(list(differences), seed, draws)
    if len(differences) < 2:
        return Difference(found.mean, found.low, found.high, found.n, None)
    if not differences.any():
        return Difference(found.mean, found.low, found.high, found.n, 1.0)
    test = stats.permutation_test(
        (differences,),
        np.mean,
        permutation_type="samples",
        vectorized=True,
        n_resamples=permutations,
        batch=max(1, BATCH // len(differences)),
        rng=np.random.default_rng(seed),
    )
    return Difference(found.mean, found.low, found.high, found.n, float(test.pvalue))


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted for being several (Holm 1979), in the order given.

    Rejecting where they are at most 0.05 keeps the chance of any false finding at 5 %. scipy has no Holm.
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    raised = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(raised, 1.0)
    return [float(value) for value in adjusted]


def krippendorff_alpha(ratings: Sequence[Sequence[float | None]], level: Scale) -> float | None:
    """Agreement between raters beyond chance: 1 is perfect, 0 chance. `ratings` is (raters, units), None: not rated.

    None where no unit has two ratings, or all ratings are the same.
    """
    value = alpha_of(as_table(ratings), level)
    return None if math.isnan(value) else value


def alpha_estimate(ratings: Sequence[Sequence[float | None]], level: Scale, seed: int) -> Estimate:
    """Krippendorff's alpha with its bootstrap interval over units. `ratings` is (raters, units)."""
    data = as_table(ratings)
    rated = np.flatnonzero((~np.isnan(data)).sum(axis=0) > 1)
    kept = data[:, rated]
    return bootstrap(len(rated), lambda chosen: alpha_of(kept[:, chosen], level), seed, AGREEMENT_DRAWS)


def as_table(ratings: Sequence[Sequence[float | None]]) -> Floats:
    """(raters, units) as an array, missing ratings NaN."""
    data = np.asarray([[math.nan if x is None else x for x in row] for row in ratings], dtype=np.float64)
    return data.reshape(len(ratings), -1)


def alpha_of(data: Floats, level: Scale) -> float:
    """Krippendorff's alpha of (raters, units), missing ratings NaN; NaN where there is none."""
    import krippendorff

    pairable = data[:, (~np.isnan(data)).sum(axis=0) > 1]
    if len(np.unique(pairable[~np.isnan(pairable)])) < 2:
        return math.nan
    if level == "interval":
        return _interval_alpha(pairable)
    return float(krippendorff.alpha(reliability_data=pairable, level_of_measurement=level))


def _interval_alpha(data: Floats) -> float:
    """1 less the mean squared difference within units over that between all ratings; every unit has two or more.

    Of sums of squares: the package compares all values with all others, which real-valued scores would make endless.
    """
    centred = data - np.nanmean(data)
    n, sums, squares = (~np.isnan(data)).sum(axis=0), np.nansum(centred, axis=0), np.nansum(centred**2, axis=0)
    within = ((n * squares - sums**2) / (n - 1)).sum()
    return float(1 - within * (n.sum() - 1) / (n.sum() * squares.sum() - sums.sum() ** 2))


def spearman(a: Sequence[float], b: Sequence[float]) -> float | None:
    """Rank correlation of two ratings of the same units; None for fewer than three, or where one never varies."""
    value = spearman_of(np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64))
    return None if math.isnan(value) else value


def spearman_estimate(a: Sequence[float], b: Sequence[float], seed: int) -> Estimate:
    """Rank correlation with its bootstrap interval over units."""
    x, y = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    return bootstrap(len(x), lambda chosen: spearman_of(x[chosen], y[chosen]), seed, AGREEMENT_DRAWS)


def spearman_of(a: Floats, b: Floats) -> float:
    """Rank correlation; NaN where there is none."""
    from scipy import stats

    if len(a) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return math.nan
    return float(stats.spearmanr(a, b).statistic)


def kendall_tau(a: Sequence[float], b: Sequence[float]) -> float | None:
    """Agreement of two rankings (tau-b): 1 the same order, −1 the reverse. None where one is all ties."""
    from scipy import stats

    if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    return float(stats.kendalltau(a, b).statistic)


def within_prompt_correlation(scores: Sequence[Sequence[float]], words: Sequence[Sequence[float]]) -> float | None:
    """Rank correlation of score and length among answers to the same prompt; each inner sequence is one prompt's.

    Every prompt's own mean is taken from its scores and from its log lengths first, so that prompts which ask for
    long answers, or are easy, do not count. None where no prompt has two answers, or nothing varies.
    """
    pairs = [(s, w) for s, w in zip(scores, words, strict=True) if len(s) > 1]
    if not pairs:
        return None
    centred = [_centred(part) for part in ([s for s, _ in pairs], [_log(w) for _, w in pairs])]
    return spearman(list(centred[0]), list(centred[1]))


def _centred(groups: Sequence[Sequence[float]]) -> Floats:
    """Rounded, since differences that are equal but for floating-point error are ties."""
    return np.round(np.concatenate([np.asarray(group) - np.mean(group) for group in groups]), 9)


def _log(words: Sequence[float]) -> list[float]:
    return [math.log1p(count) for count in words]


@dataclass(frozen=True, slots=True)
class LengthEffect:
    """What score and length have to do with each other."""

    slope: float | None
    """Score gained per doubling of the words; None where lengths do not vary."""
    adjusted: tuple[float, ...]
    """Of each model: the mean score that it would have at the common mean log length."""


def length_adjusted(scores: Sequence[Sequence[float]], words: Sequence[Sequence[float]]) -> LengthEffect:
    """Mean scores of several models at one common length; both arguments are (models, shared prompts).

    Least squares of score on log length with an effect of each model and each prompt, so that the slope comes from
    answers to the same prompt alone; one model has only prompts to compare, and the slope is across them.
    """
    s, x = np.asarray(scores, dtype=np.float64), np.log2(1 + np.asarray(words, dtype=np.float64))
    y, z = (_doubly_centred(values) if len(values) > 1 else values - values.mean() for values in (s, x))
    spread = float((z * z).sum())
    if spread < 1e-9:
        return LengthEffect(None, tuple(float(mean) for mean in s.mean(axis=1)))
    slope = float((y * z).sum()) / spread
    adjusted = s.mean(axis=1) - slope * (x.mean(axis=1) - x.mean())
    return LengthEffect(slope, tuple(float(mean) for mean in adjusted))


def _doubly_centred(values: Floats) -> Floats:
    return np.asarray(values - values.mean(axis=0) - values.mean(axis=1, keepdims=True) + values.mean())


def histogram(values: Sequence[float], low: float, high: float, bins: int) -> list[int]:
    """Counts of values in `bins` equal parts of [low, high]; the highest value belongs to the last part."""
    return [int(count) for count in np.histogram(np.asarray(values, dtype=np.float64), bins, (low, high))[0]]
