"""Convergence of pipelined SGD on digital and on analog accelerators: rates, error floor, cycles.

The error is the mean over K steps of the expected squared gradient norm. docs/theory.md states the
assumptions, derives each bound and says where it comes from. Torch-free.
"""

from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from analogpipe.schedule import modes as schedule

Floats = NDArray[np.float64]

BLOCKS = 8
"""Blocks of the problems, the largest number of stages."""


@dataclass(frozen=True)
class Constants:
    """A least-squares problem ``E (x.w - y)^2 / 2`` with a fixed design and noisy targets.

    Attributes:
        inputs: the design of a micro-batch, X (samples, d).
        sigma: standard deviation of a target.
        minimisers: w* (rows, d); the problems of the rows differ in nothing else.
    """

    inputs: Floats
    sigma: float
    minimisers: Floats

    @property
    def hessian(self) -> Floats:
        """X^T X / samples (d, d)."""
        hessian: Floats = self.inputs.T @ self.inputs / len(self.inputs)
        return hessian

    @property
    def smoothness(self) -> float:
        """L, the largest eigenvalue of the Hessian."""
        return float(np.linalg.eigvalsh(self.hessian)[-1])

    @property
    def start(self) -> float:
        """Delta, the loss at w = 0 above the smallest loss, mean over rows."""
        w = self.minimisers
        return float(np.einsum("rj,jk,rk->", w, self.hessian, w) / (2 * len(w)))

    @property
    def sample_square(self) -> float:
        """Bound of the expected squared gradient of one sample while the loss is below its start."""
        lengths = (self.inputs**2).sum(1)
        return float(lengths.max() * (self.sigma**2 + 2 * self.start))

    @property
    def activity(self) -> float:
        """Bound of the pulse activity E||A||_1 per unit of step, under the same condition."""
        lengths = np.abs(self.inputs).sum(1)
        return float(np.sqrt((lengths**2).mean() * (self.sigma**2 + 2 * self.start)))

    @property
    def variance(self) -> float:
        """sigma^2 of the bounds: variance of the gradient of a micro-batch, the same everywhere."""
        return float(self.sigma**2 * np.trace(self.hessian)) / len(self.inputs)


@dataclass(frozen=True)
class Linear:
    """The linear device as the theory sees it: no spread between elements.

    Attributes:
        tau: dynamic range; infinite for a device without asymmetry.
        dw_min: change by one pulse at w = 0; 0 for a device without granularity.
        dw_min_std: noise of a pulse, relative to its size.
    """

    tau: float = np.inf
    dw_min: float = 0.0
    dw_min_std: float = 0.0


DIGITAL = Linear()


def best_step(start: float, smoothness: float, variance: float, samples: int) -> float:
    """Step ``sqrt(2 Delta / (L sigma^2 K))`` that minimises the bound of digital SGD."""
    return sqrt(2 * start / (smoothness * variance * samples))


def bound(
    *,
    start: float,
    smoothness: float,
    variance: float,
    step: float,
    samples: int,
    stages: int = 1,
    mini_batch: int = 1,
    saturation: float = 0.0,
    sample_square: float = 0.0,
    pulses: float = 0.0,
) -> float:
    """Upper bound of the mean squared gradient norm over a run.

    ``step`` is that of an update, so of n = ``mini_batch`` micro-batches; the run has K = ``samples``
    micro-batches. ``stages`` M counts for asynchronous schedules only (give 1 for the others).
    ``saturation`` s is max|w| / tau (0: digital), ``sample_square`` bounds the expected squared
    gradient of one sample, ``pulses`` is the variance that pulses bring per unit of step,
    g (1 + c^2)(1 + s^2) E||A||_1 with the activity per unit of step.

    Raises:
        ValueError: the step or the saturation is beyond what the bound covers.
    """
    most = 1 / smoothness if stages == 1 else 1 / (2 * smoothness * stages)
    if step > most:
        raise ValueError(f"step is {step:g}, the bound covers at most {most:g}")
    if not 0 <= saturation < 1:
        raise ValueError(f"max|w| / tau is {saturation:g}, the bound covers 0 to below 1")
    noise = variance / mini_batch * (1 + saturation) ** 2 + pulses / step
    rate = 2 * start * mini_batch / (step * samples) + step * smoothness * noise
    stale = 2 * (step * smoothness) ** 2 * (stages - 1) * noise
    bias = saturation**2 * sample_square
    if (
        stages > 1 and saturation > 0
    ):  # the two deviations of the update from -grad f do not just add
        stale, bias = 4 / 3 * stale, 4 * bias
    return rate + stale + bias


def samples_to(
    error: float, start: float, smoothness: float, variance: float, stages: int
) -> float:
    """Micro-batches that the digital bound asks for to reach ``error``, asynchronous for M > 1.

    ``8 Delta L sigma^2 / error^2`` for no pipeline; staleness adds ``8 Delta L (M - 1) / error`` to
    first order, from a price of ``4 Delta L (M - 1) / K`` at the best step.
    """
    dominant = 8 * start * smoothness * variance / error**2
    return dominant + 8 * start * smoothness * (stages - 1) / error


def cycles_to(mode: str, stages: int, samples: float, mini_batch: int = 1) -> int:
    """Clock cycles of a schedule for so many micro-batches (rounded up to whole ones)."""
    return schedule.cycles(mode, stages, max(1, int(np.ceil(samples))), mini_batch)
