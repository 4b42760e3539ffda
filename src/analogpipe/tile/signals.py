"""Signals of one micro-batch on their way to the array: update management and pulse-train length.

With ``k = lr max|x| max|e| / g`` (``g`` the device's granularity) a sample needs ``BL = ceil(k)``
slots, at most ``desired_bl``; without bound management it has ``desired_bl`` always. A slot fires a
row with probability ``|x| sqrt(lr / g BL) r`` and a column with ``|e| sqrt(lr / g BL) / r``, where
update management chooses ``r`` to balance both; what exceeds 1 is clipped. Where ``k > desired_bl``
update management shrinks the column's part, so that only ``e`` is clipped (AIHWKit:
UpdateParameters).
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from analogpipe.tile.kernels.loops import Array, array
from analogpipe.tile.scratch import scratch


@dataclass(frozen=True)
class Signals:
    """Clipped signals (b, in + out): ``x`` (which ``condition`` returns instead where nothing clips
    it) beside ``-lr e / 2g``, with their sizes.

    ``x`` times the scaled ``e``, summed over samples, is half the wanted change in pulses; the same
    product of sizes is half the number of pulses. All are scratch memory, and views of it.
    """

    signed: Tensor
    sizes: Tensor
    lengths: Tensor
    """Slots of each sample's train (b,)."""
    sums: Tensor
    """Of the sizes; and, over them, of their squares by length: what ``chances`` returns
    (2, in + out)."""
    clipped_x: Tensor
    """Set only without update management."""
    e: Tensor
    x_sizes: Tensor
    e_sizes: Tensor
    of_columns: Tensor
    """Parts of ``sums[1]`` for columns (in,) and rows (out,): after ``chances`` its factors."""
    of_rows: Tensor
    slots: Tensor
    """Slots of all trains so far (1,) int64: no scratch memory, ``condition`` adds ``lengths``."""

    @classmethod
    def space(
        cls, samples: int, inputs: int, outputs: int, like: Tensor, slots: Tensor
    ) -> "Signals":
        """Return work space for ``samples`` signals, whose slots are added to ``slots``."""
        shape = (samples, inputs + outputs)
        signed, sizes = scratch("signed", shape, like), scratch("sizes", shape, like)
        lengths, sums = scratch("lengths", shape[:1], like), scratch("sums", (2, shape[1]), like)
        x, e = torch.split(signed, [inputs, outputs], 1)
        x_sizes, e_sizes = torch.split(sizes, [inputs, outputs], 1)
        of_columns, of_rows = torch.split(sums[1], [inputs, outputs])
        views = x, e, x_sizes, e_sizes, of_columns, of_rows
        return cls(signed, sizes, lengths, sums, *views, slots)

    @cached_property
    def arrays(self) -> tuple[Array, Array, Array, Array, Array]:
        """``signed``, ``sizes``, ``lengths``, ``sums`` and ``slots`` as arrays; in main memory."""
        numbers = array(self.lengths), array(self.sums), array(self.slots)
        return array(self.signed), array(self.sizes), *numbers
