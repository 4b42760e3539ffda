"""AGAD: reads of the fast array are compared with those before the sign of the gradients changed.

The difference is due to the gradients alone, so that no symmetric point needs to be known, and none that
is constant does harm (analog gradient accumulation with dynamic reference; Rasch, Carta, Fagbohungbe and
Gokmen, Nat. Commun. 2024, arXiv 2303.04721; AIHWKit: DynamicTransferCompound).
"""

import torch
from torch import Tensor

from analogpipe.tile.chopped import ChopperArray
from analogpipe.tile.config import TileConfig
from analogpipe.tile.sections import AgadConfig
from analogpipe.tile.streams import Streams
from analogpipe.tile.transfer import Rates


class AgadArray(ChopperArray):
    """The slow array of the weight behind a fast array that is read against its own past."""

    mean: Tensor
    """Moving average of the reads, (out, in)."""
    past: Tensor
    """The same when the sign of the column changed: what reads are compared with, (out, in)."""
    flipped: Tensor
    """The columns whose sign changed after their last read, (in,) boolean."""

    def __init__(self, weight: Tensor, config: TileConfig, streams: Streams) -> None:
        super().__init__(weight, config, streams)
        assert isinstance(config.transfer, AgadConfig)
        self.rule = config.transfer
        self.register_buffer("mean", torch.zeros_like(weight))
        self.register_buffer("past", torch.zeros_like(weight))
        self.register_buffer("flipped", torch.zeros(weight.shape[1], dtype=torch.bool))

    @classmethod
    def takes(cls, config: TileConfig) -> bool:
        """Whether the rule is AGAD."""
        return isinstance(config.transfer, AgadConfig)

    def pass_on(self, columns: slice, lr: float, rates: Rates) -> None:
        """Fill the buffer by the difference, send what it is full of, and change signs when due.

        The slow array is pulsed only once there is a past.
        """
        period, done, rule = self.period(), int(self.done), self.rule
        found = self.read(columns).t()
        mean, past = self.mean[:, columns], self.past[:, columns]
        torch.where(self.flipped[columns], mean, past, out=past)
        self.add(columns, found - past, self.gain(lr, rates))
        self.send(columns, 1.0, write=done > period)
        if rule.buffer_cap > 0:
            self.buffer[:, columns].clamp_(-rule.buffer_cap, rule.buffer_cap)
        mean.lerp_(found, min(rule.tail_weightening / period, 1.0))
        flips = done % period + 1 == period
        self.flipped[columns] = flips
        if flips:
            self.choppers[columns].neg_()
