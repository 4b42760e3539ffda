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
    """Return the mean of ``values`` (seeds,) and its Student-t interval, infinite for a single seed."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return mean, -np.inf, np.inf
    half = float(stats.sem(values) * stats.t.ppf((1 + CONFIDENCE) / 2, len(values) - 1))
    return mean, mean - half, mean + half


def ratio_interval(above: Floats, below: Floats) -> Interval:
    """Return the geometric mean of paired ratios and its interval, taken on the logarithms.

    A pair with a missing value (a target that was not reached, or within the first epoch) makes the
    ratio unknown: NaN.
    """
    mean, low, high = mean_interval(np.log(above / below))
    return float(np.exp(mean)), float(np.exp(low)), float(np.exp(high))


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
