"""Tiki-Taka: gradients go to a fast array, and from there, column by column, to the weight.

The fast array ``A`` takes the updates of the micro-batches. After every ``every`` of them one of
its columns is read and sent to the array of the weight, ``C``: at once (TTv1, Gokmen and Haensch
2020; AIHWKit: TransferCompound), or over a digital buffer that passes on only whole pulses (TTv2,
Gokmen 2021; AIHWKit: BufferedTransferCompound). The fast array decays to its symmetric point between
updates, so that must be 0: its reads are taken relative to the symmetric points of its elements.
"""

import torch
from torch import Tensor

from analogpipe.tile.config import TransferConfig, UpdateConfig
from analogpipe.tile.read import read
from analogpipe.tile.update import Updater

SINGLE_PULSES = UpdateConfig(desired_bl=1, update_bl_management=False, update_management=False)
"""With these, ``x = 1``, ``e = +-1`` and ``lr`` the granularity give one pulse for certain."""


class Transfer:
    """The fast array of a tile, and the passing on of its columns.

    Args:
        fast, reference, buffer: state of the fast array, its symmetric points and the digital
            buffer, (out, in); changed in place (but for ``reference``).
        position: the next column and the micro-batches since the last transfer, (2,) int64.
        slow: the pulses of the weight's array, by the tile's update rule (TTv1).
        slow_buffered: the same for single pulses of +-1 (TTv2).
    """

    def __init__(
        self,
        config: TransferConfig,
        fast: Tensor,
        reference: Tensor,
        buffer: Tensor,
        position: Tensor,
        fast_updater: Updater,
        slow: Updater,
        slow_buffered: Updater,
    ) -> None:
        self.config = config
        self.fast, self.reference, self.buffer = fast, reference, buffer
        self.position = position
        self.fast_updater, self.slow, self.slow_buffered = fast_updater, slow, slow_buffered
        self._pulse = slow.granularity

    def apply(self, x: Tensor, e: Tensor, lr: float, generator: torch.Generator) -> None:
        """Update the fast array by a micro-batch, x (b, in), e (b, out), and transfer if due.

        ``lr`` scales the transfer; the fast array has its own rate, ``fast_lr`` (0: also ``lr``).
        """
        self.fast_updater.apply(x, e, self.config.fast_lr or lr)
        column, waited = self.position.tolist()
        waited += 1
        if waited >= self.config.every:
            for _ in range(self.config.columns):
                self._transfer(column, lr, generator)
                column = (column + 1) % self.fast.shape[1]
            waited = 0
        self.position.copy_(torch.tensor([column, waited]))

    def _transfer(self, column: int, lr: float, generator: torch.Generator) -> None:
        one_hot = torch.zeros(1, self.fast.shape[1], device=self.fast.device)
        one_hot[0, column] = 1.0
        state = self.fast - self.reference
        found = read(one_hot, state.t(), self.config.forward, generator)
        rate = self.config.transfer_lr * lr
        if self.config.kind == "ttv1":
            self.slow.apply(one_hot, -found, rate)
            return
        kept = self.buffer[:, column]
        kept.add_(found[0], alpha=rate)
        threshold = self.config.threshold * self._pulse
        due = (kept.abs() >= threshold) * kept.sign()
        if bool(due.any()):
            self.slow_buffered.apply(one_hot, -due.unsqueeze(0), self._pulse)
            kept.sub_(due, alpha=(1 - self.config.momentum) * threshold)
