"""Copying weights between arrays: read, program, verify, through the converters and the elements.

Columns are read and programmed one after another, by an input that is 1 there and 0 elsewhere. A read
is noisy, so that the mean of several is taken; a pulse train carries at most ``desired_bl`` pulses,
so that large differences need several iterations. Nothing knows the weight but through reads.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from analogpipe.tile.tile import AnalogTile


class Programmed(NamedTuple):
    """An array after an iteration of program and verify."""

    iteration: int
    error: float
    """Root mean square of what the weight is off the target, which no read can tell."""
    slots: float
    """Slots of a column's pulse train in this iteration, mean over the columns."""


@torch.no_grad()
def read_out(tile: AnalogTile, reads: int) -> Tensor:
    """Return the weight (out, in) as the mean of so many reads of each column says it."""
    columns = tile.weight.shape[1]
    found = tile.read_forward(torch.eye(columns, device=tile.weight.device).repeat(reads, 1))
    return found.view(reads, columns, -1).mean(0).t()


@torch.no_grad()
def program(
    tile: AnalogTile, target: Tensor, *, iterations: int, reads: int, verify: Tensor | None = None
) -> Iterator[Programmed]:
    """Bring ``tile`` to ``target`` (out, in), an iteration at a time: read, and pulse the difference.

    The error is that to ``verify`` if given, such as the weight that the target was read from.
    """
    columns = torch.eye(target.shape[1], device=target.device)
    truth = target if verify is None else verify
    for iteration in range(1, iterations + 1):
        before = int(tile.array.slots)
        difference = read_out(tile, reads) - target
        tile.update(columns, difference.t().contiguous(), 1.0)
        slots = (int(tile.array.slots) - before) / len(columns)
        yield Programmed(iteration, float((tile.weight - truth).square().mean().sqrt()), slots)
