"""Random numbers of the hot paths, cheaper than ``normal_``."""

import numpy as np
import torch
from torch import Tensor

from analogpipe.tile.kernels import compiled as kernels
from analogpipe.tile.scratch import kept, scratch

UNIT = 12**0.5 / 2**16
"""Scale that gives the numbers of :class:`Uniform16` unit variance."""

_FULL = -(2**63)


ROOM = 512
"""Words of random bits that are made and used at a time: they stay in the nearest cache."""


class Seed:
    """A random word, drawn into the first of ``size`` words of work space in main memory."""

    def __init__(self, size: int, like: Tensor) -> None:
        words = scratch("bits", (size,), like, torch.int64)
        self._first = words[:1]
        self.words = words.numpy().view(np.uint64)

    def draw(self, generator: torch.Generator) -> kernels.Array:
        """Return the words, the first of them new."""
        self._first.random_(_FULL, None, generator=generator)
        return self.words


class Uniform16:
    """Uniform integers in [-2**15, 2**15), as float32, in the shape of ``like``, four to a random word.

    Their variance is ``1 / UNIT**2``; their mean, -1/2, is 3e-5 standard deviations. The work space
    is shared by all instances.
    """

    def __init__(self, like: Tensor) -> None:
        size = (like.numel() + 3) // 4
        self._words = scratch("bits", (size,), like, torch.int64)
        self._seed = Seed(size, like) if kernels.usable(like) else None
        self._integers = self._words.view(torch.int16)[: like.numel()].view(like.shape)
        self._out = scratch("uniform16", like.shape, like)

    def draw(self, generator: torch.Generator) -> Tensor:
        """Return new numbers (scratch memory)."""
        if self._seed is None:
            self._words.random_(_FULL, None, generator=generator)
        else:
            words = self._seed.draw(generator)
            kernels.fill(words, words[0], 0)
        return self._out.copy_(self._integers)


def add_normal(y: Tensor, factor: float, generator: torch.Generator) -> Tensor:
    """Add ``factor`` times standard normal numbers to ``y`` in place, and return it."""
    if not (kernels.usable(y) and y.is_contiguous()):
        return y.add_(torch.empty_like(y).normal_(generator=generator), alpha=factor)
    words = seed(y).draw(generator)
    kernels.add_normal(kernels.array(y.view(-1)), factor, words, words[0], 0)
    return y


def normal(shape: torch.Size, like: Tensor, generator: torch.Generator) -> Tensor:
    """Return standard normal numbers (it may be scratch memory), on the device of ``like``."""
    if not kernels.usable(like):
        return torch.empty(shape, device=like.device).normal_(generator=generator)
    return add_normal(scratch("normal", shape, like).zero_(), 1.0, generator)


def seed(like: Tensor) -> Seed:
    """Return room for a seed and ``ROOM`` words."""
    return kept(("seed", like.dtype), lambda: Seed(ROOM, like))
