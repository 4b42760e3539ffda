"""Coordinates in which trajectories are fitted: from readings to a start, and back to parameters of
:mod:`analogpipe.calibration.model`."""

from dataclasses import dataclass

import numpy as np

from analogpipe.calibration.model import MODELS, Array, Mask
from analogpipe.calibration.trajectory import (
    DOWN,
    EXPONENTIAL,
    HIGH,
    K_DOWN,
    K_UP,
    LEAST_BEND,
    LINE,
    LOW,
    N_DOWN,
    N_UP,
    NAMES,
    NOISE,
    POWER,
    SHARE,
    UP,
)

BLOCKS = 16
"""Most blocks of a run of like pulses whose means start a fit."""
BENDS = (-2.0, 1.0, 4.0)
"""Bends of exponential responses that start fits."""


SPREADS = np.array([3.0, 3.0, 3.0, 3.0, 3.0, 3.0, 1.0, 1.0, 3.0, 3.0])
SOFT_SPREADS = np.array([3.0, 3.0, 1.5, 1.5, 1.0, 1.0, 1.0, 1.0, 3.0, 3.0])
"""Spreads of the wide prior, in the order of NAMES: weights are counted in half ranges of the readings,
so that all are wide against what an element can be. The second where slopes and bends are logarithms."""


@dataclass(frozen=True)
class Kind:
    """How a device type is fitted: form of its steps, whether it stops where they vanish, coordinates of
    its own, and coordinates that all elements share."""

    form: int
    soft: bool
    own: tuple[int, ...]
    shared: tuple[int, ...] = (NOISE, SHARE)

    @property
    def spreads(self) -> Array:
        """Spreads of the wide prior on its coordinates."""
        return SOFT_SPREADS if self.soft else SPREADS


_STEPS, _SLOPES, _BENDS, _ENDS = (UP, DOWN), (K_UP, K_DOWN), (N_UP, N_DOWN), (HIGH, LOW)

KINDS = {
    "constant_step": Kind(LINE, False, (*_STEPS, *_ENDS)),
    "linear_step": Kind(LINE, False, (*_STEPS, *_SLOPES, *_ENDS)),
    "soft_bounds": Kind(LINE, True, (*_STEPS, *_SLOPES)),
    "soft_bounds_reference": Kind(LINE, True, (*_STEPS, *_SLOPES)),
    "exp_step": Kind(EXPONENTIAL, False, (*_STEPS, *_ENDS), (*_SLOPES, *_BENDS, NOISE, SHARE)),
    "pow_step": Kind(POWER, True, (*_STEPS, *_SLOPES, *_BENDS)),
}


@dataclass(frozen=True)
class Scale:
    """Weight ``centre + unit z`` at the coordinate ``z``."""

    centre: float
    unit: float


def blocks(readings: Array, sign: Array) -> tuple[Array, Array, Mask]:
    """Return places, step sizes and polarities from means over blocks of runs of like pulses, which
    read noise hardly moves."""
    places: list[float] = []
    sizes: list[float] = []
    ups: list[bool] = []
    edges = np.flatnonzero(np.diff(sign)) + 1
    for run in np.split(np.arange(len(sign)), edges):
        if sign[run[0]] == 0 or len(run) < 3:
            continue
        values = readings[run[0] : run[-1] + 2]
        parts = np.array_split(np.arange(len(values)), min(BLOCKS, len(values) // 2))
        means = np.array([values[part].mean() for part in parts])
        middles = np.array([part.mean() for part in parts])
        places.extend((means[1:] + means[:-1]) / 2)
        sizes.extend(sign[run[0]] * np.diff(means) / np.diff(middles))
        ups.extend([bool(sign[run[0]] > 0)] * (len(means) - 1))
    if len(set(ups)) < 2:
        step = np.diff(readings) * sign
        moved = sign != 0
        return readings[:-1][moved], step[moved], sign[moved] > 0
    return np.array(places), np.array(sizes), np.array(ups)


def scales(kind: Kind, places: list[Array]) -> list[Scale]:
    """Return the scale on which each element moves between about -1 and 1: the same for all, but for
    exponential devices, whose shape refers to the range of an element and to the weight 0."""
    ends = np.array([(one.max(), one.min()) for one in places])
    if kind.form == EXPONENTIAL:
        return [Scale(0.0, float(high - low) / 2 or 1.0) for high, low in ends]
    high, low = np.median(ends, axis=0)
    return [Scale(float(high + low) / 2, float(high - low) / 2 or 1.0)] * len(places)


def starts(
    kind: Kind, readings: Array, sign: Array, places: tuple[Array, Array, Mask], finer: float
) -> Array:
    """Return first guesses (guesses, coordinates) from readings and blocks in units of the
    scale. ``finer``: see :class:`Trajectory`."""
    w, size, up = places
    phi = np.zeros(len(NAMES))
    phi[[N_UP, N_DOWN]] = 1.0
    high, low = float(w.max()), float(w.min())
    phi[HIGH], phi[LOW] = high, low
    for s, k, mine, way in ((UP, K_UP, up, 1.0), (DOWN, K_DOWN, ~up, -1.0)):
        z, step = way * w[mine], size[mine]
        if not kind.soft:
            inner = np.abs(w[mine] - (high + low) / 2) < 0.4 * (high - low)
            if inner.sum() > 1:
                z, step = z[inner], step[inner]
        least = 0.05 * float(np.abs(size).mean()) + 1e-9
        slope, middle = np.polyfit(z, step, 1) if len(z) > 1 else (0.0, step.mean())
        middle = max(float(middle), least)
        phi[s] = np.log(middle)
        phi[k] = np.clip(-slope / middle, 0.05, 0.95) if K_UP in kind.own + kind.shared else 0.0
    change, typical = np.diff(readings), np.exp(phi[[UP, DOWN]]).mean()
    pulse, read = _noises(change, sign)
    phi[NOISE] = np.log(np.clip(pulse / typical, 0.03, 10))
    phi[SHARE] = np.log(max(read, 1e-5)) - phi[NOISE] - finer
    if kind.soft:
        phi[[K_UP, K_DOWN]] = np.log(phi[[K_UP, K_DOWN]])
        phi[[N_UP, N_DOWN]] = 0.0
    return bent(kind, phi)


def bent(kind: Kind, phi: Array) -> Array:
    """Return coordinates from which a fit finds its maximum, (guesses, coordinates): for exponential
    devices with several bends."""
    if kind.form != EXPONENTIAL:
        return phi[None]
    tried = np.repeat(phi[None], len(BENDS), axis=0)
    tried[:, N_UP] = tried[:, N_DOWN] = BENDS
    return tried


def _noises(change: Array, sign: Array) -> tuple[float, float]:
    """Noise of a pulse and of a reading: two successive changes share a reading."""
    rest = change - sign * (change * sign).mean()
    for way in (-1.0, 1.0):
        own = rest[sign == way]
        near = np.ones(min(9, max(len(own), 1)))
        if len(own):
            local = np.convolve(own, near, "same") / np.convolve(np.ones(len(own)), near, "same")
            rest[sign == way] = own - local
    variance = float(np.mean(rest**2))
    read = max(-float(np.mean(rest[1:] * rest[:-1])), 0.0)
    read = min(read, 0.49 * variance)
    return float(np.sqrt(variance - 2 * read)), float(np.sqrt(read))


def parameters(name: str, phi: Array, scale: Scale) -> Array:
    """Return the parameters of the model ``name`` and the bounds, high and low."""
    kind, unit, centre = KINDS[name], scale.unit, scale.centre
    theta: dict[str, float] = {}
    bounds = {}
    for way, s, k, n, sign in (("up", UP, K_UP, N_UP, 1.0), ("down", DOWN, K_DOWN, N_DOWN, -1.0)):
        size, slope, bend = unit * float(np.exp(phi[s])), float(phi[k]), float(phi[n])
        if kind.soft:
            slope, bend = float(np.exp(slope)), float(np.exp(bend))
        origin = -sign * centre / unit
        """Coordinate of the weight 0, in the direction of the pulses."""
        end = "b_max" if way == "up" else "b_min"
        theta[f"s_{way}"] = size
        if kind.form == LINE:
            theta[f"s_{way}"] = size * (1 - slope * origin)
            theta[f"k_{way}"] = slope * size / unit / theta[f"s_{way}"]
            bounds[end] = centre + sign * unit / slope if slope else sign * np.inf
        elif kind.form == POWER:
            bend = max(bend, LEAST_BEND)
            bounds[end] = centre + sign * unit / (slope * bend)
            theta[f"g_{way}"] = 1 / bend
        else:
            bend = bend if abs(bend) > 1e-4 else 1e-4
            theta[f"q_{way}"], theta[f"r_{way}"] = slope / bend, bend / unit
    if name == "pow_step":
        reach = bounds["b_max"] - bounds["b_min"]
        for way, end, sign in (("up", "b_max", 1.0), ("down", "b_min", -1.0)):
            left = sign * (bounds[end] - centre) / reach
            theta[f"s_{way}"] *= left ** -theta[f"g_{way}"] if left > 0 else np.nan
    theta |= bounds
    ends = [centre + unit * phi[HIGH], centre + unit * phi[LOW]]
    if kind.soft:
        ends = [bounds["b_max"], bounds["b_min"]]
    return np.array([theta[key] for key in MODELS[name].names] + ends)
