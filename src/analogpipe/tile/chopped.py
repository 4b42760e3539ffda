"""Chopped TTv2: the fast array takes gradients with signs that change.

What the fast array adds to its reads by itself (an unknown symmetric point, a slow drift) keeps its
sign while that of the gradients changes, and averages out in the buffer (c-TTv2; Rasch, Carta, Fagbohungbe
and Gokmen, Nat. Commun. 2024, arXiv 2303.04721; AIHWKit: ChoppedTransferCompound).
"""

from math import ceil

import torch
from torch import Tensor

from analogpipe.tile.change import Change
from analogpipe.tile.config import TileConfig
from analogpipe.tile.sections import ChoppedConfig, ChopperBase
from analogpipe.tile.streams import Streams
from analogpipe.tile.transfer import Rates, Signs, TransferArray


class ChopperArray(TransferArray):
    """A slow array behind a fast one that has signs.

    The buffer is in pulses of the slow array, whatever their size.
    """

    choppers: Tensor
    """Signs of the columns, (in,)."""
    done: Tensor
    """Passes that are complete, (1,) int64."""
    largest: Tensor
    """Moving averages of the largest input and error signal of a vector, (2,); 0 before the first."""

    def __init__(self, weight: Tensor, config: TileConfig, streams: Streams) -> None:
        super().__init__(weight, config, streams)
        assert isinstance(config.transfer, ChopperBase)
        self.chopper = config.transfer
        self.register_buffer("choppers", torch.ones(weight.shape[1]))
        self.register_buffer("done", torch.zeros(1, dtype=torch.int64))
        self.register_buffer("largest", torch.zeros(2))

    def signs(self) -> Signs:
        """Return the signs of rows and columns."""
        return torch.ones_like(self.buffer[:, 0]), self.choppers

    def complete(self) -> None:
        """Count the pass."""
        self.done += 1

    def rates(self, change: Change, lr: float) -> Rates:
        """Return the learning rate of the fast array, or with ``auto_scale`` one for each vector.

        The mean vector then fills ``fast_lr`` times its pulse train.
        """
        if not self.chopper.auto_scale:
            return super().rates(change, lr)
        tops = torch.stack(change.largest()).double()
        keep = 1 - (1 - self.chopper.auto_momentum) / tops.shape[1]
        means = torch.stack(
            [followed(*pair, keep) for pair in zip(tops, self.largest, strict=True)]
        )
        self.largest.copy_(means[:, -1])
        full = self.chopper.fast_lr * self.config.update.desired_bl * self.device.granularity
        product = means[0] * means[1]
        return torch.where(product > 0, full / product, full).to(self.buffer.dtype)

    def period(self) -> int:
        """Return the passes between two regular changes of sign."""
        return max(ceil(1 / self.chopper.in_chop_prob), 2)

    def gain(self, lr: float, rates: Rates) -> Rates:
        """Return what a read is multiplied by on its way into the buffer, maybe one for each read."""
        config, pulse = self.chopper, self.device.granularity
        unit = config.buffer_granularity
        if config.auto_granularity > 0:
            unit *= config.auto_granularity / (self.fast.shape[1] * config.every)
        if config.correct_gradient_magnitudes:
            return self.rate(lr) / (unit * self.slow.device.granularity) / rates
        return self.rate(lr) / (unit * pulse)

    def add(self, columns: slice, values: Tensor, gain: Rates) -> None:
        """Add ``values`` (out, columns) to the buffer, with the signs of the gradients in them."""
        rows, signs = self.signs()
        self.buffer[:, columns].add_(values * gain * torch.outer(rows, signs[columns]))


class ChoppedArray(ChopperArray):
    """The slow array of the weight behind a fast array whose signs change at random."""

    row_choppers: Tensor
    """Signs of the rows, (out,)."""

    def __init__(self, weight: Tensor, config: TileConfig, streams: Streams) -> None:
        super().__init__(weight, config, streams)
        assert isinstance(config.transfer, ChoppedConfig)
        self.rule = config.transfer
        self.register_buffer("row_choppers", torch.ones(weight.shape[0]))

    @classmethod
    def takes(cls, config: TileConfig) -> bool:
        """Whether the rule is chopped TTv2."""
        return isinstance(config.transfer, ChoppedConfig)

    def signs(self) -> Signs:
        """Return the signs of rows and columns."""
        return self.row_choppers, self.choppers

    def pass_on(self, columns: slice, lr: float, rates: Rates) -> None:
        """Fill the buffer, send what it is full of, and change signs."""
        self.add(columns, self.read(columns).t(), self.gain(lr, rates))
        self.send(columns, 1.0)
        if self.rule.in_chop_prob == 0:
            return
        signs = self.choppers[columns]
        if self.rule.in_chop_random:
            self._flip(signs, self.rule.in_chop_prob)
        elif int(self.done) % self.period() + 1 == self.period():
            signs.neg_()

    def complete(self) -> None:
        """Change signs of rows."""
        super().complete()
        if self.rule.out_chop_prob > 0:
            self._flip(self.row_choppers, self.rule.out_chop_prob)

    def _flip(self, signs: Tensor, probability: float) -> None:
        drawn = torch.empty_like(signs).uniform_(generator=self.streams["update"])
        signs.mul_(torch.where(drawn < probability, -1.0, 1.0))


def followed(values: Tensor, start: Tensor, keep: float) -> Tensor:
    """Return the moving average of ``values`` (v,) double after each, from ``start`` on, (v,).

    After a value it is ``keep`` times itself and ``1 - keep`` times the value. Zeros leave it as it is;
    where it is 0 the first other value takes its place.
    """
    counted = values > 0
    powers = keep ** counted.cumsum(0)
    begin = start.double()
    if float(begin) == 0 and bool(counted.any()):
        begin = values[counted.int().argmax()]
    found = powers * (begin + (1 - keep) * (values / powers).cumsum(0))
    before = counted.cumsum(0) == 0  # no value yet: nothing but the start
    return torch.where(before, start.double(), found)
