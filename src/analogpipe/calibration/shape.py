"""Fitting a device whose elements differ in size and range, but share the shape of their response.

The exponential device: over its range an element with noise tells little of a shape with two
parameters a polarity; all elements together do.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import least_squares, minimize_scalar

from analogpipe.calibration.element import ElementFit, Steps, conclude, steps_of
from analogpipe.calibration.measure import Measurement
from analogpipe.calibration.model import MODELS, Array, bend

RATES = (0.5, 40.0)
"""Rates, per range of an element, that are told apart: below, a response is a straight line."""
RATIOS = (-0.99, 1e3)
"""Bends: above -1 an exponential device has a step size."""


_MODEL = MODELS["exp_step"]


@dataclass(frozen=True)
class Shape:
    """``step = s (1 - ratio (exp(rate w / range) - 1))``, and the covariance of ratio and rate."""

    ratio: float
    rate: float
    covariance: Array


def fit_elements(data: Measurement) -> list[ElementFit]:
    """Fit exponential elements: first their common shape, up and down, then the size of each.

    The range of an element is that of its weights where bounds stopped it. Where its steps vanished
    before, the range is fitted, too.
    """
    steps = [
        steps_of(_MODEL, data.before[:, i], data.after[:, i], data.up)
        for i in range(data.before.shape[1])
    ]
    known = [one for one in steps if one.stopped] or steps
    shapes = tuple(_shape(known, way) for way in (True, False))
    fits = []
    for one in steps:
        reach = one.high - one.low
        if known is not steps and not one.stopped:
            result = minimize_scalar(
                lambda reach, one=one: _sizes(one, shapes, reach)[2],
                bounds=(reach, 3 * reach),
                method="bounded",
            )
            reach = float(result.x)
        fits.append(_element(one, shapes, reach))
    return fits


def _element(data: Steps, shapes: tuple[Shape, ...], reach: float) -> ElementFit:
    up, down = shapes
    (s_up, s_down), information, _ = _sizes(data, shapes, reach)
    theta = np.array([s_up, s_down, up.ratio, down.ratio, up.rate / reach, down.rate / reach])
    curvature, common = np.zeros((6, 6)), np.zeros((6, 6))
    for i, shape in enumerate(shapes):
        curvature[i, i] = theta[i] ** 2 / information[i]
        scaled = shape.covariance / np.array([[1, reach], [reach, reach**2]])
        common[np.ix_((i + 2, i + 4), (i + 2, i + 4))] = scaled
    floor = 0.02 * float(np.median(np.abs(_MODEL.step(theta, data.place, data.up))))
    return conclude(
        _MODEL,
        data,
        theta,
        curvature,
        floor,
        additive=False,
        common=common,
        reach=reach,
    )


def _sizes(
    data: Steps, shapes: tuple[Shape, ...], reach: float
) -> tuple[list[float], list[float], float]:
    """Least-squares sizes up and down of an element of a given range, their information in units of
    the relative variance of a step, and how far the steps are from them (log of the residual)."""
    places, steps, ups, counts = data.groups
    sizes, information, distance = [], [], 0.0
    for way, shape in zip((True, False), shapes, strict=True):
        mine = ups == way
        h = bend(shape.ratio, shape.rate / reach, places[mine] * (1 if way else -1))
        weight = counts[mine] / np.maximum(h, _least(h)) ** 2
        own = float(np.sum(weight * h**2))
        size = float(np.sum(weight * steps[mine] * h)) / own
        rest = float(np.sum(weight * (steps[mine] - size * h) ** 2)) / size**2
        # the weights follow the steps: a likelihood needs their logarithm
        distance += len(h) * float(np.log(rest)) - float(np.sum(np.log(weight)))
        sizes.append(size)
        information.append(own)
    return sizes, information, distance


def _least(h: Array) -> float:
    """Steps below this part of the median count as that part."""
    return 0.02 * float(np.median(h)) + 1e-12


def _shape(steps: list[Steps], way: bool) -> Shape:
    """Fit the shape of one polarity to all elements, their sizes projected out."""
    w, y, counts, element = [], [], [], []
    for i, one in enumerate(steps):
        places, sizes, ups, numbers = one.groups
        mine = ups == way
        w.append(places[mine] / (one.high - one.low) * (1 if way else -1))
        y.append(sizes[mine])
        counts.append(numbers[mine])
        element.append(np.full(int(mine.sum()), i))
    at, size, count, of = (np.concatenate(part) for part in (w, y, counts, element))

    def sizes_of(h: Array, weight: Array) -> Array:
        top = np.bincount(of, weight * size * h)
        found: Array = (top / np.bincount(of, weight * h**2))[of]
        return found

    def fit(start: Array, sign: float, weight: Array) -> tuple[float, Array, Array]:
        def residuals(shape: Array) -> Array:
            h = bend(shape[0], shape[1], at)
            left: Array = np.sqrt(weight) * (size - sizes_of(h, weight) * h)
            return left

        rates = sorted((sign * RATES[0], sign * RATES[1]))
        bounds = [RATIOS[0], rates[0]], [RATIOS[1], rates[1]]
        result = least_squares(residuals, start, bounds=bounds, x_scale=[0.1, 1.0], max_nfev=200)
        return float(result.cost), result.x, np.asarray(result.jac)

    mean = np.bincount(of, count * size) / np.bincount(of, count)
    weight = count / mean[of] ** 2
    best = min(
        (fit(_start(at, size / mean[of], count, rate), np.sign(rate), weight) for rate in _TRIED),
        key=lambda found: found[0],
    )
    for _ in range(2):
        h = bend(best[1][0], best[1][1], at)
        scale = sizes_of(h, weight) * np.maximum(h, _least(h))
        weight = count / scale**2
        best = fit(best[1], float(np.sign(best[1][1])), weight)
    cost, (ratio, rate), jacobian = best
    freedom = max(len(at) - len(steps) - 2, 1)
    covariance = 2 * cost / freedom * np.linalg.pinv(jacobian.T @ jacobian)
    return Shape(float(ratio), float(rate), covariance.astype(np.float64))


_TRIED = (-8.0, -2.0, 1.0, 2.0, 4.0, 8.0, 16.0)


def _start(at: Array, relative: Array, count: Array, rate: float) -> Array:
    """The bend that fits best at a given rate."""
    root = np.sqrt(count)
    columns = np.stack([root, root * np.expm1(rate * at)], 1)
    (one, bent), *_ = np.linalg.lstsq(columns, root * relative, rcond=None)
    return np.array([np.clip(-bent / one, RATIOS[0] + 0.01, RATIOS[1] - 1), rate])
