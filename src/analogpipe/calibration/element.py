"""Fitting the pulse response of single elements to their measured steps, and statistics over them."""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import least_squares, minimize_scalar

from analogpipe.calibration.model import Array, Mask, Model

GROUPS = 150
"""Groups of steps of one polarity that a fit distinguishes."""
WINDOW = 25
"""Pulses of one polarity over which the response is taken for constant."""


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


@dataclass(frozen=True)
class Steps:
    """The steps of one element that a fit looks at."""

    place: Array
    size: Array
    up: Mask
    use: Mask
    """Which of all pulses they are."""
    high: float
    low: float
    stopped: bool
    """Whether bounds stopped the element at both ends, where its steps had not vanished."""
    groups: tuple[Array, Array, Mask, Array]
    """Means of place and size, polarity and number of groups of like steps (:func:`_groups`)."""


def steps_of(model: Model, before: Array, after: Array, up: Mask, *, measured: bool) -> Steps:
    """Return the steps of an element from the weights around each pulse, (pulses,).

    Where weights carry read noise (``measured``) a step is laid between both, so far from the first
    that its place does not correlate with its error (:func:`_between`).
    """
    step = np.where(up, after - before, before - after)
    high, low = float(max(before.max(), after.max())), float(min(before.min(), after.min()))
    margin = 4 * float(np.median(np.abs(step))) / 0.6745 if model.clips else -np.inf

    def inside(place: Array) -> Mask:
        # by where a pulse starts: by where it ends would choose among the steps by their noise
        use: Mask = (place < high - margin) & (place > low + margin)
        if min(use[up].sum(), use[~up].sum()) < 10:
            use = (after < high) & (after > low)
        return use

    place = before
    if measured:
        middle = (before + after) / 2
        place = before + _between(after - before, up, inside(middle)) * (after - before)
    use = inside(place)
    w, s, u = place[use], step[use], up[use]
    ends = step[up & (after == high)], step[~up & (after == low)]
    stopped = all(len(end) > 2 and end.max() > 0.05 * step[step > 0].mean() for end in ends)
    return Steps(w, s, u, use, high, low, stopped, _groups(w, s, u))


def _between(change: Array, up: Mask, use: Mask) -> float:
    """Where between two readings a step belongs: 0, at the first, to 1/2, in the middle.

    With read noise ``r`` and steps whose readings scatter with the variance ``V`` (of pulses, and 2 r^2
    of reading), the error of ``before + part (after - before)`` has the covariance ``part V - r^2`` with
    that of the step. Two successive steps share a reading, hence a covariance of ``-r^2``. Where none
    stands out it is taken for 0: next to strong noise of pulses a small error of it would matter.
    """
    rest = np.empty_like(change)
    window = np.ones(WINDOW)
    for way in (True, False):
        own = change[up == way]
        near = np.convolve(own, window, "same") / np.convolve(np.ones(len(own)), window, "same")
        rest[up == way] = own - near
    both = use[1:] & use[:-1]
    count = int(both.sum())
    if count == 0 or not np.any(rest[use]):
        return 0.0
    shared = float(np.mean((rest[1:] * rest[:-1])[both]) / np.mean(rest[use] ** 2))
    # taking off the local mean correlates neighbours
    part = -shared - 1 / WINDOW
    return min(part, 0.5) if part > 3 / count**0.5 else 0.0


def fit_element(
    model: Model, before: Array, after: Array, up: Mask, *, additive: bool, measured: bool = False
) -> ElementFit:
    """Fit one element to its steps by weighted least squares.

    Args:
        before, after, up: weights around each pulse and its polarity, (pulses,).
        additive: the noise of a pulse scales with the step size (``s_up``, ``s_down``), not with
            the size of the step at hand.
        measured: weights carry read noise. Then all steps count alike, and the noise of a pulse is
            told from read noise by the correlation of successive steps.
    """
    data = steps_of(model, before, after, up, measured=measured)
    w, s, u = data.place, data.size, data.up
    theta = model.start(w, s, u, data.low, data.high)
    floor = 0.02 * float(np.median(np.abs(model.step(theta, w, u))))
    even = additive or measured
    places, steps, ups, counts = data.groups
    for _ in range(2):
        scale = np.sqrt(counts) * weights(model, theta, places, ups, floor, even=even)

        def residuals(theta: Array, scale: Array = scale) -> Array:
            return (steps - model.step(theta, places, ups)) * scale

        result = least_squares(residuals, theta, x_scale=np.abs(theta) + 1e-12, max_nfev=200)
        theta = result.x
    jacobian = np.asarray(result.jac)
    curvature = np.linalg.pinv(jacobian.T @ jacobian)
    return conclude(model, data, theta, curvature, floor, additive=additive, measured=measured)


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
    measured: bool,
    common: Array | None = None,
    reach: float | None = None,
) -> ElementFit:
    """Return the fit with the parameters ``theta``: noise, errors and symmetric point.

    ``curvature`` times the relative variance of a step is the covariance of ``theta``; ``common`` is
    added to it.
    """
    w, s, u = data.place, data.size, data.up
    weight = weights(model, theta, w, u, floor, even=additive or measured)
    relative = (s - model.step(theta, w, u)) * weight
    # steps below the floor are weighted down: they say little about the noise
    sound = model.step(theta, w, u) > floor
    freedom = int(sound.sum()) - len(theta)
    variance = float(np.sum(relative[sound] ** 2) / freedom)
    noise = variance
    if measured:
        # read noise adds 2 r^2 to the variance of a step and -r^2 to the covariance with the next
        signed = np.where(u, 1.0, -1.0) * (s - model.step(theta, w, u))
        next_to = np.flatnonzero(np.diff(np.flatnonzero(data.use)) == 1)
        shared = float(np.mean(signed[next_to] * signed[next_to + 1] * weight[next_to] ** 2))
        noise = max(variance + 2 * shared, 0.0)
        if not additive:
            noise /= float(np.mean((model.step(theta, w, u) * weight) ** 2))
    covariance = variance * curvature
    if common is not None:
        covariance = covariance + common
    point = model.symmetric_point(theta, data.low, data.high)
    gradient = np.zeros_like(theta)
    for i in range(len(theta)):
        shift = np.zeros_like(theta)
        shift[i] = 1e-5 * max(abs(theta[i]), 1e-8)
        ahead = model.symmetric_point(theta + shift, data.low, data.high)
        behind = model.symmetric_point(theta - shift, data.low, data.high)
        gradient[i] = (ahead - behind) / (2 * shift[i])
    point_error = float(np.sqrt(max(float(gradient @ covariance @ gradient), 0.0)))
    return ElementFit(
        theta,
        covariance,
        data.high,
        data.low,
        data.high - data.low if reach is None else reach,
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

    def deviance(part: float) -> float:
        spread = part * wide
        variance = spread**2 + own
        known = np.isfinite(variance)
        rest = (values - centre(spread))[known] ** 2 / variance[known]
        return float(np.sum(np.log(variance[known]) + rest))

    # the likelihood may have its maximum at 0, and far elements widen it beyond the middle ones
    result = minimize_scalar(deviance, bounds=(1e-6, 5), method="bounded")
    spread = float(result.x) * wide
    weight = 1 / (spread**2 + own)
    error = float(np.sqrt(1 / np.sum(weight)))
    variance_error = float(np.sqrt(2 / np.sum(weight**2)))
    spread_error = variance_error / max(2 * spread, variance_error**0.5)
    return Estimate(centre(spread), error), Estimate(spread, spread_error)
