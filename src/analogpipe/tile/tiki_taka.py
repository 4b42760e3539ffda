"""Tiki-Taka: gradients go to a fast array, and from there, column by column, to the weight.

The fast array ``A`` takes the updates of the micro-batches. After every ``every`` of them one of
its columns is read and sent to the array of the weight, ``C``: at once (TTv1, Gokmen and Haensch
2020; AIHWKit: TransferCompound), or over a digital buffer that passes on only whole pulses (TTv2,
Gokmen 2021; AIHWKit: BufferedTransferCompound). The fast array decays to its symmetric point between
updates, so that must be 0: its reads are taken relative to the symmetric points of its elements.
"""

from functools import cached_property

import torch
from torch import Tensor

from analogpipe.device.parameters import Pulsed
from analogpipe.device.response import draw
from analogpipe.tile.array import Array
from analogpipe.tile.change import Change
from analogpipe.tile.config import TileConfig, UpdateConfig
from analogpipe.tile.pulsed import PulsedArray, RewrittenArray
from analogpipe.tile.read import read
from analogpipe.tile.streams import Streams
from analogpipe.tile.update import Updater

SINGLE_PULSES = UpdateConfig(desired_bl=1, update_bl_management=False, update_management=False)
"""With these, ``x = 1``, ``e = +-1`` and ``lr`` the granularity give one pulse for certain."""


class TikiTakaArray(Array):
    """The slow array of the weight behind a fast array."""

    fast: Tensor
    """State of the fast array, (out, in)."""
    buffer: Tensor
    """The digital buffer of TTv2, (out, in)."""
    position: Tensor
    """The next column and the micro-batches since the last transfer, (2,) int64."""

    def __init__(self, weight: Tensor, config: TileConfig, streams: Streams) -> None:
        super().__init__(weight, config, streams)
        assert config.transfer is not None
        self.transfer = config.transfer
        device = config.transfer.device or config.device
        assert isinstance(device, Pulsed)
        self.device = device
        shape = (weight.shape[0], weight.shape[1])
        self.response = draw(device, shape, streams.fresh("fast"))
        self.register_buffer("fast", self._reference.clone())
        self.register_buffer("buffer", torch.zeros_like(weight))
        self.register_buffer("position", torch.zeros(2, dtype=torch.int64))

    @classmethod
    def takes(cls, config: TileConfig) -> bool:
        """Whether updates are transferred."""
        return config.transfer is not None

    @classmethod
    def fires_samples(cls, config: TileConfig) -> bool:
        """True: the fast array takes pulses sample by sample."""
        return True

    def keep(self, weight: Tensor) -> None:
        """Give ``weight`` to the slow array."""
        kind = RewrittenArray if RewrittenArray.takes(self.config) else PulsedArray
        self.slow = kind(weight, self.config, self.streams)
        self.slow.watched = False  # that is done here

    @property
    def weight(self) -> Tensor:  # type: ignore[override]
        """What reads see: that of the slow array."""
        return self.slow.weight

    def place(self, weight: Tensor) -> None:
        """Set the slow array; the fast one goes to its symmetric points, the digital buffer stays
        (AIHWKit: ``set_weights`` of both compounds)."""
        self.slow.place(weight)
        self.fast.copy_(self._reference)

    def hold(self) -> None:
        """Bring the fast array into its bounds."""
        torch.clamp(self.fast, self.response.low, self.response.high, out=self.fast)

    def moved(self, device: torch.device) -> None:
        """Bring the elements of the fast array to ``device``."""
        self.response = self.response.to(device)

    def change(self, change: Change, lr: float) -> None:
        """Update the fast array, and transfer if due.

        ``lr`` scales the transfer; the fast array has its own rate, ``fast_lr`` (0: also ``lr``).
        """
        x, e = change.samples()
        self._fast.apply(x, e, self.transfer.fast_lr or lr)
        column, waited = self.position.tolist()
        waited += 1
        if waited >= self.transfer.every:
            for _ in range(self.transfer.columns):
                self._pass_on(column, lr)
                column = (column + 1) % self.fast.shape[1]
            waited = 0
        self.position.copy_(torch.tensor([column, waited]))

    def _pass_on(self, column: int, lr: float) -> None:
        """Read a column of the fast array and send it to the slow one."""
        config, stream = self.transfer, self.streams["update"]
        one_hot = torch.zeros(1, self.fast.shape[1], device=self.fast.device)
        one_hot[0, column] = 1.0
        state = self.fast - self._reference
        found = read(one_hot, state.t(), config.forward, stream, self.kernels)
        rate = config.transfer_lr * lr
        if config.kind == "ttv1":
            self.slow.updater.apply(one_hot, -found, rate)
            return
        pulse = self.slow.device.granularity
        kept = self.buffer[:, column]
        kept.add_(found[0], alpha=rate)
        threshold = config.threshold * pulse
        due = (kept.abs() >= threshold) * kept.sign()
        if bool(due.any()):
            self._single_pulses.apply(one_hot, -due.unsqueeze(0), pulse)
            kept.sub_(due, alpha=(1 - config.momentum) * threshold)

    @cached_property
    def _reference(self) -> Tensor:
        """Symmetric points of the fast array, (out, in)."""
        return self.response.symmetric_point().nan_to_num(0.0)

    @cached_property
    def _fast(self) -> Updater:
        """What pulses the fast array."""
        return Updater(
            self.fast,
            self.response,
            self.device.granularity,
            self.config.update,
            self.streams["update"],
            kernels=self.kernels,
        )

    @cached_property
    def _single_pulses(self) -> Updater:
        """What pulses the slow array once."""
        return self.slow.updater.with_config(SINGLE_PULSES)
