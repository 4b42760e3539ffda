"""Random numbers of the hot paths, cheaper than ``normal_``."""

from math import prod

import torch
from torch import Tensor

from analogpipe.scratch import scratch

UNIT = 12**0.5 / 2**16
"""Scale that gives the numbers of :class:`Uniform16` unit variance."""

_FULL = -(2**63)
_TABLE_FROM = 4096
_tables: dict[torch.device, Tensor] = {}


class Uniform16:
    """Uniform integers in [-2**15, 2**15), as float32, in the shape of ``like``.

    Their variance is ``1 / UNIT**2``; their mean, -1/2, is 3e-5 standard deviations. One 64-bit
    draw gives four of them. The work space is shared by all instances.
    """

    def __init__(self, like: Tensor) -> None:
        self._words = scratch("bits", ((like.numel() + 3) // 4,), like, torch.int64)
        self._bits = self._words.view(torch.int16)[: like.numel()].view(like.shape)
        self._out = scratch("uniform16", like.shape, like)

    def draw(self, generator: torch.Generator) -> Tensor:
        """Return new numbers (scratch memory)."""
        self._words.random_(_FULL, None, generator=generator)
        return self._out.copy_(self._bits)


def normal(shape: torch.Size, like: Tensor, generator: torch.Generator) -> Tensor:
    """Return standard normal numbers (it may be scratch memory), on the device of ``like``.

    Large tensors take them two by two from a table of 65,536 pairs, by a 16-bit draw (range +-4.3).
    """
    size = prod(shape)
    if size < _TABLE_FROM or like.is_cuda:
        return torch.empty(shape, device=like.device).normal_(generator=generator)
    pairs = (size + 1) // 2
    words = scratch("bits", ((pairs + 3) // 4,), like, torch.int64)
    words.random_(_FULL, None, generator=generator)
    index = scratch("index", (pairs,), like, torch.int32)
    index.copy_(words.view(torch.uint16)[:pairs])
    found = scratch("normal", (pairs,), like, torch.complex64)
    torch.index_select(_table(like.device), 0, index, out=found)
    return torch.view_as_real(found).view(-1)[:size].view(shape)


def _table(device: torch.device) -> Tensor:
    """Pairs of normal numbers, as complex ones.

    Both parts run over the quantiles in the middle of 65,536 equal cells, scaled to unit variance,
    the second in the order of reversed bits. Like this the pairs cover the plane evenly (a
    Hammersley set): any two intervals of probabilities ``p`` and ``q`` hold ``65,536 p q`` pairs, give
    or take a few.
    """
    if device not in _tables:
        cells = (torch.arange(2**16, dtype=torch.float64) + 0.5) / 2**16
        quantiles = torch.special.ndtri(cells)
        quantiles = (quantiles / quantiles.std(correction=0)).float()
        bits = torch.arange(2**16).view([2] * 16)
        reversed_bits = bits.permute(*reversed(range(16))).reshape(-1)
        _tables[device] = torch.complex(quantiles, quantiles[reversed_bits]).to(device)
    return _tables[device]
