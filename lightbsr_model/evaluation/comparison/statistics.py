"""How sure a difference is: bootstrap over the images, paired."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np


class Interval(NamedTuple):
    """A mean and the interval that it may be taken to lie in."""

    mean: float
    """Of the sample."""
    low: float
    """Lower end."""
    high: float
    """Upper end."""

    @property
    def is_noise(self) -> bool:
        """Whether 0 lies in it."""
        return self.low <= 0 <= self.high


def bootstrap_mean(values: Sequence[float], resamples: int, confidence: float, seed: int = 0) -> Interval:
    """The percentile bootstrap interval of a mean.

    Args:
        values: One an image; for a paired difference the differences.
        resamples: Draws with replacement.
        confidence: Share of the resampled means within the interval.
        seed: Of the draws: the same values give the same interval.

    Returns:
        The interval; of one value alone it is that value, which says nothing.

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
    """The one of the best mean, and all whose paired difference to it is noise."""
    second: frozenset[str]
    """Of the rest the one of the best mean."""


def rank(
    values: Mapping[str, Sequence[float]], higher_is_better: bool, resamples: int, confidence: float, seed: int = 0
) -> Ranking:
    """Find what deserves to be bold.

    Args:
        values: A method's values, one an image, the images in the same order for all.
        higher_is_better: Which way is up.
        resamples: As in :func:`bootstrap_mean`.
        confidence: As there.
        seed: As there.
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
