"""Maximum of the likelihood of elements that share some of their coordinates, by Fisher scoring."""

from dataclasses import dataclass

import numpy as np

from analogpipe.calibration.model import Array
from analogpipe.calibration.trajectory import Index, Trajectory

ROUNDS = 60
"""Most steps of the scoring."""
ENOUGH = 1e-4
"""Gain in log-likelihood below which the maximum is reached: far below one standard error."""

FAR = 2.0
"""A longer step, in any coordinate, is damped: the equations hold nearby."""


@dataclass(frozen=True)
class Prior:
    """A wide normal prior, which holds what the data do not: ``mean`` (coordinates,) or (elements,
    coordinates), ``spread`` (coordinates,)."""

    mean: Array
    spread: Array


@dataclass(frozen=True)
class Maximum:
    """Coordinates of elements at the maximum, (elements, coordinates), and their covariances.

    ``own`` (elements, own, own) is that of an element's own coordinates for given shared ones,
    ``common`` (elements, own, own) what the errors of the shared ones add, ``shared`` (shared, shared)
    theirs.
    """

    phi: Array
    own: Array
    common: Array
    shared: Array
    log_likelihood: float


@dataclass(frozen=True)
class _System:
    """The normal equations of elements, bordered by what they share."""

    own: Array
    cross: Array
    shared: Array
    own_gradient: Array
    shared_gradient: Array

    def solve(self, damping: float) -> tuple[Array, Array, float]:
        """Return the steps of own and shared coordinates, and the gain they promise."""
        own = self.own * (1 + damping * np.eye(self.own.shape[-1]))
        inner = np.linalg.solve(own, self.cross)
        alone = np.linalg.solve(own, self.own_gradient[..., None])[..., 0]
        middle = self.shared * (1 + damping * np.eye(len(self.shared)))
        middle = middle - np.einsum("eij,eik->jk", self.cross, inner)
        right = self.shared_gradient - np.einsum("eij,ei->j", self.cross, alone)
        shared = np.linalg.solve(middle, right)
        steps = alone - inner @ shared
        gain = float(np.sum(steps * self.own_gradient) + shared @ self.shared_gradient) / 2
        return steps, shared, gain


def maximise(
    elements: list[Trajectory], phi: Array, own: Index, shared: Index, prior: Prior
) -> Maximum:
    """Climb to the maximum of likelihood times prior from ``phi`` (elements, coordinates).

    ``own`` and ``shared`` index the coordinates that are fitted, to each element and to all; others
    stay. Steps are damped as by Levenberg and Marquardt.
    """

    def objective(phi: Array) -> float:
        value = sum(one.log_likelihood(row) for one, row in zip(elements, phi, strict=True))
        rest = (phi - prior.mean) / prior.spread
        value -= 0.5 * float(np.sum(rest[:, own] ** 2) + np.sum(rest[0, shared] ** 2))
        return value

    damping, value = 1e-2, objective(phi)
    system = _system(elements, phi, own, shared, prior)
    for _ in range(ROUNDS):
        steps, common, gain = system.solve(damping)
        if max(np.abs(steps).max(initial=0), np.abs(common).max(initial=0)) > FAR:
            damping = max(damping, 1e-4) * 10
            continue
        new = phi.copy()
        new[:, own] += steps
        new[:, shared] += common
        reached = objective(new)
        if reached >= value and np.isfinite(reached):
            done = gain < ENOUGH and damping < 1
            phi, value, damping = new, reached, damping / 10
            system = _system(elements, phi, own, shared, prior)
            if done:
                break
        elif gain < ENOUGH or damping > 1e8:
            break
        else:
            damping = max(damping, 1e-4) * 10
    inverse = np.linalg.inv(system.own).astype(np.float64)
    inner = inverse @ system.cross
    middle: Array = np.linalg.inv(system.shared - np.einsum("eij,eik->jk", system.cross, inner))
    return Maximum(phi, inverse, inner @ middle @ inner.transpose(0, 2, 1), middle, value)


def _system(
    elements: list[Trajectory], phi: Array, own: Index, shared: Index, prior: Prior
) -> _System:
    free = np.concatenate([own, shared])
    parts = [one.information(row, free) for one, row in zip(elements, phi, strict=True)]
    gradient = np.stack([part[0] for part in parts])
    fisher = np.stack([part[1] for part in parts])
    rest = (phi - prior.mean) / prior.spread**2
    weight = prior.spread**-2.0
    n = len(own)
    return _System(
        fisher[:, :n, :n] + np.diag(weight[own]),
        fisher[:, :n, n:],
        fisher[:, n:, n:].sum(axis=0) + np.diag(weight[shared]),
        gradient[:, :n] - rest[:, own],
        gradient[:, n:].sum(axis=0) - rest[0, shared],
    )
