"""What readings of one element tell of it where their likelihood is far from normal.

Few readings leave a likelihood that falls steeply on one side of its maximum and hardly on the other, or
bends along a ridge: neither its curvature nor its maximum tells what else would fit. Its mean over all
that fits does: coordinates are drawn in proportion to likelihood and prior (Metropolis et al. 1953; steps
as advised by Roberts, Gelman and Gilks, Ann. Appl. Probab. 1997).
"""

from collections.abc import Callable

import numpy as np
import torch

from analogpipe.calibration.element import Estimate
from analogpipe.calibration.model import Array
from analogpipe.calibration.trajectory import Index
from analogpipe.seeds import generator

LEARNT = (500, 500, 1000, 1000)
"""Steps after which their covariance is learnt anew."""
STEPS, KEPT = 6000, 500
"""Steps after that, and how many of them are kept."""
INTERVAL = (0.025, 0.5, 0.975)
"""Quantiles that make an estimate."""


def draws(density: Callable[[Array], float], phi: Array, free: Index, covariance: Array) -> Array:
    """Return draws (KEPT, coordinates) in proportion to the exponential of ``density``, from ``phi``.

    The coordinates ``free`` vary, about with ``covariance`` (free, free); others stay. The same call
    gives the same draws.
    """
    stream = generator(0, "calibration", "posterior")
    here, value = phi.copy(), density(phi)
    for count in (*LEARNT, STEPS):
        ways = 2.38 / len(free) ** 0.5 * np.linalg.cholesky(covariance)
        steps = (
            torch.randn(count, len(free), generator=stream, dtype=torch.float64).numpy() @ ways.T
        )
        levels = torch.rand(count, generator=stream, dtype=torch.float64).log().numpy()
        passed = np.empty((count, len(phi)))
        for i in range(count):
            there = here.copy()
            there[free] += steps[i]
            reached = density(there)
            if reached - value > levels[i]:
                here, value = there, reached
            passed[i] = here
        late = passed[count // 4 :, free]
        covariance = 0.9 * np.cov(late.T) + 0.1 * covariance
    return passed[:: STEPS // KEPT]


def estimate(values: Array) -> Estimate:
    """Return the median of draws, with the error that makes value and 1.96 errors to each side hold 95 %
    of them: where the sides differ the wider one counts."""
    low, middle, high = np.quantile(values, INTERVAL)
    return Estimate(float(middle), float(max(high - middle, middle - low)) / 1.96)
