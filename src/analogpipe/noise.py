"""Random numbers of the hot paths, cheaper than ``normal_``."""

import torch
from torch import Tensor

from analogpipe.scratch import scratch

UNIT = 12**0.5 / 2**16
"""Scale that gives :func:`uniform16` unit variance."""

_FULL = -(2**63)
_TABLE_FROM = 8192
_tables: dict[torch.device, Tensor] = {}


def uniform16(like: Tensor, generator: torch.Generator) -> Tensor:
    """Return uniform odd integers in (-2**15, 2**15), as float32 in the shape of ``like`` (scratch
    memory).

    Mean exactly 0, variance ``1 / UNIT**2``. One 64-bit draw gives four of them.
    """
    out = scratch("uniform16", like.shape, like)
    return out.copy_(_bits(like, generator).view(like.shape))


def normal(like: Tensor, generator: torch.Generator) -> Tensor:
    """Return standard normal numbers in the shape of ``like`` (scratch memory).

    Large tensors take them from a table of 65,536 quantiles by a 16-bit draw (range +-4.3).
    """
    out = scratch("normal", like.shape, like)
    if like.numel() < _TABLE_FROM or like.is_cuda:
        return out.normal_(generator=generator)
    index = scratch("index", (like.numel(),), like, torch.int32)
    index.copy_(_bits(like, generator)).add_(2**15)
    torch.index_select(_table(like.device), 0, index, out=out.view(-1))
    return out


def _bits(like: Tensor, generator: torch.Generator) -> Tensor:
    size = like.numel()
    words = scratch("bits", ((size + 3) // 4,), like, torch.int64)
    halves = words.random_(_FULL, None, generator=generator).view(torch.int16)
    return halves.bitwise_or_(1)[:size]


def _table(device: torch.device) -> Tensor:
    """Quantiles in the middle of 32,768 equal cells (twice each, as the draws are odd), scaled to
    unit variance."""
    if device not in _tables:
        cells = (torch.arange(2**15, dtype=torch.float64) + 0.5) / 2**15
        quantiles = torch.special.ndtri(cells).repeat_interleave(2)
        _tables[device] = (quantiles / quantiles.std(correction=0)).float().to(device)
    return _tables[device]
