"""Parametric pulse responses of a single element, one for each device type, for fitting. numpy only.

A model is evaluated at weights ``w`` and polarities ``up``. Where a device spreads parameters that
cannot be told apart in one element, the model has their combinations.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Model:
    """A pulse response with parameters ``theta``; the first two are step sizes up and down.

    ``step(theta, w, up)`` gives the size of a step; ``start(w, step, up, low, high)`` a first guess
    from measured steps and the range of the weights. ``clips``: steps do not vanish at the bounds,
    so that the bounds are where the weight stops, and steps near them say little.
    """

    names: tuple[str, ...]
    step: Callable[[Array, Array, Mask], Array]
    start: Callable[[Array, Array, Mask, float, float], Array]
    clips: bool

    def symmetric_point(self, theta: Array, low: float, high: float) -> float:
        """The weight between ``low`` and ``high`` with equal steps, nan for none."""

        def excess(w: float) -> float:
            up, down = self.step(theta, np.array([w, w]), np.array([True, False]))
            return float(up - down)

        if not (excess(low) > 0 > excess(high)):
            return float("nan")
        return float(brentq(excess, low, high))


def _line(w: Array, step: Array, up: Mask) -> tuple[float, float, float, float]:
    """Straight lines through the steps: size at 0 and relative decrease, up and down."""
    slope_up, s_up = np.polyfit(w[up], step[up], 1)
    slope_down, s_down = np.polyfit(w[~up], step[~up], 1)
    return float(s_up), float(s_down), float(-slope_up / s_up), float(slope_down / s_down)


def _where(up: Mask, if_up: Array, if_down: Array) -> Array:
    chosen: Array = np.where(up, if_up, if_down)
    return chosen


def _constant(theta: Array, w: Array, up: Mask) -> Array:
    return _where(up, np.full_like(w, theta[0]), np.full_like(w, theta[1]))


def _linear(theta: Array, w: Array, up: Mask) -> Array:
    s_up, s_down, k_up, k_down = theta
    return _where(up, s_up * (1 - k_up * w), s_down * (1 + k_down * w))


def _soft_bounds(theta: Array, w: Array, up: Mask) -> Array:
    s_up, s_down, b_max, b_min = theta
    return _where(up, s_up * (1 - w / b_max), s_down * (1 - w / b_min))


def _exponential(theta: Array, w: Array, up: Mask) -> Array:
    s_up, s_down, q_up, q_down, r_up, r_down = theta
    return _where(up, s_up * bend(q_up, r_up, w), s_down * bend(q_down, r_down, -w))


def bend(q: float | Array, r: float | Array, w: Array) -> Array:
    """Step of an exponential device over that at w = 0; ``w`` counts in the direction of the pulses."""
    with np.errstate(over="ignore"):
        above: Array = np.maximum(1 - q * np.expm1(r * w), 0)
    return above


def _power(theta: Array, w: Array, up: Mask) -> Array:
    s_up, s_down, b_max, b_min, g_up, g_down = theta
    reach = b_max - b_min
    above, below = np.clip((b_max - w) / reach, 1e-9, 1), np.clip((w - b_min) / reach, 1e-9, 1)
    return _where(up, s_up * above**g_up, s_down * below**g_down)


def _start_constant(w: Array, step: Array, up: Mask, low: float, high: float) -> Array:
    return np.array([step[up].mean(), step[~up].mean()])


def _start_linear(w: Array, step: Array, up: Mask, low: float, high: float) -> Array:
    return np.array(_line(w, step, up))


def _start_soft_bounds(w: Array, step: Array, up: Mask, low: float, high: float) -> Array:
    s_up, s_down, k_up, k_down = _line(w, step, up)
    return np.array([s_up, s_down, 1 / k_up, -1 / k_down])


def _start_power(w: Array, step: Array, up: Mask, low: float, high: float) -> Array:
    reach = high - low
    margin = 0.02 * reach
    above, below = (high + margin - w[up]) / reach, (w[~up] - low + margin) / reach
    return np.array(
        [
            float((step[up] * above).sum() / (above**2).sum()),
            float((step[~up] * below).sum() / (below**2).sum()),
            high + margin,
            low - margin,
            1.0,
            1.0,
        ]
    )


_STEPS = ("s_up", "s_down")
_BOUNDS = ("b_max", "b_min")
_SOFT = (_STEPS + _BOUNDS, _soft_bounds, _start_soft_bounds)

MODELS = {
    "constant_step": Model(_STEPS, _constant, _start_constant, True),
    # k: relative decrease of the step per weight
    "linear_step": Model((*_STEPS, "k_up", "k_down"), _linear, _start_linear, True),
    "soft_bounds": Model(*_SOFT, False),
    # steps and bounds as seen from w = 0: those of an element without reference
    "soft_bounds_reference": Model(*_SOFT, True),
    # step = s (1 - q (exp(+-r w) - 1)): the shape is fitted to all elements at once
    "exp_step": Model(
        (*_STEPS, "q_up", "q_down", "r_up", "r_down"), _exponential, _start_constant, True
    ),
    "pow_step": Model((*_STEPS, *_BOUNDS, "g_up", "g_down"), _power, _start_power, False),
}
