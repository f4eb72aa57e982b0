"""Means with their uncertainty. Knows numbers only, one per prompt."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

DRAWS = 2000
LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean and its interval; None where the numbers do not allow one."""

    mean: float | None
    low: float | None
    high: float | None
    n: int
    """Prompts that the mean is taken over."""


def bootstrap_mean(values: Sequence[float], seed: int, draws: int = DRAWS, level: float = LEVEL) -> Estimate:
    """Mean with its percentile bootstrap interval: prompts are drawn with replacement, `draws` times.

    One value per prompt: repeats and criteria are averaged before, so a prompt is the unit that is drawn.
    Without values there is no mean, with a single one no interval.
    """
    if not values:
        return Estimate(None, None, None, 0)
    data = np.asarray(values, dtype=np.float64)
    mean = float(data.mean())
    if len(data) == 1:
        return Estimate(mean, None, None, 1)
    chosen = np.random.default_rng(seed).integers(len(data), size=(draws, len(data)))
    low, high = np.quantile(data[chosen].mean(axis=1), [(1 - level) / 2, (1 + level) / 2])
    return Estimate(mean, float(low), float(high), len(data))
