"""The array of pulsed elements, and the same where writing is noisy."""

from functools import cached_property

import torch
from torch import Tensor

from analogpipe.device.parameters import Pulsed
from analogpipe.device.response import draw
from analogpipe.tile.array import Array
from analogpipe.tile.change import Change
from analogpipe.tile.config import TileConfig
from analogpipe.tile.streams import Streams
from analogpipe.tile.update import Updater


class PulsedArray(Array):
    """An array whose elements take pulses, by the rule of the configuration."""

    def __init__(self, weight: Tensor, config: TileConfig, streams: Streams) -> None:
        super().__init__(weight, config, streams)
        assert isinstance(config.device, Pulsed)
        self.device = config.device
        shape = (weight.shape[0], weight.shape[1])
        self.response = draw(self.device, shape, streams.fresh("device"))
        torch.clamp(weight, self.response.low, self.response.high, out=weight)

    @classmethod
    def takes(cls, config: TileConfig) -> bool:
        """Whether the device is pulsed, and its writing exact."""
        return isinstance(config.device, Pulsed) and config.device.write_noise == 0

    def moved(self, device: torch.device) -> None:
        """Bring the elements to ``device``."""
        self.response = self.response.to(device)

    @cached_property
    def updater(self) -> Updater:
        """What applies the pulses."""
        return Updater(
            self.weight,
            self.response,
            self.device.granularity,
            self.config.update,
            self.streams["update"],
            kernels=self.kernels,
        )

    def update(self, change: Change, lr: float) -> None:
        """Pulse the elements."""
        products = change.products(lr, self.device.granularity, self.config.update)
        if products is None:
            self.updater.apply(*change.samples(), lr)
        else:
            self.updater.apply_products(*products)


class RewrittenArray(PulsedArray):
    """A pulsed array of which reads see the ``state`` plus a noise, new where an element is written."""

    state: Tensor
    """State of the elements, (out, in): what pulses change."""

    def __init__(self, weight: Tensor, config: TileConfig, streams: Streams) -> None:
        super().__init__(weight, config, streams)
        self.register_buffer("state", weight.clone())
        noise = torch.empty_like(weight)
        weight += noise.normal_(0, self.device.write_noise, generator=streams["update"])

    @classmethod
    def takes(cls, config: TileConfig) -> bool:
        """Whether the device is pulsed, and its writing noisy."""
        return isinstance(config.device, Pulsed) and config.device.write_noise > 0

    @cached_property
    def updater(self) -> Updater:
        """What applies the pulses and the noise."""
        return Updater(
            self.state,
            self.response,
            self.device.granularity,
            self.config.update,
            self.streams["update"],
            self.weight,
            self.device.write_noise,
            self.kernels,
        )
