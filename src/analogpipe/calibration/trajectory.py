"""Likelihood of the trajectory of one element under pulses, seen through read noise.

The state moves by one noisy step per pulse and stops at its bounds; a reading adds white noise. An
extended Kalman filter predicts each reading from those before it (Durbin and Koopman, Time Series
Analysis by State Space Methods, 2012, ch. 10); where a bound cuts the prediction, mean and variance
are those of the normal distribution with its tails moved to the bounds. Without read noise the
predictions are the steps themselves.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import erf, exp, sqrt
from typing import Any, TypeVar, cast

import numpy as np
from numba import njit
from numpy.typing import NDArray

from analogpipe.calibration.model import Array

Index = NDArray[np.intp]
F = TypeVar("F", bound=Callable[..., Any])

NAMES = ("s_up", "s_down", "k_up", "k_down", "n_up", "n_down", "high", "low", "noise", "share")
"""Coordinates of an element: logarithms of the steps at 0, their relative decrease (up, down, each
in the direction of its pulses) and the bend of the response (where steps vanish at the bounds, their
logarithms, too: both are positive), bounds, and logarithms of the noise of a
pulse over its size and of the noise of a reading over that of a pulse."""
UP, DOWN, K_UP, K_DOWN, N_UP, N_DOWN, HIGH, LOW, NOISE, SHARE = range(len(NAMES))
LINE, POWER, EXPONENTIAL = range(3)
"""Forms of a step of relative size g at distance z from 0, in the direction of its pulses:
``1 - k z``, ``(1 - k n z)^(1/n)`` and ``1 - k (exp(n z) - 1) / n``. All have slope -k at 0, and n
tells their bend, so that data which do not determine a bound still determine k."""
LEAST_BEND = 0.1
"""Power responses of a smaller n are as good as exponential ones, n -> 0."""
LEAST_READ = 1e-6
"""Least read noise, in ranges of an element."""

STEP = 1e-6
"""Difference of a coordinate for derivatives."""


def _compiled(function: F) -> F:
    return cast(F, njit(cache=True, error_model="numpy")(function))


@_compiled
def _relative_step(form: int, k: float, n: float, z: float) -> tuple[float, float]:
    """Return the relative size of a step at ``z`` and its derivative."""
    if form == POWER:
        n = max(n, LEAST_BEND)
        left = 1 - k * n * z
        if left <= 0:
            return 0.0, 0.0
        size = left ** (1 / n)
        return size, -k * size / left
    if form == EXPONENTIAL and abs(n) > 1e-4:
        grown = exp(min(n * z, 50.0))
        size = 1 - k * (grown - 1) / n
        return (size, -k * grown) if size > 0 else (0.0, 0.0)
    return 1 - k * z, -k


@_compiled
def _cut(mean: float, variance: float, low: float, high: float) -> tuple[float, float]:
    """Mean and variance of a normal number whose tails beyond two bounds are moved to them."""
    spread = sqrt(variance)
    if spread == 0 or (mean - low > 8 * spread and high - mean > 8 * spread):
        return min(max(mean, low), high), variance
    for side in range(2):
        # one bound at a time: an element does not feel both at once
        bound, sign = (high, 1.0) if side == 0 else (low, -1.0)
        a = sign * (bound - mean) / spread
        if a > 8:
            continue
        if a < -8:
            return bound, 0.0
        below = 0.5 * (1 + erf(a / sqrt(2.0)))
        density = exp(-a * a / 2) / sqrt(2 * np.pi)
        excess = a * below + density
        # of min(x, a) for a standard normal x
        first = a - excess
        second = below - a * density + a * a * (1 - below)
        mean += sign * spread * first
        spread *= sqrt(max(second - first * first, 0.0))
        if spread == 0:
            return mean, 0.0
    return mean, spread * spread


@_compiled
def _innovations(
    form: int,
    additive: bool,
    phi: Array,
    zero: float,
    readings: Array,
    sign: Array,
    out: Array,
) -> None:
    """Fill ``out`` (2, pulses): reading minus its prediction, and the variance of that."""
    size_up, size_down = exp(phi[0]), exp(phi[1])
    high, low = phi[6], phi[7]
    noise, read = exp(2 * phi[8]), exp(2 * (phi[8] + phi[9])) + LEAST_READ**2
    typical_up, _ = _relative_step(form, phi[2], phi[4], zero)
    typical_down, _ = _relative_step(form, phi[3], phi[5], -zero)
    mean, variance = readings[0], read
    for t in range(len(sign)):
        way = sign[t]
        if way != 0:
            up = way > 0
            s = size_up if up else size_down
            relative, slope = _relative_step(
                form, phi[2] if up else phi[3], phi[4] if up else phi[5], way * mean
            )
            step, slope = s * relative, s * slope
            if additive:
                spread = (s * (typical_up if up else typical_down)) ** 2
            else:
                spread = step * step + slope * slope * variance
            # the size falls in the direction of the pulses: so does the distance of two states
            variance = (1 + slope) ** 2 * variance + noise * spread
            mean, variance = _cut(mean + way * step, variance, low, high)
        error = readings[t + 1] - mean
        total = variance + read
        out[0, t] = error
        out[1, t] = total
        mean += variance / total * error
        variance *= read / total


@dataclass(frozen=True)
class Trajectory:
    """Readings of one element, in coordinates in which it moves between about -1 and 1.

    ``readings`` (pulses + 1,), ``sign`` (pulses,): 1 up, -1 down, 0 no pulse.
    """

    readings: Array
    sign: Array
    form: int
    additive: bool
    soft: bool
    """The element stops where its steps vanish."""
    finer: float = 0.0
    """Logarithm of the unit of read noise, which elements share, over that of the readings."""
    zero: float = 0.0
    """Coordinate of the weight 0, whose steps additive noise is counted in."""

    def _full(self, phi: Array) -> Array:
        whole = phi.copy()
        whole[SHARE] += self.finer
        if not self.soft:
            return whole
        whole[K_UP : N_DOWN + 1] = np.exp(whole[K_UP : N_DOWN + 1])
        for bound, k, n, way in ((HIGH, K_UP, N_UP, 1.0), (LOW, K_DOWN, N_DOWN, -1.0)):
            part = whole[k] * (max(whole[n], LEAST_BEND) if self.form == POWER else 1.0)
            whole[bound] = way / part
        return whole

    def innovations(self, phi: Array) -> Array:
        """Errors of the predicted readings, and their variances, (2, pulses)."""
        out = np.empty((2, len(self.sign)))
        full = self._full(phi)
        _innovations(self.form, self.additive, full, self.zero, self.readings, self.sign, out)
        return out

    def log_likelihood(self, phi: Array) -> float:
        """Logarithm of the density of the readings, but for a constant."""
        error, variance = self.innovations(phi)
        value = -0.5 * float(np.sum(np.log(variance) + error**2 / variance))
        return value if np.isfinite(value) else -np.inf

    def information(self, phi: Array, free: Index) -> tuple[Array, Array]:
        """Gradient of the log-likelihood by the coordinates ``free``, and their Fisher information."""
        here = self.innovations(phi)
        error, variance = here
        slopes = np.empty((len(free), 2, len(error)))
        for i, index in enumerate(free):
            ahead = phi.copy()
            ahead[index] += STEP
            slopes[i] = (self.innovations(ahead) - here) / STEP
        by_error, by_variance = slopes[:, 0] / np.sqrt(variance), slopes[:, 1] / variance
        scaled = error / np.sqrt(variance)
        gradient = by_variance @ (scaled**2 - 1) / 2 - by_error @ scaled
        return gradient, by_error @ by_error.T + by_variance @ by_variance.T / 2
