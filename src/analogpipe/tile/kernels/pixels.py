"""Signals of a convolution on their way to and from products in bfloat16, in main memory.

The compiled form of what :class:`analogpipe.tile.kernels.backend.Kernels` does to maps, for maps that lie
channel after channel of a pixel (channels last) and for one group: what goes into a product is rounded to
bfloat16 as it is made, and what comes out of one is read as bfloat16. Maps are (b, c, h, w); what has
one number for a pixel is (b, 1, h, w).
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from analogpipe.tile.kernels import pixel_loops as loops
from analogpipe.tile.kernels.compiled import Seed
from analogpipe.tile.kernels.loops import Array, array
from analogpipe.tile.kernels.reading import ROOM
from analogpipe.tile.scratch import kept, scratch
from analogpipe.tile.sections import ReadoutConfig

LAST = torch.channels_last


def laid(x: Tensor) -> Tensor:
    """Return maps with their channels last; themselves where they are."""
    return x.contiguous(memory_format=LAST)


def rows(x: Tensor) -> Array:
    """Return maps with channels last as an array of pixels (b h w, c), bfloat16 as its bits; a view."""
    flat = x.detach().permute(0, 2, 3, 1).view(-1, x.shape[1])
    if x.dtype == torch.bfloat16:
        return flat.view(torch.int16).numpy().view(np.uint16)
    return array(flat)


def _each(factor: Tensor, maps: Tensor) -> Array:
    """Return ``factor``, (b, 1, 1, 1) or (b, 1, h, w), for each pixel of ``maps``."""
    return array(factor.expand(maps.shape[0], 1, *maps.shape[2:]).reshape(-1))


def _low(name: str, like: Tensor) -> Tensor:
    """Return room for maps of the shape of ``like`` in bfloat16 (scratch memory)."""
    flat = (like.shape[0], *like.shape[2:], like.shape[1])
    return scratch(name, flat, like, torch.bfloat16).permute(0, 3, 1, 2)


class _Noise:
    """Room for random bits, and for numbers made of them at a time."""

    def __init__(self, channels: int, like: Tensor) -> None:
        self.seed = Seed(ROOM, like)
        self.numbers = array(scratch("normal", (max(ROOM, channels),), like))


def _noise(maps: Tensor) -> _Noise:
    channels = maps.shape[1]
    like = torch.empty(0, dtype=torch.float32)
    return kept(("pixel noise", channels), lambda: _Noise(channels, like))


def largest(x: Tensor) -> Tensor:
    """Return the largest size over the channels, (b, 1, h, w)."""
    top = x.new_empty(x.shape[0], 1, *x.shape[2:])
    loops.largest(rows(laid(x)), array(top.view(-1)))
    return top


def levels(x: Tensor, unit: Tensor, config: ReadoutConfig) -> Tensor:
    """Return ``x`` in levels of ``unit``, (b, 1, 1, 1), through the input converter (scratch memory)."""
    q, n = _low("low read", x), config.levels
    images = len(x), -1
    numbers = n.inp_step > 0, n.inp_bound
    units = array(unit.reshape(-1))
    loops.levels(rows(laid(x)).reshape(images), units, rows(q).reshape(images), *numbers)
    return q


def levels_of_pixels(e: Tensor, config: ReadoutConfig) -> tuple[Tensor, Tensor]:
    """Return ``e`` through the input converter, back at its scale (scratch memory), and the scale of
    each pixel."""
    q, n = _low("low read", e), config.levels
    scale = e.new_empty(e.shape[0], 1, *e.shape[2:])
    managed = config.noise_management == "abs_max"
    numbers = n.inp_step, n.inp_bound, managed
    loops.levels_of_pixels(rows(laid(e)), array(scale.view(-1)), rows(q), *numbers)
    return q, scale


def convert(
    y: Tensor,
    gain: Tensor,
    scale: Tensor,
    config: ReadoutConfig,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor | None]:
    """Return products ``y``, bfloat16, through the output converter, as float32; and where (b, 1, h, w)
    bound management has to read again, None for nowhere.

    They become levels by ``gain`` and values by ``scale``, (b, 1, 1, 1) or (b, 1, h, w).
    """
    n, noise = config.levels, _noise(y)
    out = torch.empty_like(y, dtype=torch.float32, memory_format=LAST)
    reached = y.new_zeros(y.shape[0], 1, *y.shape[2:], dtype=torch.bool)
    words = noise.seed.draw(generator) if n.out_noise > 0 else noise.seed.words
    found = loops.convert(
        rows(y),
        _each(gain, y),
        _each(scale, y),
        array(reached.view(-1)),
        rows(out),
        words,
        noise.numbers,
        n.out_noise,
        n.out_step > 0,
        n.out_bound,
    )
    return out, reached if found and config.bound_management == "iterative" else None


def add_scaled_normal(y: Tensor, deviation: Tensor, generator: torch.Generator) -> Tensor:
    """Return ``y``, bfloat16, with normal numbers of a deviation (b, 1, h, w) added, as float32."""
    out, noise = torch.empty_like(y, dtype=torch.float32, memory_format=LAST), _noise(y)
    words = noise.seed.draw(generator)
    loops.add_scaled_normal(rows(y), _each(deviation, y), rows(out), words, noise.numbers)
    return out


class Signals(NamedTuple):
    """Rounded signals and their sizes (scratch memory), and of each channel the sums of sizes, and of
    squares by the slots of their pixel (2, c)."""

    signed: Tensor
    sizes: Tensor
    sums: Tensor


def split(x: Tensor) -> Signals:
    """Return the inputs of an update."""
    signed, sizes = _low("low x", x), _low("low x sizes", x)
    sums = scratch("low x sums", (2, x.shape[1]), x)
    negative = loops.split(rows(laid(x)), rows(signed), rows(sizes), array(sums))
    return Signals(signed, sizes if negative else signed, sums)


def condition(
    e: Tensor, x_top: Tensor, rate: float, limit: int, shorten: bool
) -> tuple[Signals, int]:
    """Return the errors of an update, clipped to what the pulse trains of their pixel carry, and the
    slots of all; ``rate`` times the largest input ``x_top`` (b, 1, h, w) and error are needed."""
    signed, sizes = _low("low e", e), _low("low e sizes", e)
    sums = scratch("low e sums", (2, e.shape[1]), e)
    numbers = rate, limit, shorten
    outs = rows(signed), rows(sizes), array(sums)
    slots = loops.condition(rows(laid(e)), _each(x_top, e), *outs, *numbers)
    return Signals(signed, sizes, sums), slots
