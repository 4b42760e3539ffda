"""Tiki-Taka, the first and the second version.

What is read of the fast array ``A`` is sent to the array of the weight, ``C``: at once (TTv1, Gokmen and
Haensch 2020; AIHWKit: TransferCompound), or over a digital buffer that passes on only whole pulses (TTv2,
Gokmen 2021; AIHWKit: BufferedTransferCompound). The fast array decays to its symmetric point between
updates, so that must be 0: its reads are taken relative to the symmetric points of its elements.

With ``gamma`` the fast array is part of the weight, ``W = gamma A + C``: what ``C`` lacks is in ``A``
(residual learning, Wu et al., arXiv 2502.06309).
"""

import torch
from torch import Tensor

from analogpipe.tile.change import Change
from analogpipe.tile.config import TileConfig
from analogpipe.tile.sections import TransferConfig
from analogpipe.tile.streams import Streams
from analogpipe.tile.transfer import Rates, TransferArray


class TikiTakaArray(TransferArray):
    """The slow array of the weight behind a fast array, whose reads it takes as they are."""

    both: Tensor
    """The weight of both arrays together, with ``gamma`` (out, in)."""

    def __init__(self, weight: Tensor, config: TileConfig, streams: Streams) -> None:
        super().__init__(weight, config, streams)
        assert isinstance(config.transfer, TransferConfig)
        self.rule = config.transfer
        if self.rule.gamma > 0:
            self.register_buffer("both", torch.empty_like(weight))
        self._show()

    @classmethod
    def takes(cls, config: TileConfig) -> bool:
        """Whether updates are transferred as they are read."""
        return isinstance(config.transfer, TransferConfig)

    @property
    def weight(self) -> Tensor:  # type: ignore[override]
        """What reads see: that of the slow array, or of both."""
        both = self._buffers.get("both")
        return self.slow.weight if both is None else both

    def place(self, weight: Tensor) -> None:
        """Set the slow array; the fast one then reads 0."""
        super().place(weight)
        self._show()

    def hold(self) -> None:
        """Bring the fast array into its bounds, and show both."""
        super().hold()
        self._show()

    def change(self, change: Change, lr: float) -> None:
        """Update the fast array, and transfer what is due."""
        super().change(change, lr)
        self._show()

    @property
    def transfer_rate(self) -> float:
        """The rate of transfer; of ``ttv2`` with ``gamma`` its part (as in AIHWKit)."""
        gamma = self.rule.gamma if self.rule.kind == "ttv2" else 0.0
        return self.rule.transfer_lr * (gamma or 1.0)

    def pass_on(self, columns: slice, lr: float, rates: Rates) -> None:
        """Send what is read: at once, or what fills the buffer."""
        found, rate = self.read(columns), self.rate(lr)
        if self.rule.kind == "ttv1":
            self.slow.updater.apply(self.one_hot(columns), -found, rate)
            return
        self.buffer[:, columns].add_(found.t(), alpha=rate)
        self.send(columns, self.rule.threshold * self.slow.device.granularity)

    def _show(self) -> None:
        if self.rule.gamma == 0:
            return
        state = self.seen if self.device.write_noise > 0 else self.fast
        torch.sub(state, self._reference, out=self.both)
        self.both.mul_(self.rule.gamma).add_(self.slow.weight)
