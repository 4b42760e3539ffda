"""Random numbers of the hot paths, cheaper than ``normal_``."""

from functools import cache
from math import prod

import numpy as np
import torch
from torch import Tensor

from analogpipe import kernels
from analogpipe.scratch import kept, scratch

UNIT = 12**0.5 / 2**16
"""Scale that gives the numbers of :class:`Uniform16` unit variance."""

_FULL = -(2**63)


class _Bits:
    """``size`` random 16-bit numbers, four to a 64-bit draw (scratch memory)."""

    def __init__(self, size: int, like: Tensor) -> None:
        words = scratch("bits", ((size + 3) // 4,), like, torch.int64)
        self.tensor = words.view(torch.int16)[:size]
        fast = kernels.usable(like)
        # in main memory one draw is the seed of all
        self._drawn = words[:1] if fast else words
        self._words = words.numpy().view(np.uint64) if fast else None

    def draw(self, generator: torch.Generator) -> None:
        """Replace the numbers."""
        self._drawn.random_(_FULL, None, generator=generator)
        if self._words is not None:
            kernels.fill(self._words)


class Uniform16:
    """Uniform integers in [-2**15, 2**15), as float32, in the shape of ``like``.

    Their variance is ``1 / UNIT**2``; their mean, -1/2, is 3e-5 standard deviations. The work space
    is shared by all instances.
    """

    def __init__(self, like: Tensor) -> None:
        self._bits = _Bits(like.numel(), like)
        self._integers = self._bits.tensor.view(like.shape)
        self._array = kernels.array(self._integers) if kernels.usable(like) else None
        self._out = scratch("uniform16", like.shape, like)

    def integers(self, generator: torch.Generator) -> kernels.Array:
        """Return new numbers as int16 in main memory (scratch memory)."""
        assert self._array is not None
        self._bits.draw(generator)
        return self._array

    def draw(self, generator: torch.Generator) -> Tensor:
        """Return new numbers (scratch memory)."""
        self._bits.draw(generator)
        return self._out.copy_(self._integers)


class Normal:
    """Standard normal numbers of a shape, in main memory. The work space is shared by all instances.

    They are taken two by two from a table of 65,536 pairs, by a 16-bit draw (range +-4.3).
    """

    def __init__(self, shape: torch.Size, like: Tensor) -> None:
        self.tensor = scratch("normal", shape, like)
        """The numbers last drawn (scratch memory)."""
        self.array = kernels.array(self.tensor)
        self._flat = self.array.reshape(-1)
        self._bits = _Bits((prod(shape) + 1) // 2, like)
        self._indices = kernels.array(self._bits.tensor).view(np.uint16)

    def draw(self, generator: torch.Generator) -> Tensor:
        """Return new numbers (scratch memory)."""
        self._bits.draw(generator)
        kernels.look_up(_table(), self._indices, self._flat)
        return self.tensor


def normal(shape: torch.Size, like: Tensor, generator: torch.Generator) -> Tensor:
    """Return standard normal numbers (it may be scratch memory), on the device of ``like``."""
    if not kernels.usable(like):
        return torch.empty(shape, device=like.device).normal_(generator=generator)
    found = kept(("normal", shape, like.dtype), lambda: Normal(shape, like))
    return found.draw(generator)


@cache
def _table() -> kernels.Array:
    """Pairs of normal numbers, (65536, 2).

    Both parts run over the quantiles in the middle of 65,536 equal cells, scaled to unit variance,
    the second in the order of reversed bits. Like this the pairs cover the plane evenly (a
    Hammersley set): any two intervals of probabilities ``p`` and ``q`` hold ``65,536 p q`` pairs, give
    or take a few.
    """
    cells = (torch.arange(2**16, dtype=torch.float64) + 0.5) / 2**16
    quantiles = torch.special.ndtri(cells)
    quantiles = (quantiles / quantiles.std(correction=0)).float()
    bits = torch.arange(2**16).view([2] * 16)
    reversed_bits = bits.permute(*reversed(range(16))).reshape(-1)
    return kernels.array(torch.stack([quantiles, quantiles[reversed_bits]], 1))
