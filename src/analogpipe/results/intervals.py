"""95 % intervals over seeds: Student's for the runs of networks, the bootstrap for the theory's fits."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.float64]
Interval = tuple[float, float, float]
"""A measured number, and the low and the high end of its interval."""

CONFIDENCE = 0.95
RESAMPLES = 2000


def mean_interval(values: Floats) -> Interval:
    """Return the mean of ``values`` (seeds,) and its Student-t interval, infinite for a single seed.

    One infinite value makes the mean and both ends infinite: what a seed never reaches counts in full.
    """
    mean = float(np.mean(values))
    if np.isinf(mean):
        return mean, mean, mean
    if len(values) < 2:
        return mean, -np.inf, np.inf
    half = float(stats.sem(values) * stats.t.ppf((1 + CONFIDENCE) / 2, len(values) - 1))
    return mean, mean - half, mean + half


def exp(found: Interval) -> Interval:
    """Return an interval of logarithms as one of ratios."""
    value, low, high = np.exp(found)
    return float(value), float(low), float(high)


def inverse(found: Interval) -> Interval:
    """Return an interval of ratios the other way round."""
    with np.errstate(divide="ignore"):
        value, high, low = 1 / np.array(found)
    return float(value), float(low), float(high)


def equivalence(differences: Floats) -> tuple[float, float, float, float, float]:
    """Return the mean of paired differences (seeds, samples), its errors by seeds and by samples, and the
    interval of two one-sided tests.

    The mean lies within a margin, by two one-sided tests at 5 % each (Schuirmann 1987), exactly if both
    ends of the interval, which holds 90 %, do. Its error is the root of the summed squares of that of
    the seeds and that of the sample of test samples, with the degrees of freedom of the seeds. The
    interval is infinite for a single seed.
    """
    seeds, samples = differences.shape
    mean = float(differences.mean())
    if np.isinf(mean):
        return mean, np.inf, np.inf, mean, mean
    by_sample = float(differences.mean(0).std(ddof=1) / np.sqrt(samples)) if samples > 1 else np.inf
    if seeds < 2:
        return mean, np.inf, by_sample, -np.inf, np.inf
    by_seed = float(stats.sem(differences.mean(1)))
    half = float(np.hypot(by_seed, by_sample) * stats.t.ppf(CONFIDENCE, seeds - 1))
    return mean, by_seed, by_sample, mean - half, mean + half


def bootstrap(statistic: Callable[[Floats], Any], values: Floats) -> Interval:
    """Return a statistic of ``values`` (settings, seeds) and its interval by the bootstrap.

    ``statistic`` maps arrays (settings, ..., seeds) to arrays (...,): it averages over the last axis.
    Whole seeds are drawn again, so that a difference or a fit keeps the pairing of its settings.
    """
    measured = float(statistic(values))
    if values.shape[-1] < 2:
        return measured, -np.inf, np.inf

    def of_samples(*samples: Floats, axis: int = -1) -> Any:
        return statistic(np.stack(samples))

    result = stats.bootstrap(
        tuple(values),
        of_samples,
        paired=True,
        vectorized=True,
        n_resamples=RESAMPLES,
        batch=200,
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(0),
    )
    low, high = result.confidence_interval
    return measured, float(low), float(high)


def mean(values: Floats) -> Any:
    """Mean over the seeds of the only setting."""
    return values[0].mean(-1)


def means(values: Floats) -> Any:
    """Mean over the seeds of each setting."""
    return values.mean(-1)


def difference(values: Floats) -> Any:
    """Mean of the first setting less that of the second."""
    return (values[0] - values[1]).mean(-1)


def ratio(values: Floats) -> Any:
    """Mean of the first setting over that of the second."""
    return values[0].mean(-1) / values[1].mean(-1)


def named(name: str, found: Interval, expected: float | None = None) -> dict[str, float]:
    """Return a value and its interval as columns ``name``, ``name_low``, ``name_high``.

    With a prediction there is ``name_expected`` too.
    """
    columns = dict(zip((name, f"{name}_low", f"{name}_high"), found, strict=True))
    return columns if expected is None else columns | {f"{name}_expected": float(expected)}
