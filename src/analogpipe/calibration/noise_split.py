"""Telling the noise of pulses from that of readings, and what not knowing it adds to errors.

The noise of pulses makes a trajectory wander, and part of the wandering passes for a step size: the
most likely noise of a fitted trajectory is too small. As in restricted maximum likelihood (Patterson
and Thompson, Biometrika 1971), the likelihood is integrated over the coordinates of the elements
(Laplace). Over the share of reading noise it is integrated, too, where the data leave it open: a noise
that may be 0 has no normal error.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar

from analogpipe.calibration.model import Array
from analogpipe.calibration.scoring import Maximum, Prior, maximise
from analogpipe.calibration.trajectory import DOWN, NOISE, SHARE, UP, Index, Trajectory

FAR = 15.0
"""Farthest share from the start: one noise is nothing beside the other long before."""
REACH = 5.0
"""How far the logarithm of the share is followed from its best value: beyond, one noise is nothing
beside the other."""
FLAT = 0.65
"""The measure over shares: at 1 flat in the noise of a pulse where that is the smaller one, and in that of a
reading where that is, so that each may be 0; at 0 flat in the logarithms, so that each is. The value is
that at which intervals cover what they say (tests/test_trajectory.py)."""
NODES, WIDTHS, NEAR = 11, 3.0, 0.3
"""Shares at which elements are fitted, over so many standard errors to each side; the difference that
tells the error."""
UNLIKELY = 8.0
"""Lower logarithms of the likelihood do not count."""


@dataclass(frozen=True)
class Fitted:
    """Elements with their noise: ``phi``, ``own``, ``common``, ``shared`` as in Maximum; noise of a pulse
    (over its size) and of a reading in its unit, each with its error."""

    phi: Array
    own: Array
    common: Array
    shared: Array
    pulse: tuple[float, float]
    read: tuple[float, float]
    factor: float
    """What the covariances were multiplied by, for the coordinates that were fitted."""


class _Profile:
    """Fits at given shares of reading noise, each started from the nearest that is known."""

    def __init__(
        self, elements: list[Trajectory], phi: Array, own: Index, shared: Index, prior: Prior
    ) -> None:
        self.elements, self.own, self.shared = elements, own, shared
        self.known = [(float(phi[0, SHARE]), phi)]
        self.prior = prior
        finer = np.array([one.finer for one in elements])
        self.even = float((phi[:, [UP, DOWN]].mean(axis=1) - finer).mean())
        """Share at which a reading is as noisy as a pulse."""

    def at(self, share: float) -> tuple[float, Maximum]:
        """Restricted log-likelihood, maximal over the other coordinates, and the fit."""
        phi = min(self.known, key=lambda one: abs(one[0] - share))[1].copy()
        phi[:, SHARE] = share
        # the whole noise that the readings show at this share
        errors = [one.innovations(row) for one, row in zip(self.elements, phi, strict=True)]
        phi[:, NOISE] += np.log(np.mean([np.mean(e**2 / v) for e, v in errors])) / 2
        found = maximise(self.elements, phi, self.own, self.shared, self.prior)
        self.known.append((share, found.phi))
        value = found.log_likelihood + float(np.linalg.slogdet(found.own)[1].sum()) / 2
        return value - FLAT * float(np.log(np.cosh(share - self.even))), found


def fit_noise(
    elements: list[Trajectory], phi: Array, own: Index, shared: Index, prior: Prior
) -> Fitted:
    """Fit elements with a common noise from ``phi`` (elements, coordinates).

    ``shared`` are the coordinates that all share. Without SHARE among them readings have no noise.
    """
    others = shared[shared != SHARE]
    profile = _Profile(elements, phi, own, others, prior)
    count = sum(len(one.sign) for one in elements)
    free = len(elements) * len(own) + len(others) - 1
    # what the fitted coordinates take off the noise
    factor = count / max(count - free, 0.25 * count)
    if len(others) == len(shared):
        value, found = profile.at(float(phi[0, SHARE]))
        return _averaged([found], np.ones(1), (own, others), factor)
    middle, step = _peak(profile, float(phi[0, SHARE]))
    value, found = profile.at(middle)
    values, fits = [value], [found]
    for side in (-1, 1):
        for k in range(1, NODES // 2 + 1):
            value, fit = profile.at(middle + side * step * k)
            values.append(value)
            fits.append(fit)
            if value < max(values) - UNLIKELY:
                break
    weight = np.exp(np.array(values) - max(values))
    return _averaged(fits, weight / weight.sum(), (own, others), factor)


def _peak(profile: _Profile, start: float) -> tuple[float, float]:
    """Return the best share and the distance at which its neighbours are looked at."""
    # from where each element alone has it: far away are fits of other kinds
    best = minimize_scalar(
        lambda share: -profile.at(float(np.clip(share, start - FAR, start + FAR)))[0],
        bracket=(start - NEAR, start + NEAR),
        method="brent",
        options={"xtol": 0.03, "maxiter": 12},
    )
    middle = float(np.clip(best.x, start - FAR, start + FAR))
    value = profile.at(middle)[0]
    near = [profile.at(middle + side * NEAR)[0] for side in (-1, 1)]
    bend = (2 * value - sum(near)) / NEAR**2
    return middle, min(WIDTHS / bend**0.5 if bend > 0 else REACH, REACH) / (NODES // 2)


def _averaged(
    fits: list[Maximum], weight: Array, indices: tuple[Index, Index], factor: float
) -> Fitted:
    """Mean over fits, whose scatter adds to the errors."""
    own, shared = indices
    phi = np.stack([fit.phi for fit in fits])
    mean = np.tensordot(weight, phi, 1)
    apart = phi - mean

    def mixed(blocks: list[Array]) -> Array:
        return factor * np.tensordot(weight, np.stack(blocks), 1)

    mine, together = apart[..., own], apart[:, 0, shared]
    where = int(np.flatnonzero(shared == NOISE)[0])
    error = np.array([fit.shared[where, where] for fit in fits]) * factor
    noises = []
    for level in (phi[:, 0, NOISE], phi[:, 0, NOISE] + phi[:, 0, SHARE]):
        size = np.exp(level) * factor**0.5
        value = float(weight @ size)
        noises.append((value, float((weight @ (size**2 * (1 + error)) - value**2) ** 0.5)))
    return Fitted(
        mean,
        mixed([fit.own for fit in fits]) + np.einsum("n,nei,nej->eij", weight, mine, mine),
        mixed([fit.common for fit in fits]),
        mixed([fit.shared for fit in fits]) + np.einsum("n,ni,nj->ij", weight, together, together),
        noises[0],
        noises[1],
        factor,
    )
