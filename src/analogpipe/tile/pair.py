"""A pair of arrays whose elements only move up: pulses, and the refresh that makes room again.

The weight is ``g+ - g-`` (AIHWKit: OneSidedUnitCell). Pulses that raise it go to ``g+``, pulses that
lower it to ``g-``, so both rise until they saturate. A refresh reads both, resets the pairs of which
one is near its bound and the other no longer near 0, and writes the difference back, open loop, to
the one that was larger.

A pulse can cross a tenth of the range, so ``pulsed`` draws the pulses of each element and applies
them one by one, instead of a closed form.
"""

from functools import cached_property

import torch
from torch import Tensor

from analogpipe.device.parameters import OneSided
from analogpipe.device.response import draw
from analogpipe.tile.array import Array
from analogpipe.tile.change import Change, Products
from analogpipe.tile.config import TileConfig
from analogpipe.tile.kernels.plain import pulse
from analogpipe.tile.products import mm
from analogpipe.tile.pulse_train import pulse_trains
from analogpipe.tile.read import read
from analogpipe.tile.signals import Signals
from analogpipe.tile.streams import Streams

_TINY = 1e-30


class PairArray(Array):
    """Two arrays of one-sided elements; reads see their difference."""

    state: Tensor
    """The elements of both arrays, ``g+`` above ``g-`` (2 out, in)."""
    rest: Tensor
    """Mean state after a reset, (2 out, in)."""
    waited: Tensor
    """Micro-batches since the last refresh, (1,) int64."""

    def __init__(self, weight: Tensor, config: TileConfig, streams: Streams) -> None:
        super().__init__(weight, config, streams)
        assert isinstance(config.device, OneSided)
        self.device = device = config.device
        both, stream = (2 * weight.shape[0], weight.shape[1]), streams.fresh("device")
        self.response = draw(device.element, both, stream)
        noise = torch.randn(both, generator=stream)
        # drawn anew with the elements: no part of the state dict
        self.register_buffer("rest", device.reset + device.reset_dtod * noise, persistent=False)
        self.register_buffer("state", torch.empty(both))
        self.register_buffer("waited", torch.zeros(1, dtype=torch.int64))
        self.place(weight)

    @classmethod
    def takes(cls, config: TileConfig) -> bool:
        """Whether the device is a pair."""
        return isinstance(config.device, OneSided)

    @classmethod
    def fires_samples(cls, config: TileConfig) -> bool:
        """Whether pulses do not follow from sums over the samples."""
        return config.update.fires_samples

    def place(self, weight: Tensor) -> None:
        """Set both elements of each pair: one of them to 0."""
        torch.cat([weight.clamp(min=0), (-weight).clamp_(min=0)], out=self.state)
        self.hold()

    def hold(self) -> None:
        """Bring the elements into their bounds, and show their difference."""
        self._clamp()
        self._show()

    def moved(self, device: torch.device) -> None:
        """Bring the elements to ``device``."""
        self.response = self.response.to(device)

    def change(self, change: Change, lr: float) -> None:
        """Pulse the elements, and refresh if that is due."""
        config, granularity = self.config.update, self.device.granularity
        products = change.products(lr, granularity, config, self.multiplies_in)
        if products is not None:
            self._apply_products(products)
        elif config.rule == "pulse_train":
            x, e = change.samples()
            numbers = lr, granularity, config
            how = self.streams["update"], self.kernels, self.slots
            pulse_trains(self.weight, x, e, self, *numbers, *how)
        else:
            self._apply_products(self._products(*change.samples(), lr))
        self.finish()

    def _products(self, x: Tensor, e: Tensor, lr: float) -> Products:
        """Expected pulses of a micro-batch, x (b, in), e (b, out)."""
        signals = Signals.space(x.shape[0], x.shape[1], e.shape[1], x, self.slots)
        x = self.kernels.condition(x, e, lr, self.device.granularity, self.config.update, signals)
        half = mm(signals.e_sizes.t(), signals.x_sizes, self.multiplies_in)
        wanted = mm(signals.e.t(), x, self.multiplies_in)
        of_columns, of_rows = self.kernels.chances(signals)
        return Products(half, wanted, of_rows, of_columns, 0)

    def _apply_products(self, products: Products) -> None:
        sizes, signed, of_rows, of_columns, sent = products
        self.slots += sent
        pulses = torch.cat([sizes + signed, sizes - signed]).clamp_(min=0)
        if self.config.update.rule == "mean":
            steps = self.response.steps(self.state, torch.empty_like(self.response.base))
            self.state.addcmul_(pulses, steps[0])
            self._clamp()
            return
        slots = sizes.mul(2).div_(torch.outer(of_rows, of_columns).add_(_TINY))
        self._fire(pulses, slots.round_().clamp_(min=1).repeat(2, 1))

    def pulse(
        self, weight: Tensor, up: Tensor, generator: torch.Generator, where: Tensor | None = None
    ) -> None:
        """As :meth:`analogpipe.device.response.Response.pulse`, on the pair behind ``weight``; without
        refresh."""
        hit = torch.ones_like(weight, dtype=torch.bool) if where is None else where
        both = torch.cat([hit & up, hit & ~up])
        self.response.pulse(self.state, self._up, generator, both)
        self._show()

    def refresh(self) -> None:
        """Read all pairs, reset those that are due and write their differences back.

        Due is a pair of which one element is read above ``upper`` and the other above ``lower`` (in
        units of ``w_max``).
        """
        config, device, stream = self.config.refresh, self.device, self.streams["update"]
        if config is None:
            return
        ones = torch.eye(self.state.shape[1], device=self.state.device)
        found = read(ones, self.state.t(), config.forward, stream, self.kernels).t()
        plus, minus = found.tensor_split(2)
        high, low = torch.maximum(plus, minus), torch.minimum(plus, minus)
        top = device.element.w_max
        due = (high > config.upper * top) & (low > config.lower * top)
        if not bool(due.any()):
            return
        noise = torch.empty_like(self.state).normal_(generator=stream)
        rest = torch.add(self.rest, noise, alpha=device.reset_std)
        torch.where(due.repeat(2, 1), rest, self.state, out=self.state)
        self._clamp()
        difference = (plus - minus).mul_(due)
        pulses = torch.stack([difference, -difference]).clamp_(min=0).div_(device.granularity)
        pulses.clamp_(max=config.desired_bl)
        # a column of one array is written at a time, by a train as long as its largest pulse count
        slots = pulses.amax(1, keepdim=True).ceil_().clamp_(min=1).expand_as(pulses)
        self._fire(pulses.flatten(0, 1), slots.flatten(0, 1))

    def _fire(self, pulses: Tensor, slots: Tensor) -> None:
        """Give each element a binomial number of pulses: ``slots`` tries, on average ``pulses``."""
        stream = self.streams["update"]
        chance = (pulses / slots).clamp_(max=1)
        counts = torch.binomial(slots, chance, generator=stream).flatten()
        hit = counts.nonzero().squeeze(1)
        pulse(self.state, self.response, hit, counts[hit], stream)

    def fire(self, places: Tensor, pulses: Tensor) -> None:
        """Give pairs whole pulses: flat ``places`` (n,), ``pulses`` (n,), negative for those of
        ``g-``; and refresh if that is due."""
        places = torch.where(pulses > 0, places, places + self.weight.numel())
        pulse(self.state, self.response, places, pulses.abs(), self.streams["update"])
        self.finish()

    def expect(self, pulses: Tensor) -> None:
        """Move all pairs by expected ``pulses`` (out, in), negative for those of ``g-``."""
        half = pulses / 2
        self._apply_products(Products(half.abs(), half, pulses[:, 0], pulses[0], 0))
        self.finish()

    def finish(self) -> None:
        """Count a micro-batch, refresh if that is due, and set the weight."""
        config = self.config.refresh
        if config is not None and config.every > 0:
            self.waited += 1
            if int(self.waited) >= config.every:
                self.refresh()
                self.waited.zero_()
        self._show()

    @cached_property
    def _up(self) -> Tensor:
        return torch.tensor(True, device=self.state.device)

    def _show(self) -> None:
        torch.sub(*self.state.tensor_split(2), out=self.weight)

    def _clamp(self) -> None:
        torch.clamp(self.state, self.response.low, self.response.high, out=self.state)
