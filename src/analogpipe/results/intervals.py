"""Intervals of the theory's numbers and fits, by bootstrap over seeds.

Whole seeds are drawn again, so that a difference or a fit keeps the pairing of its settings.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy import stats

from analogpipe.results.tables import CONFIDENCE
from analogpipe.theory.bounds import Floats

RESAMPLES = 2000

Interval = tuple[float, float, float]


def interval(statistic: Callable[[Floats], Any], values: Floats) -> Interval:
    """Return a statistic of ``values`` (settings, seeds) and the ends of its 95 % interval.

    ``statistic`` maps arrays (settings, ..., seeds) to arrays (...,): it averages over the last axis.
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


def slope(x: Floats, y: Floats) -> Any:
    """Least-squares slope of log y (settings, ...) against log x (settings,)."""
    u = np.log(x) - np.log(x).mean()
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.tensordot(u, np.log(y), 1) / (u @ u)


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


def exponent(
    quantity: str,
    way: Sequence[Any],
    order: float,
    x: Floats,
    curve: Callable[[Floats], Any],
    values: Floats,
    expected: Floats,
) -> dict[str, Any]:
    """A row of table 3: a fitted exponent beside the predicted ones.

    It is that of ``curve(values)`` in ``x``, for ``way`` (device, mode, stages); ``order`` is the
    exponent in the limit, ``expected`` the curve that is predicted for these ``x``.
    """
    found = interval(lambda v: slope(x, curve(v)), values)
    return {
        "quantity": quantity,
        "device": way[0],
        "mode": way[1],
        "stages": way[2],
        "order": order,
        "expected": float(slope(x, expected)),
        **dict(zip(("measured", "low", "high"), found, strict=True)),
    }
