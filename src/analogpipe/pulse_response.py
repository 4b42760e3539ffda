"""The pulse response of an array: elements drawn from a device, and what one pulse does to them.

Up (index 0) and down (index 1) are stacked, so that one operation serves both.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from analogpipe.devices import ConstantStep, LinearStep, Pulsed, SoftBounds


@dataclass(frozen=True)
class Affine:
    """Elements whose step is linear in the weight: constant step, linear step, soft bounds.

    ``base`` and ``slope`` are (2, out, in): an up pulse adds ``base[0] + slope[0] w``, a down pulse
    takes away ``base[1] + slope[1] w``. ``low`` and ``high`` (out, in) are the bounds. ``slope`` is
    None where all steps are constant.
    """

    base: Tensor
    slope: Tensor | None
    low: Tensor
    high: Tensor
    noise: float
    """Standard deviation of one pulse relative to its size (or to ``base``, if ``additive``)."""
    additive: bool = False

    def steps(self, weight: Tensor, rows: slice, out: Tensor) -> Tensor:
        """Sizes of an up and a down pulse at ``weight`` (the given rows), (2, rows, in)."""
        if self.slope is None:
            return self.base[:, rows]
        return torch.addcmul(self.base[:, rows], self.slope[:, rows], weight, out=out)

    def slopes(self, weight: Tensor, rows: slice, out: Tensor) -> Tensor | None:
        """Derivatives of :meth:`steps` by the weight, or None where they are 0."""
        return None if self.slope is None else self.slope[:, rows]

    def pulse(self, weight: Tensor, up: Tensor, generator: torch.Generator) -> None:
        """Apply one pulse to each element in place: up where ``up`` (boolean, broadcast), else
        down."""
        rows = slice(None)
        steps = self.steps(weight, rows, torch.empty_like(self.base))
        size = torch.where(up, steps[0], steps[1])
        noise = torch.empty_like(weight).normal_(generator=generator).mul_(self.noise)
        noise.mul_(torch.where(up, self.base[0], self.base[1]) if self.additive else size)
        size = size + noise
        weight.add_(torch.where(up, size, -size))
        torch.clamp(weight, self.low, self.high, out=weight)

    def to(self, device: torch.device | str) -> "Affine":
        """Return a copy on ``device``."""
        return replace(
            self,
            base=self.base.to(device),
            slope=None if self.slope is None else self.slope.to(device),
            low=self.low.to(device),
            high=self.high.to(device),
        )

    def symmetric_point(self) -> Tensor:
        """The weight at which an up and a down pulse have the same size, nan where there is
        none."""
        if self.slope is None:
            return torch.full_like(self.low, torch.nan)
        return (self.base[0] - self.base[1]) / (self.slope[1] - self.slope[0])


Response = Affine


def draw(device: Pulsed, shape: tuple[int, int], generator: torch.Generator) -> Response:
    """Draw the elements of an array of ``shape`` (out, in).

    As AIHWKit with ``enforce_consistency``: step sizes are made positive and crossed bounds
    swapped.
    """

    def normal() -> Tensor:
        return torch.randn(shape, generator=generator, device=generator.device)

    high = device.w_max * (1 + device.w_max_dtod * normal())
    low = device.w_min * (1 + device.w_min_dtod * normal())
    high, low = torch.maximum(high, low), torch.minimum(high, low)
    gain = 1 + device.dw_min_dtod * normal()
    ratio = device.up_down_dtod * normal()
    up = device.dw_min * (gain + ratio + min(device.up_down, 0.0))
    down = device.dw_min * (gain - ratio - max(device.up_down, 0.0))
    base = torch.stack([up, down]).abs_()
    match device:
        case SoftBounds():
            slope = -base / torch.stack([high, low])
            return Affine(base, slope, low, high, device.dw_min_std, not device.mult_noise)
        case LinearStep():
            gamma = torch.stack(
                [
                    device.gamma_up + device.gamma_up_dtod * normal(),
                    device.gamma_down + device.gamma_down_dtod * normal(),
                ]
            )
            slope = -gamma * base
            slope[0] /= device.w_max
            slope[1] /= device.w_min
            return Affine(base, slope, low, high, device.dw_min_std, not device.mult_noise)
        case ConstantStep():
            return Affine(base, None, low, high, device.dw_min_std)
        case _:
            raise TypeError(f"no pulse response for {type(device).__name__}")
