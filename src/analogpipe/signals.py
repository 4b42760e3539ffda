"""Signals of one micro-batch on their way to the array: update management and pulse-train length.

With ``k = lr max|x| max|e| / g`` (``g`` the device's granularity) a sample needs ``BL = ceil(k)``
slots, at most ``desired_bl``; without bound management it has ``desired_bl`` always. A slot fires a
row with probability ``|x| sqrt(lr / g BL) r`` and a column with ``|e| sqrt(lr / g BL) / r``, where
update management chooses ``r`` to balance both; what exceeds 1 is clipped. Where ``k > desired_bl``
update management shrinks the column's part, so that only ``e`` is clipped (AIHWKit:
UpdateParameters).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from analogpipe.scratch import scratch
from analogpipe.tile_config import UpdateConfig

_TINY = 1e-30


@dataclass(frozen=True)
class Signals:
    """Clipped signals (b, in + out): ``x`` beside ``-lr e / 2g``, with their sizes.

    ``x`` times the scaled ``e``, summed over samples, is half the wanted change in pulses; the same
    product of sizes is half the number of pulses. All are scratch memory, and views of it.
    """

    signed: Tensor
    sizes: Tensor
    squares: Tensor
    x: Tensor
    e: Tensor
    x_sizes: Tensor
    e_sizes: Tensor

    @classmethod
    def space(cls, samples: int, inputs: int, outputs: int, like: Tensor) -> "Signals":
        """Return work space for ``samples`` signals."""
        shape = (samples, inputs + outputs)
        signed, sizes = scratch("signed", shape, like), scratch("sizes", shape, like)
        x, e = torch.split(signed, [inputs, outputs], 1)
        x_sizes, e_sizes = torch.split(sizes, [inputs, outputs], 1)
        return cls(signed, sizes, scratch("squares", shape, like), x, e, x_sizes, e_sizes)


def condition(
    x: Tensor, e: Tensor, lr: float, granularity: float, config: UpdateConfig, out: Signals
) -> Tensor:
    """Scale and clip the signals ``x`` (b, in) and ``e`` (b, out) to what pulse trains can carry.

    Returns the slots of each sample's train, (b,).
    """
    out.x.copy_(x)
    torch.mul(e, -lr / (2 * granularity), out=out.e)
    torch.abs(out.signed, out=out.sizes)
    x_max = out.x_sizes.amax(1)
    needed = out.e_sizes.amax(1).mul_(x_max).mul_(2)
    limit = config.desired_bl
    saturated = not config.update_management or x.is_cuda or float(needed.max()) > limit
    lengths = needed.ceil_().clamp_(1, limit)
    if not config.update_bl_management:
        lengths.fill_(limit)
    if saturated:
        if config.update_management:
            bound = (limit / 2 / x_max.clamp_min_(_TINY)).unsqueeze(1)
        else:
            bound = (lengths * (granularity / lr)).sqrt_().unsqueeze(1)
            out.x.clamp_(-bound, bound)
            bound = bound * (lr / (2 * granularity))
        out.e.clamp_(-bound, bound)
        torch.abs(out.signed, out=out.sizes)
    return lengths


def chances(signals: Signals, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Return factors of the columns (in,) and of the rows (out,) whose products estimate the mean
    probability that a slot pulses an element, weighted by pulses.

    Exact for one sample; for more, exact where the signals' sizes are independent of each other.
    """
    squares = torch.mul(signals.sizes, signals.sizes, out=signals.squares).t()
    total = signals.sizes.sum(0).clamp_min_(_TINY)
    # the sizes are those of half the pulses: each factor gets the root of 2
    chance = torch.addmv(total, squares, lengths.rsqrt_(), beta=0, alpha=2**0.5).div_(total)
    columns, rows = torch.split(chance, [signals.x.shape[1], signals.e.shape[1]])
    return columns, rows
