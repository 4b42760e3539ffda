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

from analogpipe.tile.config import UpdateConfig
from analogpipe.tile.kernels import compiled as kernels
from analogpipe.tile.scratch import scratch

_TINY = 1e-30


@dataclass(frozen=True)
class Signals:
    """Clipped signals (b, in + out): ``x`` (which :func:`condition` returns instead where nothing clips
    it) beside ``-lr e / 2g``, with their sizes.

    ``x`` times the scaled ``e``, summed over samples, is half the wanted change in pulses; the same
    product of sizes is half the number of pulses. All are scratch memory, and views of it.
    """

    signed: Tensor
    sizes: Tensor
    lengths: Tensor
    """Slots of each sample's train (b,)."""
    sums: Tensor
    """Of the sizes; and, over them, of their squares by length: what :func:`chances` returns
    (2, in + out)."""
    arrays: tuple[kernels.Array, kernels.Array, kernels.Array, kernels.Array] | None
    """The four of them as arrays, where they lie in main memory."""
    clipped_x: Tensor
    """Set only without update management."""
    e: Tensor
    x_sizes: Tensor
    e_sizes: Tensor
    of_columns: Tensor
    """Parts of ``sums[1]`` for columns (in,) and rows (out,): after :func:`chances` its factors."""
    of_rows: Tensor

    @classmethod
    def space(cls, samples: int, inputs: int, outputs: int, like: Tensor) -> "Signals":
        """Return work space for ``samples`` signals."""
        shape = (samples, inputs + outputs)
        signed, sizes = scratch("signed", shape, like), scratch("sizes", shape, like)
        lengths, sums = scratch("lengths", shape[:1], like), scratch("sums", (2, shape[1]), like)
        x, e = torch.split(signed, [inputs, outputs], 1)
        x_sizes, e_sizes = torch.split(sizes, [inputs, outputs], 1)
        spaces = signed, sizes, lengths, sums
        array = kernels.array
        arrays = None
        if kernels.usable(like):
            arrays = array(signed), array(sizes), array(lengths), array(sums)
        of_columns, of_rows = torch.split(sums[1], [inputs, outputs])
        return cls(*spaces, arrays, x, e, x_sizes, e_sizes, of_columns, of_rows)


def condition(
    x: Tensor, e: Tensor, lr: float, granularity: float, config: UpdateConfig, out: Signals
) -> Tensor:
    """Scale and clip the signals ``x`` (b, in) and ``e`` (b, out) to what pulse trains can carry.

    Returns ``x`` as clipped: itself under update management, which clips ``e`` alone.
    """
    clipped = x.detach() if config.update_management else out.clipped_x
    factor, limit = -lr / (2 * granularity), config.desired_bl
    if out.arrays:
        inputs, errors = kernels.array(x.contiguous()), kernels.array(e.contiguous())
        managed = config.update_management, config.update_bl_management
        kernels.condition(inputs, errors, *out.arrays, factor, limit, *managed)
        return clipped
    torch.mul(e, factor, out=out.e)
    torch.abs(x, out=out.x_sizes)
    torch.abs(out.e, out=out.e_sizes)
    x_max = out.x_sizes.amax(1)
    lengths = torch.mul(out.e_sizes.amax(1), x_max, out=out.lengths).mul_(2).ceil_()
    lengths.clamp_(1 if config.update_bl_management else limit, limit)
    if config.update_management:
        bound = (limit / 2 / x_max.clamp_min_(_TINY)).unsqueeze(1)
    else:
        bound = (lengths / (2 * abs(factor))).sqrt_().unsqueeze(1)
        torch.clamp(x, -bound, bound, out=out.clipped_x)
        torch.abs(out.clipped_x, out=out.x_sizes)
        bound = bound * abs(factor)
    out.e.clamp_(-bound, bound)
    torch.abs(out.e, out=out.e_sizes)
    return clipped


def chances(signals: Signals) -> tuple[Tensor, Tensor]:
    """Return factors of the columns (in,) and of the rows (out,) whose products estimate the mean
    probability that a slot pulses an element, weighted by pulses.

    Exact for one sample; for more, exact where the signals' sizes are independent of each other.
    """
    if not signals.arrays:  # else they are there
        # the sizes are those of half the pulses: each factor gets the root of 2
        total, chance = signals.sums
        torch.sum(signals.sizes, 0, out=total).clamp_min_(_TINY)
        squares = signals.sizes.square().t()
        torch.mv(squares, signals.lengths.rsqrt(), out=chance).mul_(2**0.5).div_(total)
    return signals.of_columns, signals.of_rows
