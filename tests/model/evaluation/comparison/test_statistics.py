from __future__ import annotations

import math

import numpy as np
import pytest

from lightbsr_model.evaluation.comparison.statistics import bootstrap_mean, rank


def test_interval_of_a_mean_is_the_textbooks():
    values = np.random.default_rng(1).normal(3, 2, 400)
    interval = bootstrap_mean(list(values), 20_000, 0.95)
    half = 1.96 * values.std(ddof=1) / math.sqrt(400)
    assert interval.mean == pytest.approx(values.mean())
    assert interval.low == pytest.approx(values.mean() - half, abs=0.05 * half)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.05 * half)
    wider = bootstrap_mean(list(values), 20_000, 0.99)
    assert wider.low < interval.low < interval.high < wider.high
    assert bootstrap_mean(list(values), 500, 0.95) == bootstrap_mean(list(values), 500, 0.95)


def test_interval_of_two_values_is_exact():
    # The means of two draws from {0, 1} are 0, 1/2 and 1 with shares 1/4, 1/2, 1/4.
    assert bootstrap_mean([0, 1], 4000, 0.95) == (0.5, 0.0, 1.0)
    assert bootstrap_mean([0, 1], 4000, 0.4) == (0.5, 0.5, 0.5)
    assert bootstrap_mean([2.0], 100, 0.95) == (2.0, 2.0, 2.0)
    with pytest.raises(ValueError, match="at least one"):
        bootstrap_mean([], 100, 0.95)


def test_noise_is_not_bold():
    base = np.linspace(20, 35, 14)
    jitter = np.tile([0.3, -0.29], 7)
    values = {"best": base + 1, "tied": base + 1 - 0.01 + jitter, "next": base + 0.5, "last": base}
    ranking = rank(values, True, 2000, 0.95)
    assert ranking.best == {"best", "tied"}
    assert ranking.second == {"next"}
    # Images differ by 15 dB, methods by 0.5: unpaired, nothing could be told apart.
    assert np.ptp(base) > 10 * 0.5
    assert rank({name: -each for name, each in values.items()}, False, 2000, 0.95) == ranking
    assert rank({"alone": base}, True, 100, 0.95).second == frozenset()
    assert rank({}, True, 100, 0.95).best == frozenset()
