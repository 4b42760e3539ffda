"""Where elements of an array lie in the light of all of them."""

import numpy as np

from analogpipe.calibration.model import Array

ROUNDS = 100
"""Rounds of expectation and maximisation: a linearisation needs no more."""


def pulled(values: Array, covariance: Array) -> Array:
    """Return the most likely coordinates of normally distributed elements, (elements, coordinates).

    ``values`` were found with errors of the given ``covariance`` (elements, coordinates, coordinates).
    Mean and covariance of the population follow by expectation and maximisation (Dempster, Laird and
    Rubin 1977); its covariance is diagonal where elements are few.
    """
    count, size = values.shape
    if count == 1:
        return values
    precision = np.linalg.pinv(covariance, hermitian=True)
    middle = np.median(values, axis=0)
    error = np.median(np.diagonal(covariance, axis1=1, axis2=2), axis=0)
    spread = np.diag((np.median(np.abs(values - middle), axis=0) / 0.6745) ** 2 + error / count)
    weighed = (precision @ values[..., None])[..., 0]
    found = values
    for _ in range(ROUNDS):
        inverse = np.linalg.pinv(spread, hermitian=True)
        posterior = np.linalg.pinv(precision + inverse, hermitian=True)
        found = (posterior @ (weighed + inverse @ middle)[..., None])[..., 0]
        middle = found.mean(axis=0)
        apart = found - middle
        spread = (np.einsum("ei,ej->eij", apart, apart) + posterior).mean(axis=0)
        if count < 3 * size:
            spread = np.diag(np.diag(spread))
        # a spread of 0 is approached and not reached
        spread += 1e-9 * np.diag(error)
    return found
