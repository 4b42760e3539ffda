"""The experiments on problems with known constants, by the engine and the arrays of the networks.

One job is one experiment and writes one CSV with a row per setting and seed; tables and fits are
made from these by analogpipe.theory.tables.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from analogpipe.device.parameters import SoftBounds
from analogpipe.pipeline.pipeline import Pipeline
from analogpipe.profile.theory import Theory
from analogpipe.schedule.table import build
from analogpipe.theory.bounds import BLOCKS, best_step
from analogpipe.theory.problem import (
    INPUTS,
    PULSE_NOISE,
    SEED,
    LeastSquares,
    Share,
    floor_problem,
    loss,
    rates_problem,
)
from analogpipe.tile.config import TileConfig, digital
from analogpipe.tile.sections import ReadoutConfig


def linear(tau: float, dw_min: float, out_noise: float = 0.0) -> TileConfig:
    """Return a tile of the linear device without spread, its converters without error.

    ``out_noise`` is the read-out noise (AIHWKit's IOParameters), which acts on every output alone.
    """
    device = SoftBounds(
        w_max=tau, w_min=-tau, dw_min=dw_min, dw_min_std=PULSE_NOISE,
        dw_min_dtod=0, w_max_dtod=0, w_min_dtod=0, up_down_dtod=0,
    )  # fmt: skip
    noisy = ReadoutConfig(inp_res=0, out_res=0, out_bound=0, out_noise=out_noise)
    forward = noisy if out_noise else ReadoutConfig(perfect=True)
    return TileConfig(device=device, forward=forward, backward=ReadoutConfig(perfect=True))


@dataclass(frozen=True)
class Setting:
    """One way to train the problem: arrays, schedule, step of an update, number of micro-batches."""

    tile: TileConfig
    mode: str
    stages: int
    step: float
    samples: int
    mini_batch: int = 1
    seed: int = SEED


def train(problem: LeastSquares, setting: Setting) -> NDArray[np.float64]:
    """Return the squared gradient norms before each update, (updates, rows).

    The gradient is taken at weights of one version, each stage's read at the moment at which it is
    about to apply the update of that number.
    """
    blocks = problem.blocks(BLOCKS, setting.tile, setting.seed)
    per_stage = BLOCKS // setting.stages
    stages = [blocks[i : i + per_stage] for i in range(0, BLOCKS, per_stage)]
    updates = -(-setting.samples // setting.mini_batch)
    path = torch.empty(updates, problem.rows, INPUTS)

    def recorder(stage: list[Share]) -> Callable[[int], float]:
        parts = [(block.columns, block.layer.tile.weight) for block in stage]

        def rate(b: int) -> float:
            for columns, weight in parts:
                path[b // setting.mini_batch, :, columns] = weight
            return setting.step

        return rate

    pipeline = Pipeline(
        [nn.Sequential(*stage) for stage in stages],
        build(setting.mode, setting.stages, setting.samples, setting.mini_batch),
        loss=loss,
        batch=problem.batches(),
        lr=[recorder(stage) for stage in stages],
    )
    pipeline.run()
    return problem.squared_gradients(path)


def summary(errors: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Return per row the mean over all updates and over the second half, when it has settled."""
    return {"error": errors.mean(0), "settled": errors[len(errors) // 2 :].mean(0)}


def rates(sizes: Theory, device: str) -> Iterator[dict[str, Any]]:
    """Train with the best step for each number of micro-batches: ``digital`` or ``linear`` arrays.

    Columns: device, mode, stages, samples, step, seed, error, settled.
    """
    problem = rates_problem(sizes)
    tile = digital() if device == "digital" else linear(sizes.tau, sizes.dw_min)
    asynchronous = sizes.stages if device == "digital" else [max(sizes.stages)]
    ways = [("sequential", 1, 1), ("sync", 1, sizes.mini_batch)]
    ways += [("async", stages, 1) for stages in asynchronous]
    constants = problem.constants()
    for samples in sizes.samples:
        step = best_step(constants.start, constants.smoothness, constants.variance, samples)
        for mode, stages, n in ways:
            errors = train(problem, Setting(tile, mode, stages, step * n, samples, n))
            found = summary(errors)
            for seed in range(problem.rows):
                yield {
                    "device": device,
                    "mode": mode,
                    "stages": stages,
                    "samples": samples,
                    "step": step * n,
                    "seed": seed,
                    **{name: values[seed] for name, values in found.items()},
                }


def floor(sizes: Theory) -> Iterator[dict[str, Any]]:
    """Train long at one step, on digital arrays and on linear ones that differ in one parameter.

    One run holds every (sigma, |w*|) of the profile, as rows of the same arrays.
    Columns: device, tau, dw_min, noise, mode, stages, sigma, size, seed, floor.
    """
    problem = floor_problem(sizes)
    base = (sizes.tau, sizes.dw_min, 0.0)
    devices = [base, *((tau, *base[1:]) for tau in sizes.ranges)]
    devices += [(sizes.tau, dw_min, 0.0) for dw_min in sizes.dw_mins]
    devices += [(*base[:2], noise) for noise in sizes.noises]
    tiles = {device: linear(device[0], device[1], out_noise=device[2]) for device in devices}
    for device, tile in {(np.inf, 0.0, 0.0): digital(), **tiles}.items():
        for mode, stages in (("sequential", 1), ("async", max(sizes.stages))):
            setting = Setting(tile, mode, stages, sizes.floor_step, sizes.floor_samples)
            settled = summary(train(problem, setting))["settled"]
            for row in range(problem.rows):
                yield {
                    "device": "digital" if np.isinf(device[0]) else "linear",
                    "tau": device[0],
                    "dw_min": device[1],
                    "noise": device[2],
                    "mode": mode,
                    "stages": stages,
                    "sigma": problem.sigma[row],
                    "size": problem.size[row],
                    "seed": row % sizes.floor_rows,
                    "floor": settled[row],
                }
