"""The pulse response of an array: elements drawn from a device, and what one pulse does to them.

Up (index 0) and down (index 1) are stacked, so that one operation serves both. What the update of
a whole micro-batch needs is their sum (index 0) and difference, up minus down (index 1).
"""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any, Self

import torch
from torch import Tensor

from analogpipe.device.parameters import (
    ConstantStep,
    ExpStep,
    LinearStep,
    PowStep,
    Pulsed,
    SoftBounds,
    SoftBoundsReference,
)


@dataclass(frozen=True, kw_only=True)
class Response:
    """Elements of an array: sizes of their pulses, and bounds ``low`` and ``high`` (out, in)."""

    base: Tensor
    """Step sizes ``s+`` and ``s-`` (2, out, in)."""
    low: Tensor
    high: Tensor
    noise: float
    """Standard deviation of a pulse relative to its size (or to ``base``, if ``additive``)."""
    additive: bool = False

    @classmethod
    def of(cls, device: Any, drawn: "Drawing") -> Self:
        """Return the elements of an array of ``device``, drawing what only this kind has."""
        raise NotImplementedError

    def steps(self, weight: Tensor, out: Tensor) -> Tensor:
        """Sizes of an up and a down pulse at ``weight`` (out, in), (2, out, in).

        ``out`` may be used for the result.
        """
        raise NotImplementedError

    def slopes(self, weight: Tensor, out: Tensor) -> Tensor | None:
        """Derivatives of :meth:`steps` by the weight, or None where they are 0."""
        raise NotImplementedError

    def mixed_steps(self, weight: Tensor, out: Tensor) -> Tensor:
        """Sum and difference of :meth:`steps`, (2, out, in); always in ``out``."""
        return mix(self.steps(weight, out))

    def mixed_slopes(self, weight: Tensor, out: Tensor) -> Tensor | None:
        """Sum and difference of :meth:`slopes`, or None where they are 0."""
        slopes = self.slopes(weight, out)
        return None if slopes is None else mix(slopes)

    def linear(self) -> tuple[Tensor, Tensor] | None:
        """Where steps are linear in the weight: the steps at 0 and their slopes, (2, out, in) each
        (slopes (2, 0, 0) where there are none). None elsewhere."""
        return None

    def mixed_linear(self) -> tuple[Tensor, Tensor] | None:
        """Where steps are linear in the weight: sums and differences of the steps at 0 and of their
        slopes, (2, out, in) each (slopes (2, 0, 0) where there are none). None elsewhere."""
        return None

    def extra_noise(self, weight: Tensor) -> Tensor | None:
        """What ``noise`` multiplies beside the size of a step, (out, in), or None for nothing."""
        return None

    def pulse(
        self, weight: Tensor, up: Tensor, generator: torch.Generator, where: Tensor | None = None
    ) -> None:
        """Apply one pulse to each element in place (or to those ``where`` is true).

        Up where ``up`` (boolean, broadcast) is true, else down.
        """
        steps = self.steps(weight, torch.empty_like(self.base))
        size = torch.where(up, steps[0], steps[1])
        unit = torch.where(up, self.base[0], self.base[1]) if self.additive else size
        extra = self.extra_noise(weight)
        if extra is not None:
            unit = unit + extra
        noise = torch.empty_like(weight).normal_(generator=generator)
        size = torch.addcmul(size, noise, unit, value=self.noise)
        if where is not None:
            size = size * where
        weight.add_(torch.where(up, size, -size))
        torch.clamp(weight, self.low, self.high, out=weight)

    def symmetric_point(self) -> Tensor:
        """The weight at which an up and a down pulse have the same size, by bisection, (out, in).

        nan where there is none within the bounds.
        """
        low, high = self.low.clone(), self.high.clone()
        room = torch.empty_like(self.base)

        def excess(weight: Tensor) -> Tensor:
            steps = self.steps(weight, room)
            return steps[0] - steps[1]

        inside = (excess(low) > 0) & (excess(high) < 0)
        for _ in range(40):
            middle = (low + high) / 2
            above = excess(middle) > 0
            low, high = torch.where(above, middle, low), torch.where(above, high, middle)
        point: Tensor = torch.where(inside, (low + high) / 2, torch.nan)
        return point

    def to(self, device: torch.device | str) -> Self:
        """Return a copy on ``device``."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        moved: dict[str, Any] = {
            name: value.to(device) for name, value in values.items() if isinstance(value, Tensor)
        }
        return replace(self, **moved)

    def at(self, index: Tensor | slice) -> Self:
        """Return the elements at flat indices ``index`` (n,) as an array of shape (1, n)."""
        return self._taken(lambda values: values.flatten(-2)[..., index].unsqueeze(-2))

    def rows(self, rows: slice) -> Self:
        """Return some rows of the array, as views."""
        return self._taken(lambda values: values[..., rows, :])

    def _taken(self, choose: Callable[[Tensor], Tensor]) -> Self:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        taken: dict[str, Any] = {
            name: choose(value)
            for name, value in values.items()
            # others are shared by all elements
            if isinstance(value, Tensor) and value.shape[-2:] == self.low.shape
        }
        return replace(self, **taken)


def mix(pair: Tensor) -> Tensor:
    """Replace ``pair`` (up, down) by (up + down, up - down) in place and return it."""
    pair[0].add_(pair[1])
    pair[1].mul_(-2).add_(pair[0])
    return pair


@dataclass(frozen=True, kw_only=True)
class Constant(Response):
    """Steps of the same size everywhere."""

    @classmethod
    def of(cls, device: ConstantStep, drawn: "Drawing") -> Self:
        return cls(**drawn.common)

    def steps(self, weight: Tensor, out: Tensor) -> Tensor:
        return self.base

    def slopes(self, weight: Tensor, out: Tensor) -> None:
        return None

    def mixed_steps(self, weight: Tensor, out: Tensor) -> Tensor:
        return mix(out.copy_(self.base))

    def linear(self) -> tuple[Tensor, Tensor]:
        return self.base, self.base.new_empty(2, 0, 0)

    def mixed_linear(self) -> tuple[Tensor, Tensor]:
        return mix(self.base.clone()), self.base.new_empty(2, 0, 0)


@dataclass(frozen=True, kw_only=True)
class Affine(Response):
    """Steps linear in the weight, ``offset + slope w``: linear step and both kinds of soft bounds."""

    offset: Tensor
    slope: Tensor

    @cached_property
    def _mixed(self) -> tuple[Tensor, Tensor]:
        """Made only for arrays that are updated."""
        return mix(self.offset.clone()), mix(self.slope.clone())

    def linear(self) -> tuple[Tensor, Tensor]:
        return self.offset, self.slope

    def mixed_linear(self) -> tuple[Tensor, Tensor]:
        return self._mixed

    def steps(self, weight: Tensor, out: Tensor) -> Tensor:
        return torch.addcmul(self.offset, self.slope, weight, out=out)

    def slopes(self, weight: Tensor, out: Tensor) -> Tensor:
        return self.slope

    def mixed_steps(self, weight: Tensor, out: Tensor) -> Tensor:
        offset, slope = self._mixed
        return torch.addcmul(offset, slope, weight, out=out)

    def mixed_slopes(self, weight: Tensor, out: Tensor) -> Tensor:
        return self._mixed[1]


class Linear(Affine):
    """Steps of :class:`analogpipe.device.parameters.LinearStep`."""

    @classmethod
    def of(cls, device: LinearStep, drawn: "Drawing") -> Self:
        gamma = drawn.pair(device.gamma_up, device.gamma_down).expand_as(drawn.base)
        spread = drawn.pair(device.gamma_up_dtod, device.gamma_down_dtod)
        gamma = (gamma + spread * torch.stack([drawn.normal(), drawn.normal()])).abs()
        mean = drawn.pair(device.w_max, device.w_min)
        limit = mean if device.mean_bound_reference else drawn.bounds
        slope = -gamma * drawn.base / limit
        return cls(offset=drawn.base, slope=slope, **drawn.common)


class Soft(Affine):
    """Steps of :class:`analogpipe.device.parameters.SoftBounds`."""

    @classmethod
    def of(cls, device: SoftBounds, drawn: "Drawing") -> Self:
        return cls(offset=drawn.base, slope=-drawn.base / drawn.bounds, **drawn.common)


class SoftReference(Affine):
    """Steps of :class:`analogpipe.device.parameters.SoftBoundsReference`."""

    @classmethod
    def of(cls, device: SoftBoundsReference, drawn: "Drawing") -> Self:
        base = drawn.base
        slope = -base / drawn.bounds
        reference = device.reference_mean + device.reference_std * drawn.normal()
        if device.subtract_symmetry_point:
            reference += (base[0] - base[1]) / (slope[1] - slope[0])
        high, low = drawn.bounds
        common = drawn.common | {"low": low - reference, "high": high - reference}
        return cls(offset=base + slope * reference, slope=slope, **common)


@dataclass(frozen=True, kw_only=True)
class Exponential(Response):
    """``base max(1 - A exp(rate (scale w + b)), 0)``; ``rate`` and ``factor`` (A) are (2, 1, 1)."""

    rate: Tensor
    factor: Tensor
    scale: Tensor
    offset: float
    noise_add: float = 0.0
    noise_slope: float = 0.0

    @classmethod
    def of(cls, device: ExpStep, drawn: "Drawing") -> Self:
        high, low = drawn.bounds
        return cls(
            **drawn.common,
            rate=drawn.pair(device.gamma_up, -device.gamma_down),
            factor=drawn.pair(device.A_up, device.A_down),
            scale=2 * device.a / (high - low),
            offset=device.b,
            noise_add=device.dw_min_std_add,
            noise_slope=device.dw_min_std_slope,
        )

    def steps(self, weight: Tensor, out: Tensor) -> Tensor:
        self._exponential(weight, out).neg_().add_(1).clamp_min_(0)
        return out.mul_(self.base)

    def slopes(self, weight: Tensor, out: Tensor) -> Tensor:
        self._exponential(weight, out)
        out.mul_(out < 1)
        return out.mul_(self.base).mul_(self.scale).mul_(-self.rate)

    def extra_noise(self, weight: Tensor) -> Tensor | None:
        if self.noise_add == 0 and self.noise_slope == 0:
            return None
        return weight.abs().mul_(self.noise_slope).add_(self.noise_add)

    def _exponential(self, weight: Tensor, out: Tensor) -> Tensor:
        z = torch.mul(weight, self.scale).add_(self.offset)
        return torch.mul(z, self.rate, out=out).exp_().mul_(self.factor)


@dataclass(frozen=True, kw_only=True)
class Power(Response):
    """``base d^gamma`` with ``d`` the distance to the bound ahead over the range."""

    gamma: Tensor

    @classmethod
    def of(cls, device: PowStep, drawn: "Drawing") -> Self:
        gain = 1 + device.pow_gamma_dtod * drawn.normal()
        ratio = device.pow_up_down_dtod * drawn.normal()
        shift = drawn.pair(min(device.pow_up_down, 0.0), -max(device.pow_up_down, 0.0))
        gamma = torch.stack([gain + ratio, gain - ratio]) + shift
        return cls(**drawn.common, gamma=device.pow_gamma * gamma.abs_())

    def steps(self, weight: Tensor, out: Tensor) -> Tensor:
        self._distance(weight, out).pow_(self.gamma)
        return out.mul_(self.base)

    def slopes(self, weight: Tensor, out: Tensor) -> Tensor:
        self._distance(weight, out).clamp_min_(1e-4).pow_(self.gamma - 1).mul_(self.gamma)
        out.mul_(self.base).div_(self.high - self.low)
        out[0].neg_()
        return out

    def _distance(self, weight: Tensor, out: Tensor) -> Tensor:
        torch.sub(self.high, weight, out=out[0])
        torch.sub(weight, self.low, out=out[1])
        return out.div_(self.high - self.low).clamp_(0, 1)


class Drawing:
    """Draws elements: at once what all devices have, then what one kind asks for.

    Args:
        shape: of the array, (out, in).
    """

    def __init__(self, device: Pulsed, shape: tuple[int, int], generator: torch.Generator) -> None:
        self._shape, self._generator = shape, generator
        high = device.w_max * (1 + device.w_max_dtod * self.normal()).abs_()
        low = device.w_min * (1 + device.w_min_dtod * self.normal()).abs_()
        gain = 1 + device.dw_min_dtod * self.normal()
        ratio = device.up_down_dtod * self.normal()
        up = device.dw_min * (gain + ratio + min(device.up_down, 0.0))
        down = device.dw_min * (gain - ratio - max(device.up_down, 0.0))
        self.base = torch.stack([up, down]).abs_()
        """Step sizes up and down, (2, out, in)."""
        self.bounds = torch.stack([high, low])
        self.common: dict[str, Any] = {
            "base": self.base,
            "low": low,
            "high": high,
            "noise": device.dw_min_std,
            "additive": not getattr(device, "mult_noise", True),
        }
        """What every response takes."""

    def normal(self) -> Tensor:
        """Return a standard normal number for each element, (out, in)."""
        return torch.randn(self._shape, generator=self._generator, device=self._generator.device)

    def pair(self, up: float, down: float) -> Tensor:
        """Return a number for each polarity, (2, 1, 1)."""
        return torch.tensor([up, down], device=self._generator.device).view(2, 1, 1)


RESPONSES: dict[str, type[Response]] = {
    "constant_step": Constant,
    "linear_step": Linear,
    "soft_bounds": Soft,
    "soft_bounds_reference": SoftReference,
    "exp_step": Exponential,
    "pow_step": Power,
}
"""The response of each kind of device: the one place where torch code tells them apart."""


def draw(device: Pulsed, shape: tuple[int, int], generator: torch.Generator) -> Response:
    """Draw the elements of an array of ``shape`` (out, in).

    As AIHWKit with ``enforce_consistency``: step sizes are made positive, and bounds keep their
    sides of 0.
    """
    kind = getattr(device, "kind", None)
    if kind not in RESPONSES:
        raise TypeError(f"no pulse response for {type(device).__name__}")
    return RESPONSES[kind].of(device, Drawing(device, shape, generator))
