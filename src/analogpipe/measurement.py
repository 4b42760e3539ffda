"""Measuring the pulse response of an array: trains of up, down and alternating pulses."""

from dataclasses import dataclass
from math import ceil

import numpy as np
import torch
from numpy.typing import NDArray

from analogpipe.devices import Pulsed
from analogpipe.pulse_response import Response
from analogpipe.seeds import generator

TRAINS = ("up", "down", "alternating")


@dataclass(frozen=True)
class Measurement:
    """Conductances (in weight units) around each pulse of a measurement.

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
    """Pulse every element of a simulated array ``length`` times up, down, then alternately (up
    first), starting from 0.

    The alternating train starts at the lower bound and ends at the symmetric point.
    """
    stream = generator(seed, name, "measurement")
    weight = torch.zeros_like(response.low).clamp_(response.low, response.high)
    alternating = np.arange(3 * length) % 2 == 0
    up = np.concatenate([np.ones(length, bool), np.zeros(length, bool), alternating])
    values = np.empty((len(up) + 1, weight.numel()))
    values[0] = weight.flatten().numpy()
    for i, direction in enumerate(up.tolist()):
        response.pulse(weight, torch.tensor(direction), stream)
        values[i + 1] = weight.flatten().numpy()
    return Measurement(values[:-1], values[1:], up, np.repeat([0, 1, 2, 2, 2], length))
