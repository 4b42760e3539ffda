"""Measuring the pulse response: trains of up, down and alternating pulses, simulated or from a file."""

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from analogpipe.calibration.formats import LEAST, Format, MeasurementError, read_table
from analogpipe.device.parameters import Pulsed
from analogpipe.device.response import Response
from analogpipe.seeds import generator
from analogpipe.tile.config import TileConfig
from analogpipe.tile.pair import PairArray
from analogpipe.tile.tile import AnalogTile

TRAINS = ("up", "down", "alternating")


@dataclass(frozen=True)
class Measurement:
    """Weights around each pulse of a measurement.

    ``before`` and ``after`` are (pulses, elements); ``up`` (pulses,) tells the polarity, ``train``
    (pulses,) indexes TRAINS.
    """

    before: NDArray[np.float64]
    after: NDArray[np.float64]
    up: NDArray[np.bool_]
    train: NDArray[np.int64]


def train_length(device: Pulsed) -> int:
    """Pulses of one train: enough to cross the range twice at the initial step size."""
    return ceil(2 * (device.w_max - device.w_min) / device.dw_min)


def measure(response: Response, length: int, *, seed: int, name: str) -> Measurement:
    """Pulse every element of a simulated array ``length`` times up, down, then ``3 * length`` times
    alternately (up first), starting from 0.

    The alternating train starts at the lower bound and ends at the symmetric point.
    """
    stream = generator(seed, name, "measurement")
    weight = torch.zeros_like(response.low).clamp_(response.low, response.high)
    return _apply(weight, lambda up: response.pulse(weight, up, stream), length)


def measure_pair(
    config: TileConfig, length: int, elements: int, *, seed: int, name: str
) -> Measurement:
    """The same for ``elements`` one-sided pairs, each pulse a micro-batch: refreshed as ``config`` says."""
    tile = AnalogTile(torch.zeros(1, elements), config, seed=seed, name=name)
    pair = tile.array
    assert isinstance(pair, PairArray)
    stream = generator(seed, name, "measurement")

    def pulse(up: torch.Tensor) -> None:
        pair.pulse(tile.weight, up, stream)
        pair.finish()

    return _apply(tile.weight, pulse, length)


def _apply(weight: torch.Tensor, pulse: Callable[[torch.Tensor], None], length: int) -> Measurement:
    """Record ``weight`` while ``pulse`` (told whether up) changes it."""
    alternating = np.arange(3 * length) % 2 == 0
    up = np.concatenate([np.ones(length, bool), np.zeros(length, bool), alternating])
    values = np.empty((len(up) + 1, weight.numel()))
    values[0] = weight.flatten().numpy()
    polarities = torch.tensor([True, False])
    for i, is_up in enumerate(up.tolist()):
        pulse(polarities[0 if is_up else 1])
        values[i + 1] = weight.flatten().numpy()
    return Measurement(values[:-1], values[1:], up, np.repeat([0, 1, 2, 2, 2], length))


def read_csv(path: Path, reach: float | None, form: Format = "pulses") -> Measurement:
    """Read a user's measurement in one of the forms of :mod:`analogpipe.calibration.formats`.

    All elements need the same pulses, numbered through. Conductances are
    mapped linearly so that the middle of the whole range is 0 and its ends are ``-reach`` and
    ``reach``; None takes them as weights.

    Raises:
        MeasurementError: the file cannot be read, or lacks a column or pulses.
    """
    table = read_table(path, form)
    twice = table[table.duplicated(["pulse", "element"])]
    if not twice.empty:
        pulse, element = twice.iloc[0][["pulse", "element"]]
        raise MeasurementError(
            f"{path}: pulse {pulse:g} of element {element} stands there more than once; number the "
            "pulses of an element through"
        )
    wide = table.pivot_table(index="pulse", columns="element", values="conductance")
    polarity = table.groupby("pulse").polarity.agg(["min", "max"])
    if wide.isna().any(axis=None) or (polarity["min"] != polarity["max"]).any():
        raise MeasurementError(f"{path}: all elements need the same pulses")
    gaps = np.flatnonzero(np.diff(wide.index) != 1)
    if len(gaps):
        one, other = wide.index[gaps[0]], wide.index[gaps[0] + 1]
        raise MeasurementError(
            f"{path}: pulse {other:g} follows pulse {one:g}; a conductance after each pulse is needed"
        )
    values = wide.to_numpy(dtype=np.float64)
    if reach is not None:
        # halved first: no overflow whatever the unit
        top, bottom = values.max() / 2, values.min() / 2
        middle, half = top + bottom, top - bottom
        if half == 0:
            raise MeasurementError(f"{path}: all conductances are equal")
        values = (values - middle) / half * reach
    sign = np.sign(polarity["min"].to_numpy(dtype=np.float64))[1:]
    pulsed = sign != 0
    up = sign[pulsed] > 0
    if min(up.sum(), (~up).sum()) < LEAST:
        raise MeasurementError(
            f"{path}: at least {LEAST} pulses of each polarity are needed, found {int(up.sum())} up and "
            f"{int((~up).sum())} down"
        )
    before, after = values[:-1][pulsed], values[1:][pulsed]
    return Measurement(before, after, up, _trains(up))


def _trains(up: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Name each pulse by its neighbours: up or down beside a like one, else alternating."""
    same = np.zeros(len(up), bool)
    like = up[1:] == up[:-1]
    same[1:] |= like
    same[:-1] |= like
    return np.where(same, np.where(up, 0, 1), 2).astype(np.int64)
