"""Fitting the pulse response of single elements to their measured steps, and statistics over them."""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import least_squares, minimize_scalar

from analogpipe.element_models import Array, Mask, Model

GROUPS = 150
"""Groups of steps of one polarity that a fit distinguishes."""


@dataclass(frozen=True)
class ElementFit:
    """Fit of one element: parameters, their covariance, bounds, noise of a pulse, symmetric point."""

    theta: Array
    covariance: Array
    high: float
    low: float
    noise: float
    noise_error: float
    symmetric_point: float
    symmetric_point_error: float


def fit_element(
    model: Model, before: Array, after: Array, up: Mask, *, additive: bool, measured: bool = False
) -> ElementFit:
    """Fit one element to its steps by weighted least squares.

    Args:
        before, after, up: weights around each pulse and its polarity, (pulses,).
        additive: the noise of a pulse scales with the step size (``s_up``, ``s_down``), not with
            the size of the step at hand.
        measured: weights carry read noise. Then steps are laid to the middle between both weights,
            because the error of a weight would correlate with the step from it; all steps count
            alike; and the noise of
            a pulse is told from read noise by the correlation of successive steps.
    """
    step = np.where(up, after - before, before - after)
    place = (before + after) / 2 if measured else before
    high, low = float(max(before.max(), after.max())), float(min(before.min(), after.min()))
    use = np.ones(len(step), bool)
    if model.clips:
        margin = 4 * float(np.median(np.abs(step))) / 0.6745
        use = (np.maximum(before, after) < high - margin) & (
            np.minimum(before, after) > low + margin
        )
        if min(use[up].sum(), use[~up].sum()) < 10:
            use = (after < high) & (after > low)
    w, s, u = place[use], step[use], up[use]
    theta = model.start(w, s, u, low, high)
    floor = 0.02 * float(np.median(np.abs(model.step(theta, w, u))))

    def weights(w: Array, u: Mask) -> Array:
        even = additive or measured
        size = np.where(u, theta[0], theta[1]) if even else model.step(theta, w, u)
        weight: Array = 1 / np.maximum(np.abs(size), floor)
        return weight

    places, steps, ups, counts = _groups(w, s, u)
    for _ in range(2):
        scale = np.sqrt(counts) * weights(places, ups)

        def residuals(theta: Array, scale: Array = scale) -> Array:
            return (steps - model.step(theta, places, ups)) * scale

        result = least_squares(residuals, theta, x_scale=np.abs(theta) + 1e-12, max_nfev=200)
        theta = result.x
    weight = weights(w, u)
    relative = (s - model.step(theta, w, u)) * weight
    # steps below the floor are weighted down: they say little about the noise
    sound = model.step(theta, w, u) > floor
    freedom = int(sound.sum()) - len(theta)
    variance = float(np.sum(relative[sound] ** 2) / freedom)
    noise = variance
    if measured:
        # read noise adds 2 r^2 to the variance of a step and -r^2 to the covariance with the next
        signed = np.where(u, 1.0, -1.0) * (s - model.step(theta, w, u))
        next_to = np.flatnonzero(np.diff(np.flatnonzero(use)) == 1)
        shared = float(np.mean(signed[next_to] * signed[next_to + 1] * weight[next_to] ** 2))
        noise = max(variance + 2 * shared, 0.0)
        if not additive:
            noise /= float(np.mean((model.step(theta, w, u) * weight) ** 2))
    jacobian = np.asarray(result.jac)
    covariance = variance * np.linalg.pinv(jacobian.T @ jacobian)
    point = model.symmetric_point(theta, low, high)
    gradient = np.zeros_like(theta)
    for i in range(len(theta)):
        shift = np.zeros_like(theta)
        shift[i] = 1e-5 * max(abs(theta[i]), 1e-8)
        ahead = model.symmetric_point(theta + shift, low, high)
        gradient[i] = (ahead - model.symmetric_point(theta - shift, low, high)) / (2 * shift[i])
    point_error = float(np.sqrt(max(float(gradient @ covariance @ gradient), 0.0)))
    return ElementFit(
        theta,
        covariance,
        high,
        low,
        float(np.sqrt(noise)),
        float(np.sqrt(variance / (2 * freedom))),
        point,
        point_error if np.isfinite(point) else float("nan"),
    )


def _groups(w: Array, step: Array, up: Mask) -> tuple[Array, Array, Mask, Array]:
    """Means of place and step over groups of like steps at neighbouring places, and group sizes.

    The response is smooth: what the groups lose is far below the errors, and they are faster to fit.
    """
    places, steps, ups, counts = [], [], [], []
    for way in (True, False):
        rows = np.flatnonzero(up == way)
        rows = rows[np.argsort(w[rows])]
        for group in np.array_split(rows, min(GROUPS, len(rows))):
            places.append(w[group].mean())
            steps.append(step[group].mean())
            ups.append(way)
            counts.append(len(group))
    return np.array(places), np.array(steps), np.array(ups), np.array(counts, dtype=np.float64)


@dataclass(frozen=True)
class Estimate:
    """A value with its standard error."""

    value: float
    error: float


def population(values: Array, errors: Array) -> tuple[Estimate, Estimate]:
    """Mean and spread of a normal population from elements fitted with ``errors`` (elements,).

    Maximum likelihood (the random-effects model of meta-analysis): elements that are poorly fitted
    count less, and what the errors of fits add to the spread is taken off.
    """
    if len(values) == 1:
        return Estimate(float(values[0]), float(errors[0])), Estimate(0.0, float("nan"))
    own = np.nan_to_num(errors, nan=np.inf, posinf=np.inf) ** 2
    middle = float(np.median(values))
    wide = float(np.median(np.abs(values - middle))) / 0.6745 + 1e-12 * (abs(middle) + 1e-12)

    def centre(spread: float) -> float:
        weight = 1 / (spread**2 + own)
        return float(np.sum(weight * values) / np.sum(weight))

    def deviance(spread: float) -> float:
        variance = spread**2 + own
        known = np.isfinite(variance)
        rest = (values - centre(spread))[known] ** 2 / variance[known]
        return float(np.sum(np.log(variance[known]) + rest))

    # the likelihood may have its maximum at 0, and far elements widen it beyond the middle ones
    result = minimize_scalar(deviance, bounds=(1e-6 * wide, 5 * wide), method="bounded")
    spread = float(result.x)
    weight = 1 / (spread**2 + own)
    error = float(np.sqrt(1 / np.sum(weight)))
    variance_error = float(np.sqrt(2 / np.sum(weight**2)))
    spread_error = variance_error / max(2 * spread, variance_error**0.5)
    return Estimate(centre(spread), error), Estimate(spread, spread_error)
