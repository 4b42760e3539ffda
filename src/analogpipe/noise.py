"""Random numbers of the hot paths, cheaper than ``normal_``."""

import torch
from torch import Tensor

from analogpipe.scratch import scratch

UNIT = 12**0.5 / 2**16
"""Scale that gives the numbers of :class:`Uniform16` unit variance."""

_FULL = -(2**63)
_TABLE_FROM = 8192
_tables: dict[torch.device, Tensor] = {}


class Uniform16:
    """Uniform integers in [-2**15, 2**15), as float32, in the shape of ``like``.

    Their variance is ``1 / UNIT**2``; their mean, -1/2, is 3e-5 standard deviations. One 64-bit
    draw gives four of them. The work space is shared by all instances.
    """

    def __init__(self, like: Tensor) -> None:
        self._words, bits = _space(like)
        self._bits = bits.view(like.shape)
        self._out = scratch("uniform16", like.shape, like)

    def draw(self, generator: torch.Generator) -> Tensor:
        """Return new numbers (scratch memory)."""
        self._words.random_(_FULL, None, generator=generator)
        return self._out.copy_(self._bits)


def normal(like: Tensor, generator: torch.Generator) -> Tensor:
    """Return standard normal numbers in the shape of ``like`` (it may be scratch memory).

    Large tensors take them from a table of 65,536 quantiles by a 16-bit draw (range +-4.3).
    """
    if like.numel() < _TABLE_FROM or like.is_cuda:
        return torch.empty_like(like).normal_(generator=generator)
    out = scratch("normal", like.shape, like)
    words, bits = _space(like)
    words.random_(_FULL, None, generator=generator)
    index = scratch("index", (like.numel(),), like, torch.int32)
    index.copy_(bits).add_(2**15)
    torch.index_select(_table(like.device), 0, index, out=out.view(-1))
    return out


def _space(like: Tensor) -> tuple[Tensor, Tensor]:
    """Return 64-bit words for the numbers of ``like``, and their first 16-bit parts."""
    words = scratch("bits", ((like.numel() + 3) // 4,), like, torch.int64)
    return words, words.view(torch.int16)[: like.numel()]


def _table(device: torch.device) -> Tensor:
    """Quantiles in the middle of 65,536 equal cells, scaled to unit variance."""
    if device not in _tables:
        cells = (torch.arange(2**16, dtype=torch.float64) + 0.5) / 2**16
        quantiles = torch.special.ndtri(cells)
        _tables[device] = (quantiles / quantiles.std(correction=0)).float().to(device)
    return _tables[device]
