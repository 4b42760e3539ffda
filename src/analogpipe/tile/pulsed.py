"""The array of pulsed elements, and the same where writing is noisy."""

from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from analogpipe.device.parameters import Pulsed
from analogpipe.device.response import draw
from analogpipe.tile.array import Array
from analogpipe.tile.change import Change, Products
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
        self.place(weight)

    @classmethod
    def takes(cls, config: TileConfig) -> bool:
        """Whether the device is pulsed, and its writing exact."""
        return isinstance(config.device, Pulsed) and config.device.write_noise == 0

    @classmethod
    def fires_samples(cls, config: TileConfig) -> bool:
        """Whether pulses do not follow from sums over the samples."""
        return config.update.fires_samples

    def place(self, weight: Tensor) -> None:
        """Set the weight within the bounds."""
        torch.clamp(weight, self.response.low, self.response.high, out=self.weight)

    def hold(self) -> None:
        """Bring the weight into the bounds."""
        self.place(self.weight)

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
            slots=self.slots,
            dtype=self.multiplies_in,
        )

    def at_once(self, x: Tensor, e: Tensor, lr: float) -> bool:
        """Pulse the elements, where that is one compiled call."""
        self.settle()
        apply = self.updater.at_once
        if apply is None or lr == 0 or not self.updater.is_whole(x.shape[0]):
            return False
        apply(x, e, lr)
        self.note()
        return True

    def change(self, change: Change, lr: float) -> None:
        """Pulse the elements."""
        numbers = lr, self.device.granularity, self.config.update
        products = change.products(*numbers, self.multiplies_in)
        if products is None:
            self.updater.apply(*change.samples(), lr)
        else:
            self.updater.apply_products(products)

    @cached_property
    def elements(self) -> Any:
        """The elements as whole pulses move them."""
        return self.kernels.elements(self.response)

    def fire(self, places: Tensor, pulses: Tensor) -> None:
        """Give elements whole pulses: flat ``places`` (n,), ``pulses`` (n,), negative for down."""
        self.kernels.pulse(self.weight, self.elements, places, pulses, self.streams["update"])

    def expect(self, pulses: Tensor) -> None:
        """Move all elements by expected ``pulses`` (out, in), negative for down, without noise."""
        half = pulses / 2
        rows, columns = pulses[:, 0], pulses[0]
        self.updater.apply_products(Products(half.abs(), half, rows, columns, 0))


class RewrittenArray(PulsedArray):
    """A pulsed array of which reads see the ``state`` plus a noise, new where an element is written."""

    state: Tensor
    """State of the elements, (out, in): what pulses change."""

    def keep(self, weight: Tensor) -> None:
        """Take ``weight`` as what reads see, with other memory for the state."""
        super().keep(weight)
        self.register_buffer("state", torch.empty_like(weight))

    @classmethod
    def takes(cls, config: TileConfig) -> bool:
        """Whether the device is pulsed, and its writing noisy."""
        return isinstance(config.device, Pulsed) and config.device.write_noise > 0

    def place(self, weight: Tensor) -> None:
        """Write the weight within the bounds, with noise (AIHWKit: ``apply_write_noise_on_set``)."""
        torch.clamp(weight, self.response.low, self.response.high, out=self.state)
        noise = torch.empty_like(weight)
        noise.normal_(0, self.device.write_noise, generator=self.streams["update"])
        torch.add(self.state, noise, out=self.weight)

    def hold(self) -> None:
        """Bring the state into the bounds."""
        torch.clamp(self.state, self.response.low, self.response.high, out=self.state)

    def fire(self, places: Tensor, pulses: Tensor) -> None:
        """Give elements whole pulses, and new noise."""
        stream = self.streams["update"]
        self.kernels.pulse(self.state, self.elements, places, pulses, stream)
        noise = torch.empty(len(places), device=places.device)
        noise.normal_(0, self.device.write_noise, generator=stream)
        self.weight.view(-1)[places] = self.state.view(-1)[places] + noise

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
            self.slots,
            self.multiplies_in,
        )
