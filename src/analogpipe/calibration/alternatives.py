"""Whether readings of an element could as well come from another one: without a bound, or of another
slope or bend."""

import numpy as np

from analogpipe.calibration.coordinates import Kind, bent
from analogpipe.calibration.model import Array
from analogpipe.calibration.scoring import Prior, maximise
from analogpipe.calibration.trajectory import (
    DOWN,
    HIGH,
    K_DOWN,
    K_UP,
    N_DOWN,
    N_UP,
    NOISE,
    SHARE,
    UP,
    Index,
    Trajectory,
)

HALF = float(np.log(2))
OUTSIDE = 20.0
"""A bound so far away that it is none, in half ranges."""
REACHED = 6.0
"""Gain in log-likelihood by which a bound is told from noise that slows an element by chance."""
SURE = 0.1
"""Error of their logarithms below which half and twice need not be tried."""
CERTAIN = 2.0
"""Loss in log-likelihood that rules out another slope or bend."""


def reached(kind: Kind, path: Trajectory, phi: Array, bound: int, *, alone: bool) -> bool:
    """Whether the readings tell that the element stopped at a bound: several are near, and without it
    they are less likely, all else fitted anew, but for what other elements tell unless it is ``alone``."""
    way = 1.0 if bound == HIGH else -1.0
    read = float(np.exp(phi[NOISE] + phi[SHARE] + path.finer))
    pulse = float(np.exp(phi[NOISE] + phi[UP if way > 0 else DOWN]))
    near = np.abs(path.readings[1:] - phi[bound]) < 3 * np.hypot(read, pulse)
    if np.count_nonzero(near & (path.sign == way)) < 3:
        return False
    free = np.array(kind.own + (kind.shared if alone else ()), dtype=np.intp)
    nothing = np.array([], dtype=np.intp)

    def best(start: Array, free: Index) -> float:
        found = maximise([path], start[None], free, nothing, Prior(start, kind.spreads))
        return path.log_likelihood(found.phi[0])

    with_bound = best(phi, free)
    other = phi.copy()
    other[bound] = way * OUTSIDE
    # a bend that suits the bound may hide others that explain the readings without it
    others = (other, *bent(kind, other)) if alone else (other,)
    without = (best(start, free[free != bound]) for start in others)
    return all(with_bound - value > REACHED for value in without)


def vague(kind: Kind, path: Trajectory, phi: Array, covariance: Array) -> tuple[str, ...]:
    """Return parameters that could as well be others: where slope or bend may be half or twice as large
    and all else is fitted anew, the readings are hardly less likely."""
    if not kind.soft:
        return ()
    found_open: list[str] = []
    free = np.array(kind.own, dtype=np.intp)
    nothing = np.array([], dtype=np.intp)
    prior = Prior(phi, kind.spreads)
    for way, end, k, n in (("up", "b_max", K_UP, N_UP), ("down", "b_min", K_DOWN, N_DOWN)):
        shape = n if n in kind.own else k
        rest = free[free != shape]
        if covariance[kind.own.index(shape), kind.own.index(shape)] < SURE**2:
            continue
        for shift in (-HALF, HALF):
            other = phi.copy()
            other[shape] += shift
            found = maximise([path], other[None], rest, nothing, prior)
            lost = path.log_likelihood(phi) - path.log_likelihood(found.phi[0])
            if lost < CERTAIN:
                found_open += [end] if shape == k else [end, f"g_{way}", f"s_{way}"]
                break
    return tuple(found_open)
