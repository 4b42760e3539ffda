"""Fitting elements to their whole trajectories, with noise of pulses and of readings."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from analogpipe.calibration.alternatives import reached, vague
from analogpipe.calibration.coordinates import (
    KINDS,
    Kind,
    Scale,
    blocks,
    parameters,
    scales,
    starts,
)
from analogpipe.calibration.element import ElementFit, Estimate, point_error
from analogpipe.calibration.measure import Measurement
from analogpipe.calibration.model import MODELS, Array, Mask
from analogpipe.calibration.noise_split import FLAT, Fitted, fit_noise
from analogpipe.calibration.posterior import draws, estimate
from analogpipe.calibration.scoring import Prior, maximise
from analogpipe.calibration.shrinkage import pulled
from analogpipe.calibration.trajectory import (
    DOWN,
    EXPONENTIAL,
    HIGH,
    K_DOWN,
    K_UP,
    LOW,
    N_DOWN,
    N_UP,
    NOISE,
    SHARE,
    UP,
    Index,
    Trajectory,
)

REPEATS = 2
"""How often elements and their population are told from each other."""
NONE = -30.0
"""Share of read noise where there is none."""


@dataclass(frozen=True)
class ArrayFit:
    """Fits of the elements of an array, each as it is found and as a draw from their population, noise of
    a pulse, which they share, and of a reading (weight units)."""

    elements: list[ElementFit]
    drawn: list[ElementFit]
    pulse: Estimate
    read: Estimate
    likely: tuple[ElementFit, ...] = ()
    """What a single element may be, in proportion to how likely it is, without errors."""


@dataclass(frozen=True)
class _One:
    """An element on its scale, with the fit to it alone."""

    path: Trajectory
    scale: Scale
    phi: Array
    value: float
    seen: tuple[float, float]


def fit_array(name: str, data: Measurement, *, additive: bool, exact: bool = False) -> ArrayFit:
    """Fit elements of the type ``name`` to their readings: first each alone, then with a common noise
    (and for exponential devices a common shape). ``exact``: readings have no noise."""
    kind = KINDS[name]
    if exact:
        kind = replace(kind, shared=tuple(i for i in kind.shared if i != SHARE))
    readings, sign = sequence(data)
    parts = [blocks(column, sign) for column in readings.T]
    scale = scales(kind, [part[0] for part in parts])
    unit = float(np.median([one.unit for one in scale]))
    ones = [
        _alone(kind, column, sign, part, one, unit, additive=additive)
        for column, part, one in zip(readings.T, parts, scale, strict=True)
    ]
    ones, fitted = _together(kind, ones)
    elements = [_element(name, kind, one, fitted, i, fitted.phi[i]) for i, one in enumerate(ones)]
    fitted, near = _as_drawn([one.path for one in ones], fitted, kind)
    drawn = [_element(name, kind, one, fitted, i, near[i]) for i, one in enumerate(ones)]
    if len(ones) == 1:
        likely = draws(*_density(kind, ones[0], fitted.phi[0]))
        levels = np.exp(likely[:, NOISE])
        reads = levels * np.exp(likely[:, SHARE]) * unit
        return ArrayFit(
            elements,
            drawn,
            estimate(levels),
            estimate(reads),
            tuple(_drawn(name, elements[0], ones[0].scale, phi) for phi in likely),
        )
    value, error = fitted.read
    return ArrayFit(elements, drawn, Estimate(*fitted.pulse), Estimate(value * unit, error * unit))


def _density(
    kind: Kind, one: _One, phi: Array
) -> tuple[Callable[[Array], float], Array, Index, Array]:
    """Return what :func:`draws` draws a single element from: likelihood times prior, a start, free
    coordinates, and about their covariance."""
    free = np.array(kind.own + kind.shared, dtype=np.intp)
    spreads = kind.spreads[free]
    even = float(phi[[UP, DOWN]].mean()) - one.path.finer

    def density(there: Array) -> float:
        rest = ((there - one.phi)[free] / spreads)[: -(free > LOW).sum()]
        value = one.path.log_likelihood(there) - 0.5 * float(rest @ rest)
        return value - (FLAT * float(np.log(np.cosh(there[SHARE] - even))) if SHARE in free else 0)

    _, fisher = one.path.information(phi, free)
    covariance = np.linalg.inv(fisher + np.diag(spreads**-2.0)).astype(np.float64)
    return density, phi, free, covariance


def _drawn(name: str, fit: ElementFit, scale: Scale, phi: Array) -> ElementFit:
    """Return the element with other coordinates; a bound that was not reached stays."""
    values = parameters(name, phi, scale)
    count = len(MODELS[name].names)
    ends = [
        float(end) if np.isfinite(error) else known
        for end, error, known in zip(
            values[count:], (fit.high_error, fit.low_error), (fit.high, fit.low), strict=True
        )
    ]
    return replace(fit, theta=values[:count], high=ends[0], low=ends[1])


def _together(kind: Kind, whole: list[_One]) -> tuple[list[_One], Fitted]:
    """Fit elements with what they share: noise, and the shape of exponential devices.

    That shape refers to the range between the bounds: an element that did not reach them says nothing of
    it, and gets that of the others.
    """
    bends = kind.form == EXPONENTIAL and len(whole) > 1
    told = np.array(
        [
            not bends
            or all(reached(kind, one.path, one.phi, end, alone=True) for end in (HIGH, LOW))
            for one in whole
        ]
    )
    told |= not told.any()
    ones = [one for one, known in zip(whole, told, strict=True) if known]
    if bends:
        ones = [_rescaled(one) for one in ones]
    phi = np.stack([one.phi for one in ones])
    shared = np.array(kind.shared, dtype=np.intp)
    if len(whole) > 1:
        phi[:, shared] = np.median(phi[:, shared], axis=0)
    spreads = kind.spreads.copy()
    # the noise is integrated over, with a measure of its own
    spreads[[NOISE, SHARE]] = 1e6
    paths, own = [one.path for one in ones], np.array(kind.own, dtype=np.intp)
    fitted = fit_noise(paths, phi, own, shared, Prior(phi.copy(), spreads))
    return _completed(kind, whole, ones, told, fitted) if not told.all() else (ones, fitted)


def _as_drawn(paths: list[Trajectory], fitted: Fitted, kind: Kind) -> tuple[Fitted, Array]:
    """Return the fit with coordinates and covariances as they are told from where all elements say that
    each lies, and these places, (elements, coordinates).

    An element that is found larger than it is has larger errors, too, and would count less: the mean
    would be too small.
    """
    if len(paths) == 1:
        return fitted, fitted.phi
    own = np.array(kind.own, dtype=np.intp)
    near, found, covariance = fitted.phi.copy(), fitted.phi.copy(), fitted.own + fitted.common
    # those of the fits alone hold where the noise was open
    factor = fitted.factor
    for _ in range(REPEATS):
        near[:, own] = pulled(found[:, own], covariance)
        for i, path in enumerate(paths):
            gradient, fisher = path.information(near[i], own)
            inverse = np.linalg.inv(fisher + np.diag(kind.spreads[own] ** -2.0))
            covariance[i] = factor * inverse + fitted.common[i]
            found[i, own] = near[i, own] + inverse @ gradient
    return replace(fitted, phi=found, own=covariance - fitted.common), near


def sequence(data: Measurement) -> tuple[Array, Array]:
    """Return all readings (readings, elements) and the sign of the pulse before each but the first, 0
    where a reading follows a reading."""
    readings, sign = [data.before[0], data.after[0]], [1.0 if data.up[0] else -1.0]
    for k in range(1, len(data.up)):
        if not np.array_equal(data.before[k], data.after[k - 1]):
            readings.append(data.before[k])
            sign.append(0.0)
        readings.append(data.after[k])
        sign.append(1.0 if data.up[k] else -1.0)
    return np.stack(readings), np.array(sign)


def _alone(
    kind: Kind,
    readings: Array,
    sign: Array,
    parts: tuple[Array, Array, Mask],
    scale: Scale,
    unit: float,
    *,
    additive: bool,
) -> _One:
    """Fit one element alone, from several starts where its response can bend. Read noise is counted in
    ``unit``."""
    places, sizes, up = parts
    normed = np.ascontiguousarray((readings - scale.centre) / scale.unit)
    finer = float(np.log(unit / scale.unit))
    zero = -scale.centre / scale.unit
    path = Trajectory(normed, sign, kind.form, additive, kind.soft, finer, zero)
    at = ((places - scale.centre) / scale.unit, sizes / scale.unit, up)
    free = np.array(kind.own + kind.shared, dtype=np.intp)
    found = [
        maximise([path], phi[None], free, np.array([], dtype=np.intp), Prior(phi, kind.spreads))
        for phi in _starts(kind, normed, sign, at, finer)
    ]
    best = max(found, key=lambda one: one.log_likelihood)
    seen = float(places.max()), float(places.min())
    return _One(path, scale, best.phi[0], best.log_likelihood, seen)


def _starts(
    kind: Kind, readings: Array, sign: Array, at: tuple[Array, Array, Mask], finer: float
) -> Array:
    phi = starts(kind, readings, sign, at, finer)
    if SHARE not in kind.shared:
        phi[:, SHARE] = NONE
    return phi


def _completed(
    kind: Kind, whole: list[_One], told: list[_One], which: Mask, fitted: Fitted
) -> tuple[list[_One], Fitted]:
    """Return all elements: those that did not reach their bounds with the shape of the others, on the
    range that suits them best."""
    own = np.array(kind.own, dtype=np.intp)
    shared = np.array(kind.shared, dtype=np.intp)
    nothing = np.array([], dtype=np.intp)
    count = len(whole)
    ones, phi = list(whole), np.empty((count, fitted.phi.shape[1]))
    covariance = np.zeros((2, count, len(own), len(own)))
    phi[which], covariance[0, which], covariance[1, which] = fitted.phi, fitted.own, fitted.common
    for i, one in zip(np.flatnonzero(which), told, strict=True):
        ones[i] = one
    for i in np.flatnonzero(~which):
        best = -np.inf
        for larger in np.linspace(1, 3, 9):
            tried = _rescaled(whole[i], float(larger))
            start = tried.phi[None].copy()
            start[0, shared] = fitted.phi[0, shared]
            found = maximise([tried.path], start, own, nothing, Prior(start[0], kind.spreads))
            # the density of the readings in their own unit
            value = found.log_likelihood - len(tried.path.sign) * float(np.log(larger))
            if value > best:
                best, ones[i], phi[i] = value, tried, found.phi[0]
                covariance[0, i] = fitted.factor * found.own[0]
    return ones, replace(fitted, phi=phi, own=covariance[0], common=covariance[1])


def _rescaled(one: _One, larger: float = 0.0) -> _One:
    """Return an element on a ``larger`` scale, or on that of its bounds, to which the shape of its
    response refers."""
    phi = one.phi.copy()
    larger = larger or float(phi[HIGH] - phi[LOW]) / 2
    phi[[UP, DOWN]] -= np.log(larger)
    phi[[K_UP, K_DOWN, N_UP, N_DOWN]] *= larger
    phi[[HIGH, LOW]] /= larger
    path = replace(
        one.path,
        readings=one.path.readings / larger,
        finer=one.path.finer - float(np.log(larger)),
    )
    return replace(one, path=path, phi=phi, scale=replace(one.scale, unit=one.scale.unit * larger))


def has_read_noise(data: Measurement) -> bool:
    """Whether readings are noisy, unless some element stops at an end: the same value after two
    pulses in the same direction."""
    for values in data.after.T:
        for up, end in ((True, values.max()), (False, values.min())):
            held = (values == end) & (data.up == up)
            if np.any(held[1:] & held[:-1]):
                return False
    return True


def _element(
    name: str, kind: Kind, one: _One, fitted: Fitted, index: int, phi: Array
) -> ElementFit:
    """Return an element with parameters, bounds, and errors by the derivatives of its coordinates, which
    are those at ``phi``."""
    model, found = MODELS[name], fitted.phi[index]
    alone = len(fitted.phi) == 1
    own = np.array(kind.own, dtype=np.intp)
    shape = np.array([i for i in kind.shared if i not in (NOISE, SHARE)], dtype=np.intp)
    inside = [list(kind.shared).index(int(i)) for i in shape]
    covariance = fitted.own[index]
    if not len(shape):
        covariance = covariance + fitted.common[index]
    slopes = _slopes(name, phi, one.scale, own)
    whole = slopes @ covariance @ slopes.T
    if len(shape):
        by_shape = _slopes(name, phi, one.scale, shape)
        by_shape[: len(model.names)][:2] = 0.0
        whole = whole + by_shape @ fitted.shared[np.ix_(inside, inside)] @ by_shape.T
    values = parameters(name, phi, one.scale) + slopes @ (found - phi)[own]
    count = len(model.names)
    theta, ends = values[:count], values[count:]
    errors = np.sqrt(np.maximum(np.diag(whole)[count:], 0))
    for i, bound in enumerate((HIGH, LOW)):
        if not kind.soft and not reached(kind, one.path, found, bound, alone=alone):
            ends[i], errors[i] = one.seen[i], np.inf
    high, low = float(ends[0]), float(ends[1])
    whole = whole[:count, :count]
    point, error = point_error(model, theta, whole, low, high)
    return ElementFit(
        theta,
        whole,
        high,
        low,
        2 * one.scale.unit if kind.form == EXPONENTIAL else high - low,
        fitted.pulse[0],
        fitted.pulse[1],
        point,
        error,
        float(errors[0]),
        float(errors[1]),
        one.seen,
        vague(kind, one.path, found, fitted.own[index]),
    )


def _slopes(name: str, phi: Array, scale: Scale, free: Index) -> Array:
    """Derivatives of the parameters by the coordinates ``free``, (parameters, free)."""
    columns = []
    for index in free:
        ahead, behind = phi.copy(), phi.copy()
        ahead[index] += 1e-5
        behind[index] -= 1e-5
        columns.append((parameters(name, ahead, scale) - parameters(name, behind, scale)) / 2e-5)
    return np.stack(columns, axis=1)
