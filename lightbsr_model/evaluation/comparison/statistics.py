"""Uncertainty of differences: paired bootstrap over the images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np


class Interval(NamedTuple):
    """A mean and its confidence interval."""

    mean: float
    low: float
    high: float

    @property
    def is_noise(self) -> bool:
        """Whether the interval contains 0."""
        return self.low <= 0 <= self.high


def bootstrap_mean(values: Sequence[float], resamples: int, confidence: float, seed: int = 0) -> Interval:
    """The percentile bootstrap interval of a mean.

    Args:
        values: One per image; for a paired difference, the differences.
        resamples: Number of samples drawn with replacement.
        confidence: Share of the resampled means inside the interval.
        seed: Seed of the draws: the same values give the same interval.

    Returns:
        The interval; for a single value it is that value, which says nothing.

    Raises:
        ValueError: No values.
    """
    if not len(values):
        raise ValueError("values: expected at least one, got none.")
    sample = np.asarray(values, dtype=np.float64)
    draws = np.random.default_rng(seed).integers(0, len(sample), (resamples, len(sample)))
    tail = (1 - confidence) / 2
    low, high = np.quantile(sample[draws].mean(axis=1), (tail, 1 - tail))
    return Interval(float(sample.mean()), float(low), float(high))


class Ranking(NamedTuple):
    """Which of several methods are marked."""

    best: frozenset[str]
    """The method with the best mean, and all whose paired difference to it has 0 in its interval."""
    second: frozenset[str]
    """The method with the best mean among the others."""


def rank(
    values: Mapping[str, Sequence[float]], higher_is_better: bool, resamples: int, confidence: float, seed: int = 0
) -> Ranking:
    """Find the methods to mark as best and second best.

    Args:
        values: The values of each method, one per image, with the images in the same order for all.
        higher_is_better: Whether larger values are better.
        resamples: As in :func:`bootstrap_mean`.
        confidence: As in :func:`bootstrap_mean`.
        seed: As in :func:`bootstrap_mean`.
    """
    if not values:
        return Ranking(frozenset(), frozenset())
    sign = 1 if higher_is_better else -1
    means = {name: sign * float(np.mean(each)) for name, each in values.items()}
    leader = max(means, key=lambda name: means[name])
    best = {leader}
    for name in values:
        differences = sign * (np.asarray(values[leader]) - np.asarray(values[name]))
        if name != leader and bootstrap_mean(list(differences), resamples, confidence, seed).is_noise:
            best.add(name)
    rest = [name for name in values if name not in best]
    return Ranking(frozenset(best), frozenset([max(rest, key=lambda name: means[name])] if rest else []))
