"""Random numbers of the hot paths, cheaper than ``normal_``, and the noise of writing."""

from collections.abc import Callable

import torch
from torch import Tensor

from analogpipe.tile.scratch import scratch

UNIT = 12**0.5 / 2**16
"""Scale that gives the numbers of :class:`Uniform16` unit variance."""

ANY = -(2**63)
"""From here on, words of random bits: ``random_(ANY, None)``."""

Fill = Callable[[Tensor, torch.Generator], None]
"""Fills words (n,) int64 with random bits."""


class Uniform16:
    """Uniform integers in [-2**15, 2**15), as float32, in the shape of ``like``, four to a random word.

    Their variance is ``1 / UNIT**2``; their mean, -1/2, is 3e-5 standard deviations. The work space
    is shared by all instances.
    """

    def __init__(self, like: Tensor, fill: Fill) -> None:
        self._words = scratch("bits", ((like.numel() + 3) // 4,), like, torch.int64)
        self._fill = fill
        self._integers = self._words.view(torch.int16)[: like.numel()].view(like.shape)
        self._out = scratch("uniform16", like.shape, like)

    def draw(self, generator: torch.Generator) -> Tensor:
        """Return new numbers (scratch memory)."""
        self._fill(self._words, generator)
        return self._out.copy_(self._integers)


def rewrite(
    visible: Tensor,
    before: Tensor,
    weight: Tensor,
    touched: Tensor,
    write_noise: float,
    generator: torch.Generator,
) -> None:
    """Let ``visible`` follow ``weight`` from its value ``before``, with new noise where touched."""
    fresh = torch.empty_like(weight).normal_(0, write_noise, generator=generator)
    torch.where(touched, fresh, visible - before, out=visible).add_(weight)
