"""Fitting the pulse response of single elements to their measured steps, and statistics over them."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq, least_squares, minimize, minimize_scalar
from scipy.special import log_ndtr
from scipy.stats import t as student_t

from analogpipe.calibration.model import Array, Mask, Model

GROUPS = 150
"""Groups of steps of one polarity that a fit distinguishes."""


@dataclass(frozen=True)
class ElementFit:
    """Fit of one element: parameters, their covariance, bounds, noise of a pulse, symmetric point."""

    theta: Array
    covariance: Array
    high: float
    low: float
    reach: float
    """Distance of the bounds: from ``low`` to ``high``, the ends of the weights, unless fitted."""
    noise: float
    noise_error: float
    symmetric_point: float
    symmetric_point_error: float
    high_error: float = 0.0
    low_error: float = 0.0
    """Standard errors of the bounds; inf for one that was never reached."""
    seen: tuple[float, float] = (float("nan"), float("nan"))
    """Largest and smallest weight that was measured."""
    vague: tuple[str, ...] = ()
    """Parameters of the model that the readings of this element alone do not determine."""


@dataclass(frozen=True)
class Steps:
    """The steps of one element that a fit looks at."""

    place: Array
    size: Array
    up: Mask
    high: float
    low: float
    stopped: bool
    """Whether bounds stopped the element at both ends, where its steps had not vanished."""
    errors: tuple[float, float]
    """Errors of the bounds high and low: 0 where pulses ended at the same weight more than once, else inf,
    for models whose steps do not tell bounds."""
    groups: tuple[Array, Array, Mask, Array]
    """Means of place and size, polarity and number of groups of like steps (:func:`_groups`)."""


def steps_of(model: Model, before: Array, after: Array, up: Mask) -> Steps:
    """Return the steps of an element from the weights around each pulse, (pulses,)."""
    step = np.where(up, after - before, before - after)
    high, low = float(max(before.max(), after.max())), float(min(before.min(), after.min()))
    margin = 4 * float(np.median(np.abs(step))) / 0.6745 if model.clips else -np.inf

    # by where a pulse starts: by where it ends would choose among the steps by their noise
    use = (before < high - margin) & (before > low + margin)
    if min(use[up].sum(), use[~up].sum()) < 10:
        use = (after < high) & (after > low)
    w, s, u = before[use], step[use], up[use]
    ends = step[up & (after == high)], step[~up & (after == low)]
    stopped = all(len(end) > 2 and end.max() > 0.05 * step[step > 0].mean() for end in ends)
    held = [model.clips and len(end) < 2 for end in ends]
    errors = (float("inf") if held[0] else 0.0, float("inf") if held[1] else 0.0)
    return Steps(w, s, u, high, low, stopped, errors, _groups(w, s, u))


def fit_element(
    model: Model, before: Array, after: Array, up: Mask, *, additive: bool
) -> ElementFit:
    """Fit one element without read noise to its steps by weighted least squares.

    Args:
        before, after, up: weights around each pulse and its polarity, (pulses,).
        additive: the noise of a pulse scales with the step size (``s_up``, ``s_down``), not with
            the size of the step at hand.
    """
    data = steps_of(model, before, after, up)
    w, s, u = data.place, data.size, data.up
    theta = model.start(w, s, u, data.low, data.high)
    floor = 0.02 * float(np.median(np.abs(model.step(theta, w, u))))
    places, steps, ups, counts = data.groups
    for _ in range(2):
        scale = np.sqrt(counts) * weights(model, theta, places, ups, floor, even=additive)

        def residuals(theta: Array, scale: Array = scale) -> Array:
            return (steps - model.step(theta, places, ups)) * scale

        result = least_squares(residuals, theta, x_scale=np.abs(theta) + 1e-12, max_nfev=200)
        theta = result.x
    jacobian = np.asarray(result.jac)
    curvature = np.linalg.pinv(jacobian.T @ jacobian)
    return conclude(model, data, theta, curvature, floor, additive=additive)


def weights(model: Model, theta: Array, w: Array, up: Mask, floor: float, *, even: bool) -> Array:
    """Return the inverse sizes of steps, which their noise goes with: of steps at w = 0 if ``even``."""
    size = np.where(up, theta[0], theta[1]) if even else model.step(theta, w, up)
    weight: Array = 1 / np.maximum(np.abs(size), floor)
    return weight


def conclude(
    model: Model,
    data: Steps,
    theta: Array,
    curvature: Array,
    floor: float,
    *,
    additive: bool,
    common: Array | None = None,
    reach: float | None = None,
) -> ElementFit:
    """Return the fit with the parameters ``theta``: noise, errors and symmetric point.

    ``curvature`` times the relative variance of a step is the covariance of ``theta``; ``common`` is
    added to it.
    """
    w, s, u = data.place, data.size, data.up
    weight = weights(model, theta, w, u, floor, even=additive)
    relative = (s - model.step(theta, w, u)) * weight
    # steps below the floor are weighted down: they say little about the noise
    sound = model.step(theta, w, u) > floor
    freedom = int(sound.sum()) - len(theta)
    variance = float(np.sum(relative[sound] ** 2) / freedom)
    covariance = variance * curvature
    if common is not None:
        covariance = covariance + common
    point, error = point_error(model, theta, covariance, data.low, data.high)
    return ElementFit(
        theta,
        covariance,
        data.high,
        data.low,
        data.high - data.low if reach is None else reach,
        float(np.sqrt(variance)),
        float(np.sqrt(variance / (2 * freedom))),
        point,
        error,
        *data.errors,
        seen=(data.high, data.low),
    )


def point_error(
    model: Model, theta: Array, covariance: Array, low: float, high: float
) -> tuple[float, float]:
    """Return the symmetric point between ``low`` and ``high`` and its standard error, nan for none."""
    point = model.symmetric_point(theta, low, high)
    gradient = np.zeros_like(theta)
    for i in range(len(theta)):
        shift = np.zeros_like(theta)
        shift[i] = 1e-5 * max(abs(theta[i]), 1e-8)
        ahead = model.symmetric_point(theta + shift, low, high)
        behind = model.symmetric_point(theta - shift, low, high)
        gradient[i] = (ahead - behind) / (2 * shift[i])
    error = float(np.sqrt(max(float(gradient @ covariance @ gradient), 0.0)))
    return point, error if np.isfinite(point) else float("nan")


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
    told = np.isfinite(values) & np.isfinite(errors)
    if not told.any():
        return Estimate(float(np.median(values)), float("inf")), Estimate(0.0, float("nan"))
    values, errors = values[told], errors[told]
    if len(values) == 1:
        return population(values, errors)
    own = np.nan_to_num(errors, nan=np.inf, posinf=np.inf) ** 2
    middle = float(np.median(values))
    wide = float(np.median(np.abs(values - middle))) / 0.6745 + 1e-12 * (abs(middle) + 1e-12)

    def centre(spread: float) -> float:
        weight = 1 / (spread**2 + own)
        return float(np.sum(weight * values) / np.sum(weight))

    def deviance(part: float) -> float:
        spread = part * wide
        variance = spread**2 + own
        known = np.isfinite(variance)
        rest = (values - centre(spread))[known] ** 2 / variance[known]
        return float(np.sum(np.log(variance[known]) + rest))

    # the likelihood may have its maximum at 0, and far elements widen it beyond the middle ones
    end = 5.0
    result = minimize_scalar(deviance, bounds=(1e-6, end), method="bounded")
    # where most of a few elements are alike by chance
    while result.x > 0.99 * end and end < 1e9:
        end *= 10
        result = minimize_scalar(deviance, bounds=(1e-6, end), method="bounded")
    part = float(result.x)
    spread = part * wide
    error = _mean_error(spread, own)
    # where the deviance has risen by 1.96 squared: at 0 a spread has no error by its curvature
    rise = float(result.fun) + 1.96**2
    end = brentq(lambda part: deviance(part) - rise, part, _beyond(deviance, part, rise))
    return Estimate(centre(spread), error), Estimate(spread, (end * wide - spread) / 1.96)


def bounds_population(values: Array, errors: Array, seen: Array) -> tuple[Estimate, Estimate]:
    """Mean and spread of bounds of which some were never reached (infinite errors): these lie beyond the
    weight that was ``seen``, (elements,) each, all in the direction of the bound from 0."""
    reached = np.isfinite(errors)
    if reached.all() or 2 * reached.sum() <= len(values):
        return population(values, np.where(2 * reached.sum() > len(values), errors, np.inf))
    known, own, beyond = values[reached], errors[reached] ** 2, seen[~reached]

    def deviance(place: Array) -> float:
        mean, variance = place[0], np.exp(2 * place[1])
        inside = np.sum(np.log(variance + own) + (known - mean) ** 2 / (variance + own))
        return float(inside - 2 * np.sum(log_ndtr((mean - beyond) / np.sqrt(variance))))

    start = np.array([known.mean(), np.log(known.std() + 1e-3 * abs(known.mean()))])
    mean, size = minimize(deviance, start, method="Nelder-Mead").x
    spread = float(np.exp(size))
    # those beyond count for less: their errors are left out
    error = _mean_error(spread, own)
    return Estimate(float(mean), error), Estimate(spread, error / 2**0.5)


def _mean_error(spread: float, own: Array) -> float:
    """Return the error of a mean over elements of a ``spread`` that is itself told from them, so that 1.96
    errors hold 95 %: that of Student's t."""
    count = len(own)
    wider = float(student_t.ppf(0.975, count - 1)) / 1.96 * (count / (count - 1)) ** 0.5
    return float(np.sqrt(1 / np.sum(1 / ((wider * spread) ** 2 + own))))


def _beyond(deviance: Callable[[float], float], part: float, rise: float) -> float:
    """A value above ``part`` at which the deviance has risen beyond ``rise``."""
    while deviance(part) < rise and part < 1e9:
        part = 2 * part + 1e-6
    return part
