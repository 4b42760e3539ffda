"""Fitting the pulse response of single elements to their measured steps, and arrays to their
elements."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Model:
    """A parametric pulse response.

    ``step(theta, w, up)`` gives the size of a step (positive), ``symmetric_point(theta)`` where
    both are equal, ``start(w, step, up)`` a first guess of theta.
    """

    names: tuple[str, ...]
    step: Callable[[Array, Array, NDArray[np.bool_]], Array]
    symmetric_point: Callable[[Array], float]
    start: Callable[[Array, Array, NDArray[np.bool_]], Array]


@dataclass(frozen=True)
class ElementFit:
    """Fit of one element: parameters, their covariance, noise of one pulse, symmetric point and its
    standard error."""

    theta: Array
    covariance: Array
    noise: float
    noise_error: float
    symmetric_point: float
    symmetric_point_error: float


def _soft_bounds_step(theta: Array, w: Array, up: NDArray[np.bool_]) -> Array:
    s_up, s_down, b_max, b_min = theta
    sizes: Array = np.where(up, s_up * (1 - w / b_max), s_down * (1 - w / b_min))
    return sizes


def _soft_bounds_point(theta: Array) -> float:
    s_up, s_down, b_max, b_min = theta
    return float((s_up - s_down) / (s_up / b_max - s_down / b_min))


def _soft_bounds_start(w: Array, step: Array, up: NDArray[np.bool_]) -> Array:
    slope_up, s_up = np.polyfit(w[up], step[up], 1)
    slope_down, s_down = np.polyfit(w[~up], step[~up], 1)
    return np.array([s_up, s_down, -s_up / slope_up, -s_down / slope_down])


MODELS = {
    "soft_bounds": Model(
        ("s_up", "s_down", "b_max", "b_min"),
        _soft_bounds_step,
        _soft_bounds_point,
        _soft_bounds_start,
    ),
}


def fit_element(model: Model, before: Array, after: Array, up: NDArray[np.bool_]) -> ElementFit:
    """Fit one element to its steps by weighted least squares.

    The noise of a pulse is proportional to its size, so steps are weighted by the inverse of the
    fitted size, in two passes.
    """
    step = np.where(up, after - before, before - after)
    theta = model.start(before, step, up)
    floor = 0.02 * float(np.median(np.abs(model.step(theta, before, up))))
    for _ in range(2):
        weight = 1 / np.maximum(model.step(theta, before, up), floor)

        def residuals(theta: Array, weight: Array = weight) -> Array:
            return (step - model.step(theta, before, up)) * weight

        result = least_squares(residuals, theta, x_scale=np.abs(theta) + 1e-12)
        theta = result.x
    # steps below the floor are weighted down: they say little about the noise
    relative = residuals(theta)[model.step(theta, before, up) > floor]
    freedom = len(relative) - len(theta)
    noise = float(np.sqrt(np.sum(relative**2) / freedom))
    jacobian = np.asarray(result.jac)
    covariance = noise**2 * np.linalg.pinv(jacobian.T @ jacobian)
    gradient = np.array([_derivative(model.symmetric_point, theta, i) for i in range(len(theta))])
    return ElementFit(
        theta,
        covariance,
        noise,
        noise / np.sqrt(2 * freedom),
        model.symmetric_point(theta),
        float(np.sqrt(gradient @ covariance @ gradient)),
    )


def _derivative(function: Callable[[Array], float], theta: Array, i: int) -> float:
    shift = np.zeros_like(theta)
    shift[i] = 1e-5 * max(abs(theta[i]), 1e-8)
    return float(function(theta + shift) - function(theta - shift)) / float(2 * shift[i])


@dataclass(frozen=True)
class Estimate:
    """A value with its standard error."""

    value: float
    error: float


def mean(values: Array) -> Estimate:
    """Mean over elements."""
    return Estimate(float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values))))


def spread(values: Array, errors: Array, scale: float = 1.0) -> Estimate:
    """Standard deviation over elements, less what the errors of the single fits add, in units of
    ``scale``."""
    total = float(values.var(ddof=1))
    own = max(total - float(np.mean(errors**2)), 0.0) ** 0.5
    # the variance of a variance of n normal values, carried over to its root
    error = total / np.sqrt(2 * (len(values) - 1)) / max(own, total**0.5 / 2)
    return Estimate(own / abs(scale), error / abs(scale))
