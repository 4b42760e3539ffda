"""Copying weights between arrays: read, program, verify, through the converters and the elements.

Columns are programmed one after another, and read so, by an input that is 1 there and 0 elsewhere, or all
at once by patterns of ones and minus ones. A read is noisy, so that the mean of several is taken; a pulse
train carries at most ``desired_bl`` pulses, so that large differences need several iterations. Nothing
knows the weight but through reads.
"""

from collections.abc import Iterator
from typing import Literal, NamedTuple

import torch
from scipy.linalg import hadamard
from torch import Tensor

from analogpipe.tile.tile import AnalogTile

Inputs = Literal["columns", "patterns"]
"""What a weight is read by: columns one by one, or patterns of all of them."""


class Programmed(NamedTuple):
    """An array after an iteration of program and verify."""

    iteration: int
    error: float
    """Root mean square of what the weight is off the target, which no read can tell."""
    slots: float
    """Slots of a column's pulse train in this iteration, mean over the columns."""


@torch.no_grad()
def read_out(tile: AnalogTile, reads: int, inputs: Inputs = "columns") -> Tensor:
    """Return the weight (out, in) as the mean of so many reads of each column says it.

    By ``patterns``, the rows of a Hadamard matrix of the next power of two, as many reads say each weight
    with the variance of one divided by their number, since every read sees every weight. The sums that
    decode them are digital.
    """
    columns = tile.weight.shape[1]
    if inputs == "columns":
        shown = torch.eye(columns)
    else:
        size = 1 << (columns - 1).bit_length()
        shown = torch.from_numpy(hadamard(size)[:, :columns]).float()
    shown = shown.to(tile.weight.device)
    found = tile.read_forward(shown.repeat(reads, 1)).view(reads, len(shown), -1).mean(0)
    if inputs == "columns":
        return found.t()
    return found.t() @ shown / len(shown)


@torch.no_grad()
def program(
    tile: AnalogTile,
    target: Tensor,
    *,
    iterations: int,
    reads: int,
    inputs: Inputs = "columns",
    verify: Tensor | None = None,
) -> Iterator[Programmed]:
    """Bring ``tile`` to ``target`` (out, in), an iteration at a time: read, and pulse the difference.

    The error is that to ``verify`` if given, such as the weight that the target was read from.
    """
    columns = torch.eye(target.shape[1], device=target.device)
    truth = target if verify is None else verify
    for iteration in range(1, iterations + 1):
        before = int(tile.array.slots)
        difference = read_out(tile, reads, inputs) - target
        tile.update(columns, difference.t().contiguous(), 1.0)
        slots = (int(tile.array.slots) - before) / len(columns)
        yield Programmed(iteration, float((tile.weight - truth).square().mean().sqrt()), slots)
