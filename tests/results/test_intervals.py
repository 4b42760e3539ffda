"""Intervals: Student's by its formula, two one-sided tests by their error, the bootstrap by its coverage."""

import numpy as np
import pytest

from analogpipe.results.intervals import bootstrap, equivalence, exp, inverse, mean, mean_interval


def test_interval_is_students():
    # Mean 2, standard error 1/sqrt(3), t(0.975, 2) = 4.3027.
    middle, low, high = mean_interval(np.array([1.0, 2.0, 3.0]))
    assert (middle, high - middle) == pytest.approx((2, 4.3027 / np.sqrt(3)), rel=1e-4)
    assert middle - low == pytest.approx(high - middle)
    assert mean_interval(np.array([1.0])) == (1.0, -np.inf, np.inf)


def test_one_infinite_value_is_the_mean():
    assert mean_interval(np.array([1.0, np.inf, 2.0])) == (np.inf, np.inf, np.inf)


def test_ratios_and_their_inverse():
    found = exp(mean_interval(np.log([2.0, 4.0])))
    assert found[0] == pytest.approx(np.sqrt(8))
    assert inverse(found) == pytest.approx((1 / found[0], 1 / found[2], 1 / found[1]))
    assert inverse((np.inf,) * 3) == (0.0, 0.0, 0.0)


def test_equivalence_has_the_error_of_seeds_and_of_samples():
    differences = np.array([[0.0, 1.0, 0.0, 1.0], [0.0, 1.0, 1.0, 1.0]])
    middle, by_seed, by_sample, low, high = equivalence(differences)
    assert middle == pytest.approx(0.625)
    assert by_seed == pytest.approx(0.125)
    assert by_sample == pytest.approx(np.std([0.0, 1.0, 0.5, 1.0], ddof=1) / 2)
    # t(0.95, 1) = 6.3138
    assert high - middle == pytest.approx(6.3138 * np.hypot(by_seed, by_sample), rel=1e-4)
    assert middle - low == pytest.approx(high - middle)
    assert equivalence(differences[:1])[3:] == (-np.inf, np.inf)


def test_two_one_sided_tests_err_in_one_of_twenty():
    """At a difference on the margin, of seeds and of test samples, equivalence is found rarely, not never."""
    stream = np.random.default_rng(3)
    margin, found = 0.05, 0
    for _ in range(600):
        by_seed, by_sample = stream.standard_normal((6, 1)), stream.standard_normal((1, 300))
        noise = 0.01 * by_seed + 0.1 * by_sample + 0.05 * stream.standard_normal((6, 300))
        low, high = equivalence(margin + noise)[3:]
        found += -margin <= low and high <= margin
    assert (
        3 <= found <= 46
    )  # 30 expected where all error is of the seeds, plus three standard errors


def test_interval_covers_the_truth():
    stream = np.random.default_rng(1)
    inside = 0
    for _ in range(60):
        _, low, high = bootstrap(mean, stream.normal(1, 1, (1, 40)))
        inside += low <= 1 <= high
    assert 50 <= inside <= 60
    assert bootstrap(mean, np.ones((1, 1))) == (1.0, -np.inf, np.inf)
