"""A pair of arrays whose elements only move up: pulses, and the refresh that makes room again.

The weight is ``g+ - g-`` (AIHWKit: OneSidedUnitCell). Pulses that raise it go to ``g+``, pulses that
lower it to ``g-``, so both rise until they saturate. A refresh reads both, resets the pairs of which
one is near its bound and the other no longer near 0, and writes the difference back, open loop, to
the one that was larger.

A pulse can cross a tenth of the range, so ``pulsed`` draws the pulses of each element and applies
them one by one, instead of a closed form.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from analogpipe.device.parameters import OneSided
from analogpipe.device.response import Response, draw
from analogpipe.tile.config import RefreshConfig, UpdateConfig
from analogpipe.tile.pulse_train import pulse_trains
from analogpipe.tile.read import read
from analogpipe.tile.signals import Signals, chances, condition

_TINY = 1e-30


@dataclass(frozen=True)
class Pair:
    """The elements of both arrays, ``g+`` above ``g-`` (2 out, in), and what a reset leaves."""

    response: Response
    rest: Tensor
    """Mean state after a reset, (2 out, in)."""

    @classmethod
    def draw(cls, device: OneSided, shape: tuple[int, int], generator: torch.Generator) -> "Pair":
        """Draw the pairs of an array of ``shape`` (out, in)."""
        both = (2 * shape[0], shape[1])
        response = draw(device.element, both, generator)
        noise = torch.randn(both, generator=generator, device=generator.device)
        return cls(response, device.reset + device.reset_dtod * noise)

    def state(self, weight: Tensor) -> Tensor:
        """Return the state (2 out, in) for ``weight`` (out, in): one of both elements is at 0."""
        state = torch.cat([weight.clamp(min=0), (-weight).clamp_(min=0)])
        return state.clamp_(self.response.low, self.response.high)

    def to(self, device: torch.device | str) -> "Pair":
        """Return a copy on ``device``."""
        return replace(self, response=self.response.to(device), rest=self.rest.to(device))


class PairUpdater:
    """Applies updates to the ``state`` (2 out, in) of a pair, and the difference to ``weight``.

    Args:
        weight: ``g+ - g-`` (out, in); changed in place, as ``state``.
        waited: micro-batches since the last refresh, (1,) int64; changed in place.
        refresh: None for none.
    """

    def __init__(
        self,
        weight: Tensor,
        state: Tensor,
        waited: Tensor,
        pair: Pair,
        device: OneSided,
        config: UpdateConfig,
        refresh: RefreshConfig | None,
        generator: torch.Generator,
    ) -> None:
        self.config, self.refreshes = config, refresh
        self.device, self.granularity = device, device.granularity
        self.generator = generator
        self._weight, self._state, self._waited, self._pair = weight, state, waited, pair
        self._plus, self._minus = state.tensor_split(2)
        self._up = torch.tensor(True, device=weight.device)

    def apply(self, x: Tensor, e: Tensor, lr: float) -> None:
        """Apply the update of one micro-batch, x (b, in), e (b, out), and refresh if due."""
        if self.config.rule == "pulse_train":
            arguments = self.granularity, self.config, self.generator
            pulse_trains(self._weight, x, e, lr, self, *arguments)
            self.finish()
            return
        signals = Signals.space(x.shape[0], x.shape[1], e.shape[1], x)
        x = condition(x, e, lr, self.granularity, self.config, signals)
        half = torch.mm(signals.e_sizes.t(), signals.x_sizes)
        wanted = torch.mm(signals.e.t(), x)
        of_columns, of_rows = chances(signals)
        self.apply_products(half, wanted, of_rows, of_columns)

    def apply_products(
        self, sizes: Tensor, signed: Tensor, of_rows: Tensor, of_columns: Tensor
    ) -> None:
        """As :meth:`analogpipe.tile.update.Updater.apply_products`."""
        pulses = torch.cat([sizes + signed, sizes - signed]).clamp_(min=0)
        if self.config.rule == "mean":
            room = torch.empty_like(self._pair.response.base)
            steps = self._pair.response.steps(self._state, room)
            self._state.addcmul_(pulses, steps[0])
            self._clamp()
        else:
            slots = sizes.mul(2).div_(torch.outer(of_rows, of_columns).add_(_TINY))
            self._fire(pulses, slots.round_().clamp_(min=1).repeat(2, 1))
        self.finish()

    def pulse(
        self, weight: Tensor, up: Tensor, generator: torch.Generator, where: Tensor | None = None
    ) -> None:
        """As :meth:`analogpipe.device.response.Response.pulse`, on the pair behind ``weight``; without
        refresh."""
        hit = torch.ones_like(weight, dtype=torch.bool) if where is None else where
        both = torch.cat([hit & up, hit & ~up])
        self._pair.response.pulse(self._state, self._up, generator, both)
        torch.sub(self._plus, self._minus, out=weight)

    def refresh(self) -> None:
        """Read all pairs, reset those that are due and write their differences back.

        Due is a pair of which one element is read above ``upper`` and the other above ``lower`` (in
        units of ``w_max``).
        """
        config, device = self.refreshes, self.device
        if config is None:
            return
        ones = torch.eye(self._state.shape[1], device=self._state.device)
        found = read(ones, self._state.t(), config.forward, self.generator).t()
        plus, minus = found.tensor_split(2)
        high, low = torch.maximum(plus, minus), torch.minimum(plus, minus)
        top = device.element.w_max
        due = (high > config.upper * top) & (low > config.lower * top)
        if not bool(due.any()):
            return
        noise = torch.empty_like(self._state).normal_(generator=self.generator)
        rest = torch.add(self._pair.rest, noise, alpha=device.reset_std)
        torch.where(due.repeat(2, 1), rest, self._state, out=self._state)
        self._clamp()
        difference = (plus - minus).mul_(due)
        pulses = torch.stack([difference, -difference]).clamp_(min=0).div_(self.granularity)
        pulses.clamp_(max=config.desired_bl)
        # a column of one array is written at a time, by a train as long as its largest pulse count
        slots = pulses.amax(1, keepdim=True).ceil_().clamp_(min=1).expand_as(pulses)
        self._fire(pulses.flatten(0, 1), slots.flatten(0, 1))

    def _fire(self, pulses: Tensor, slots: Tensor) -> None:
        """Give each element a binomial number of pulses: ``slots`` tries, on average ``pulses``."""
        chance = (pulses / slots).clamp_(max=1)
        counts = torch.binomial(slots, chance, generator=self.generator).flatten()
        hit = counts.nonzero().squeeze(1)
        # most pulses first: those that are left are the first ones
        counts, order = counts[hit].sort(descending=True)
        hit = hit[order]
        response, state = self._pair.response.at(hit), self._state.view(-1)
        values = state[hit].unsqueeze(0)
        left, done = len(hit), 0
        while left:
            if left < response.low.shape[1]:
                response = response.at(slice(left))
            response.pulse(values[:, :left], self._up, self.generator)
            done += 1
            left = int((counts[:left] > done).sum())
        state[hit] = values.squeeze(0)

    def finish(self) -> None:
        """Count a micro-batch, refresh if that is due, and set the weight."""
        if self.refreshes is not None and self.refreshes.every > 0:
            self._waited += 1
            if int(self._waited) >= self.refreshes.every:
                self.refresh()
                self._waited.zero_()
        torch.sub(self._plus, self._minus, out=self._weight)

    def _clamp(self) -> None:
        response = self._pair.response
        torch.clamp(self._state, response.low, response.high, out=self._state)
