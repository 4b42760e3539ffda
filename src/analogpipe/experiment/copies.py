"""What copying the weights of a layer to another array costs, and how far it gets."""

from collections.abc import Iterator, Sequence
from itertools import product
from math import inf, sqrt
from typing import Any, NamedTuple

import pandas as pd
import torch
from torch import Tensor

from analogpipe.device.parameters import Ideal
from analogpipe.experiment.copy import Inputs, program, read_out
from analogpipe.hardware import cost
from analogpipe.hardware.config import Hardware
from analogpipe.hardware.cost import Cost
from analogpipe.hardware.layers import Stage, linear
from analogpipe.hardware.presets import PRESETS
from analogpipe.hardware.rules import Rule, RuleError
from analogpipe.profile.rule import of_tile
from analogpipe.seeds import generator
from analogpipe.settings import ConfigError
from analogpipe.tile.config import TileConfig
from analogpipe.tile.tile import AnalogTile

SIDE, REACH = 64, 0.3
"""Rows and columns of the layer, and its largest weight, uniformly distributed."""
READS: dict[Inputs, tuple[int, ...]] = {"columns": (4, 16, 64), "patterns": (1, 4, 16)}
"""Reads of which the mean is taken, by what is read (see copy.read_out)."""
MOST = 40
"""Iterations of program and verify after which a copy is given up; HERMES takes up to 30."""
COLUMNS = ("device", "seed", "inputs", "reads", "tolerance", "reached", "iterations", "error", "slots",
           "hardware", "seconds", "joules", "steps_in_time", "steps_in_energy")  # fmt: skip
LAYER = linear(SIDE, SIDE)


class Attempt(NamedTuple):
    """A copy: iterations until its error was within the ``tolerance``, MOST if it never was.

    ``error`` is that after these iterations, of a copy that was given up the smallest of all. Both are
    over the root mean square of the weights. ``slots`` of a column's pulse train are the mean over
    the iterations.
    """

    tolerance: float
    reached: bool
    iterations: int
    error: float
    slots: float


def arrays(tile: TileConfig, seed: int) -> tuple[AnalogTile, AnalogTile]:
    """Return an array with weights, and one at 0 for their copy, (SIDE, SIDE), with other elements.

    Pulses go to the array of the weight itself, whatever rule it learns by. Raises ConfigError for
    a device without pulses.
    """
    if isinstance(tile.device, Ideal):
        raise ConfigError("copies: found an ideal device, allowed: pulsed ones")
    plain = tile.model_copy(update={"transfer": None, "mixed_precision": None})
    weight = (torch.rand(SIDE, SIDE, generator=generator(seed, "weight")) * 2 - 1) * REACH
    return (
        AnalogTile(weight, plain, seed=seed, name="source"),
        AnalogTile(torch.zeros(SIDE, SIDE), plain, seed=seed, name="copy"),
    )


@torch.no_grad()
def tolerance(source: AnalogTile, seed: int) -> float:
    """Return the error of a weight that does as much to an output as the array's own read.

    A copy within it no more than doubles the variance with which outputs are off, for inputs that are
    uniform over the range of the converter. It is never less than a pulse.
    """
    weight: Tensor = source.weight
    x = torch.rand(1024, SIDE, generator=generator(seed, "copy", "inputs")) * 2 - 1
    noise = (source.read_forward(x) - x @ weight.t()).square().mean()
    own = sqrt(float(noise) / (SIDE * float(x.square().mean())))
    return max(own, source.config.device.granularity)


def attempt(tile: TileConfig, inputs: Inputs, reads: int, seed: int) -> Attempt:
    """Copy a layer once, through so many reads by columns or patterns."""
    source, other = arrays(tile, seed)
    truth, target = source.weight.clone(), read_out(source, reads, inputs)
    spread = float(truth.square().mean().sqrt())
    allowed = tolerance(source, seed) / spread
    best, slots, done = inf, 0.0, 0
    how = {"iterations": MOST, "reads": reads}
    for after in program(other, target, **how, inputs=inputs, verify=truth):
        done, slots = after.iteration, slots + after.slots
        best = min(best, after.error / spread)
        if best <= allowed:
            break
    return Attempt(allowed, best <= allowed, done, best, slots / done)


def spent(hardware: Hardware, *, iterations: int, slots: float, reads: int) -> Cost:
    """Return what so many iterations of a copy take, with ``slots`` of a column's train in each."""
    slots *= hardware.phases
    return cost.copy(LAYER, hardware, iterations=iterations, slots=slots, reads=reads)


def step(tile: TileConfig, hardware: Hardware) -> Cost:
    """Return what training the layer by one sample takes: forward, backward, update.

    A rule without costs (a pair, which is refreshed) counts as plain pulses.
    """
    try:
        rule = of_tile(tile)
    except RuleError:
        rule = Rule("analog_sgd")
    one = cost.stage(Stage((LAYER,)), 1, rule, hardware)
    return sum((one.forward, one.backward, one.update, one.accumulate, one.program), Cost())


def copies(device: str, tile: TileConfig, seeds: Sequence[int]) -> pd.DataFrame:
    """Copy a layer for every seed and number of reads; return a row for each and accelerator.

    Columns: COLUMNS. Those from tolerance to slots are of :class:`Attempt`, seconds and joules of its
    iterations (of a copy that was given up: spent in vain), steps_in_time and steps_in_energy the
    same in training steps of the same layer by one sample.
    """
    return pd.DataFrame(_rows(device, tile, seeds), columns=list(COLUMNS))


def _rows(device: str, tile: TileConfig, seeds: Sequence[int]) -> Iterator[dict[str, Any]]:
    for seed, (inputs, counts) in product(seeds, READS.items()):
        for reads in counts:
            made = attempt(tile, inputs, reads, seed)
            for name, hardware in PRESETS.items():
                done, slots = made.iterations, made.slots
                took = spent(hardware, iterations=done, slots=slots, reads=reads)
                unit = step(tile, hardware)
                yield {
                    "device": device,
                    "seed": seed,
                    "inputs": inputs,
                    "reads": reads,
                    **made._asdict(),
                    "hardware": name,
                    "seconds": took.seconds,
                    "joules": took.joules,
                    "steps_in_time": took.seconds / unit.seconds,
                    "steps_in_energy": took.joules / unit.joules,
                }
