"""Resistive devices: the parameters of their pulse response, named as in AIHWKit.

Torch-free. A device class states the distribution of its elements (spread from device to device);
:mod:`analogpipe.pulse_response` draws the elements and holds the formulas of one pulse.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

NonNegative = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]


class DeviceBase(BaseModel):
    """Base of all devices."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @property
    def granularity(self) -> float:
        """Size of one pulse that the update management counts with (weight units)."""
        raise NotImplementedError


class Ideal(DeviceBase):
    """Floating-point device: the wanted change is applied exactly (AIHWKit: IdealDevice)."""

    kind: Literal["ideal"] = "ideal"

    @property
    def granularity(self) -> float:
        return 1.0


class Pulsed(DeviceBase):
    """What all pulsed devices share (AIHWKit: PulsedDevice), in weight units.

    An element's step sizes are ``s+ = dw_min (g + r + min(up_down, 0))`` and
    ``s- = dw_min (g - r - max(up_down, 0))`` with ``g = 1 + dw_min_dtod x`` and ``r = up_down_dtod
    x``, its bounds ``w_max (1 + w_max_dtod x)`` and ``w_min (1 + w_min_dtod x)``; each ``x`` is a
    fresh standard normal.
    """

    dw_min: Positive = 0.001
    dw_min_dtod: NonNegative = 0.3
    dw_min_std: NonNegative = 0.3
    """Noise of one pulse relative to its size (cycle to cycle)."""
    w_max: float = 0.6
    w_min: float = -0.6
    w_max_dtod: NonNegative = 0.3
    w_min_dtod: NonNegative = 0.3
    up_down: float = 0.0
    up_down_dtod: NonNegative = 0.01

    @model_validator(mode="after")
    def _bounds(self) -> "Pulsed":
        if self.w_min >= self.w_max:
            raise ValueError(f"w_min is {self.w_min}, it must be below w_max, {self.w_max}")
        return self

    @property
    def granularity(self) -> float:
        return self.dw_min


class ConstantStep(Pulsed):
    """Steps of constant size up to the bounds (AIHWKit: ConstantStepDevice)."""

    kind: Literal["constant_step"] = "constant_step"


class LinearStep(Pulsed):
    """Steps that shrink linearly with the weight (AIHWKit: LinearStepDevice).

    Up ``s+ (1 - gamma_up w / w_max)``, down ``s- (1 - gamma_down w / w_min)``, clipped at the
    bounds.
    """

    kind: Literal["linear_step"] = "linear_step"
    gamma_up: float = 0.0
    gamma_down: float = 0.0
    gamma_up_dtod: NonNegative = 0.05
    gamma_down_dtod: NonNegative = 0.05
    mult_noise: bool = True
    """The noise of a pulse scales with its size at ``w`` (true) or with its size at 0 (false)."""


class SoftBounds(Pulsed):
    """The paper's linear device: up ``s+ (1 - w/b_max)``, down ``s- (1 - w/b_min)`` (AIHWKit:
    SoftBoundsDevice).

    ``w_max = -w_min = tau`` is the dynamic range.
    """

    kind: Literal["soft_bounds"] = "soft_bounds"
    mult_noise: bool = True

    @model_validator(mode="after")
    def _zero_inside(self) -> "SoftBounds":
        if not self.w_min < 0 < self.w_max:
            raise ValueError(
                f"soft bounds need w_min < 0 < w_max, found {self.w_min}, {self.w_max}"
            )
        return self


Device = Annotated[Ideal | ConstantStep | LinearStep | SoftBounds, Field(discriminator="kind")]
