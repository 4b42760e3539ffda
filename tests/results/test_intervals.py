"""Intervals: Student's by its formula, the bootstrap by its coverage."""

import numpy as np
import pytest

from analogpipe.results.intervals import bootstrap, mean, mean_interval, ratio_interval


def test_interval_is_students():
    # Mean 2, standard error 1/sqrt(3), t(0.975, 2) = 4.3027.
    middle, low, high = mean_interval(np.array([1.0, 2.0, 3.0]))
    assert (middle, high - middle) == pytest.approx((2, 4.3027 / np.sqrt(3)), rel=1e-4)
    assert middle - low == pytest.approx(high - middle)
    assert mean_interval(np.array([1.0])) == (1.0, -np.inf, np.inf)


def test_ratio_interval():
    middle, low, high = ratio_interval(np.array([2.0, 8.0]), np.array([1.0, 2.0]))
    assert middle == pytest.approx(np.sqrt(8))
    assert low < 2
    assert high > 4
    assert np.isnan(ratio_interval(np.array([2.0, np.nan]), np.array([1.0, 1.0]))).all()


def test_interval_covers_the_truth():
    stream = np.random.default_rng(1)
    inside = 0
    for _ in range(60):
        _, low, high = bootstrap(mean, stream.normal(1, 1, (1, 40)))
        inside += low <= 1 <= high
    assert 50 <= inside <= 60
    assert bootstrap(mean, np.ones((1, 1))) == (1.0, -np.inf, np.inf)
