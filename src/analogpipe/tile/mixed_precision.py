"""Mixed precision: the gradient is formed and summed in digital, and whole pulses are sent.

Nandakumar et al., Front. Neurosci. 2020 (AIHWKit: MixedPrecisionCompound). Here the residual is a
parameter in units of the layer's weight, its ``grad`` is the gradient of that weight, and any
optimizer of torch steps it. :meth:`MixedPrecisionArray.program` then takes whole pulses off it and
sends them to the array, row by row. Samples that cancel in the gradient send no pulse, so that the
asymmetry of the device hardly acts.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from analogpipe.device.parameters import OneSided, Pulsed
from analogpipe.tile.array import Array
from analogpipe.tile.change import Change
from analogpipe.tile.config import TileConfig
from analogpipe.tile.pair import PairArray
from analogpipe.tile.pulsed import PulsedArray, RewrittenArray
from analogpipe.tile.streams import Streams

TARGETS: tuple[type[PulsedArray] | type[PairArray], ...] = PairArray, RewrittenArray, PulsedArray


class MixedPrecisionArray(Array):
    """An array behind a digital residual."""

    target: PulsedArray | PairArray
    """The array of the weight."""
    residual: nn.Parameter
    """What the weight still has to change by, (out, in), in units of ``alpha A``
    (:mod:`analogpipe.tile.mapping`)."""
    position: Tensor
    """The next row and the updates since the last transfer, (2,) int64."""

    def __init__(self, weight: Tensor, config: TileConfig, streams: Streams) -> None:
        super().__init__(weight, config, streams)
        assert config.mixed_precision is not None
        self.rule = config.mixed_precision
        self._programmed = -1
        self.residual = nn.Parameter(torch.zeros_like(weight))
        self.register_buffer("position", torch.zeros(2, dtype=torch.int64))

    @classmethod
    def takes(cls, config: TileConfig) -> bool:
        """Whether gradients are formed in digital."""
        return config.mixed_precision is not None

    @classmethod
    def fires_samples(cls, config: TileConfig) -> bool:
        """False: a gradient is a sum over the samples."""
        return False

    def keep(self, weight: Tensor) -> None:
        """Give ``weight`` to the array of the device."""
        kind = next(kind for kind in TARGETS if kind.takes(self.config))
        self.target = kind(weight, self.config, self.streams)
        self.target.watched = False  # that is done here

    @property
    def weight(self) -> Tensor:  # type: ignore[override]
        """What reads see: that of the target."""
        return self.target.weight

    def place(self, weight: Tensor) -> None:
        """Set the target; nothing is left to send (AIHWKit: ``set_weights``)."""
        self.target.place(weight)
        self.residual.zero_()

    def gradient(self, change: Change) -> Tensor:
        """Return the gradient of the weight, (out, in), of quantised signals if they are.

        Signals that are not quantised make it in float32 whatever ``multiplies_in`` says: it is summed
        in digital.
        """
        rule, stream, dtype = self.rule, self.streams["update"], torch.float32
        if rule.n_x_bins or rule.n_d_bins:
            of_x = _Levels(rule.n_x_bins, rule.stoc_round_x, stream)
            of_e = _Levels(rule.n_d_bins, rule.stoc_round_d, stream)
            change = change.rounded(of_x, of_e)
        if rule.n_x_bins and rule.n_d_bins:
            dtype = self.multiplies_in
        return change.gradient(dtype)

    def change(self, change: Change, lr: float) -> None:
        """Step the residual by plain stochastic gradient descent: an optimizer does better."""
        self.residual.sub_(self.gradient(change), alpha=lr)

    @torch.no_grad()
    def program(self, alpha: Tensor | None) -> None:
        """Count a step of the residual and, if it is time, send whole pulses.

        Does nothing where the residual is frozen, or was not stepped since: layers that share an
        array program it once.

        Args:
            alpha: the scale of the array, (1,) or (out,); None for 1.
        """
        if self.residual.requires_grad and self.residual._version != self._programmed:
            self.settle()
            self._send(alpha)
            self.note()
            self._programmed = self.residual._version

    def _send(self, alpha: Tensor | None) -> None:
        rule, position, rows = self.rule, self.position, self.residual.shape[0]
        row, waited = position.tolist()
        if waited + 1 < rule.transfer_every:
            position[1] += 1
            return
        count = rows if rule.n_rows_per_transfer < 0 else min(rule.n_rows_per_transfer, rows)
        if rule.random_row and count < rows:
            drawn = torch.randint(
                rows, (1,), generator=self.streams["update"], device=self.weight.device
            )
            row = int(drawn)
        step, gain = rule.granularity, rule.transfer_lr
        if step:
            gain *= step / self.device.granularity
        else:
            step = self.device.granularity
        unit = self._unit if alpha is None else (alpha * step).expand(rows).contiguous()
        if self.config.update.rule == "mean":
            self._send_mean(unit, row, count, gain)
        else:
            numbers = row, count, gain, self.config.update.desired_bl
            stream = self.streams["update"]
            found = self.kernels.take(self.residual, unit, *numbers, stream, self.slots)
            if len(found[0]) or isinstance(self.target, PairArray):  # which counts updates
                self.target.fire(*found)
        if waited or count < rows:
            position.copy_(torch.tensor([(row + count) % rows, 0]))

    def _send_mean(self, unit: Tensor, row: int, count: int, gain: float) -> None:
        """Send the expected pulses, without noise."""
        rows = torch.arange(row, row + count, device=unit.device) % len(unit)
        step = unit[rows].unsqueeze(1)
        whole = torch.trunc(self.residual[rows] / step)
        self.residual[rows] -= whole * step
        top = whole.abs().amax(1, keepdim=True).clamp_(min=1) * gain
        wanted = torch.zeros_like(self.weight)
        wanted[rows] = whole * gain * (self.config.update.desired_bl / top).clamp_(max=1)
        self.target.expect(wanted)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._programmed = -1  # a copy has versions of its own

    @cached_property
    def device(self) -> Pulsed | OneSided:
        """The device of the target."""
        device = self.config.device
        assert isinstance(device, Pulsed | OneSided)
        return device

    @cached_property
    def _unit(self) -> Tensor:
        """What is taken off the residual for a pulse, (out,), without a scale."""
        step = self.rule.granularity or self.device.granularity
        return torch.full((self.weight.shape[0],), step, device=self.weight.device)


@dataclass(frozen=True)
class _Levels:
    """Rounds signals to ``bins`` levels around 0, the outermost of which are their largest size."""

    bins: int
    stochastic: bool
    stream: torch.Generator

    def __call__(self, signal: Tensor, axes: tuple[int, ...]) -> Tensor:
        """Return ``signal`` rounded; what varies along ``axes`` has its levels in common."""
        half = self.bins // 2
        if not half:
            return signal
        step = signal.abs().amax(axes, keepdim=True).clamp_min_(1e-30) / half
        level = signal / step
        if self.stochastic:
            level += torch.empty_like(level).uniform_(-0.5, 0.5, generator=self.stream)
        return level.round_().clamp_(-half, half).mul_(step)
