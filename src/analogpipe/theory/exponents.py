"""Exponents that are fitted to the runs, beside the predicted ones: the rows of table 3."""

from collections.abc import Callable
from typing import Any

import numpy as np

from analogpipe.results.intervals import bootstrap
from analogpipe.theory.bounds import Floats
from analogpipe.theory.problem import Way


def slope(x: Floats, y: Floats) -> Any:
    """Least-squares slope of log y (settings, ...) against log x (settings,)."""
    u = np.log(x) - np.log(x).mean()
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.tensordot(u, np.log(y), 1) / (u @ u)


def exponent(
    quantity: str,
    way: Way,
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
    found = bootstrap(lambda v: slope(x, curve(v)), values)
    return {
        "quantity": quantity,
        **way._asdict(),
        "order": order,
        "expected": float(slope(x, expected)),
        **dict(zip(("measured", "low", "high"), found, strict=True)),
    }
