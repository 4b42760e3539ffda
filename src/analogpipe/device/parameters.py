"""Resistive devices: the parameters of their pulse response, named as in AIHWKit.

Torch-free. A device class states the distribution of its elements (spread from device to device);
:mod:`analogpipe.device.response` draws the elements and holds the formulas of one pulse.
"""

from math import exp, inf
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

NonNegative = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
Asymmetry = Annotated[float, Field(ge=-1, le=1)]
"""Beyond 1 one of both would be negative, and act by its size: 1.5 as 0.5 (in AIHWKit, too)."""


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
    up_down: Asymmetry = 0.0
    up_down_dtod: NonNegative = 0.01

    @model_validator(mode="after")
    def _bounds(self) -> "Pulsed":
        if not self.w_min <= 0 <= self.w_max or self.w_min == self.w_max:
            raise ValueError(f"w_min <= 0 <= w_max is needed, found {self.w_min}, {self.w_max}")
        if not 0 < self.granularity < inf:
            raise ValueError(f"a pulse must move the weight, found a step of {self.granularity}")
        return self

    @property
    def granularity(self) -> float:
        return self.dw_min

    @property
    def write_noise(self) -> float:
        """Standard deviation of the read weight around the state of the element (weight units).

        It is drawn anew when an element is pulsed (``write_noise_std``, in units of ``dw_min``).
        """
        return float(getattr(self, "write_noise_std", 0.0)) * self.dw_min


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
    mean_bound_reference: bool = True
    """The slope refers to the mean bound (true) or to the bound of the element (false)."""
    write_noise_std: NonNegative = 0.0


class SoftBounds(Pulsed):
    """Linear device: up ``s+ (1 - w/b_max)``, down ``s- (1 - w/b_min)`` (AIHWKit:
    SoftBoundsDevice).

    ``w_max = -w_min = tau`` is the dynamic range.
    """

    kind: Literal["soft_bounds"] = "soft_bounds"
    mult_noise: bool = True
    write_noise_std: NonNegative = 0.0

    @model_validator(mode="after")
    def _zero_inside(self) -> "SoftBounds":
        if not self.w_min < 0 < self.w_max:
            raise ValueError(
                f"soft bounds need w_min < 0 < w_max, found {self.w_min}, {self.w_max}"
            )
        return self


class SoftBoundsReference(Pulsed):
    """Soft bounds read against a reference: ``v = w + reference`` follows the soft-bounds response
    (AIHWKit: SoftBoundsReferenceDevice). The noise of a pulse scales with its size at ``v = 0``
    unless ``mult_noise``.
    """

    kind: Literal["soft_bounds_reference"] = "soft_bounds_reference"
    mult_noise: bool = False
    reference_mean: float = 0.0
    reference_std: NonNegative = 0.0
    subtract_symmetry_point: bool = False
    """Add each element's symmetric point to its reference, so that it comes to lie at ``w = 0``."""
    write_noise_std: NonNegative = 0.0

    @model_validator(mode="after")
    def _zero_inside(self) -> "SoftBoundsReference":
        if not self.w_min < 0 < self.w_max:
            raise ValueError(
                f"soft bounds need w_min < 0 < w_max, found {self.w_min}, {self.w_max}"
            )
        return self


class ExpStep(Pulsed):
    """Exponential response with ``z = 2 a w / (b_max - b_min) + b`` (AIHWKit: ExpStepDevice).

    Up ``s+ max(1 - A_up exp(gamma_up z), 0)``, down ``s- max(1 - A_down exp(-gamma_down z), 0)``.
    """

    kind: Literal["exp_step"] = "exp_step"
    A_up: float = 0.00081
    A_down: float = 0.36833
    gamma_up: float = 12.44625
    gamma_down: float = 12.78785
    a: float = 0.244
    b: float = 0.2425
    dw_min_std_add: NonNegative = 0.0
    """The noise of a pulse is ``dw_min_std`` times its size plus this (weight units) ..."""
    dw_min_std_slope: NonNegative = 0.0
    """... plus this times ``|w|``."""
    write_noise_std: NonNegative = 0.0

    @property
    def granularity(self) -> float:
        """The down step at ``w = 0``."""
        base = self.dw_min * (1 - max(self.up_down, 0.0))
        size = base * max(1 - self.A_down * exp(-self.gamma_down * self.b), 0.0)
        return size or self.dw_min


class PowStep(Pulsed):
    """Power response over the range ``R = b_max - b_min`` (AIHWKit: PowStepDevice).

    Up ``s+ ((b_max - w) / R)^gamma+``, down ``s- ((w - b_min) / R)^gamma-``; the exponents spread
    around ``pow_gamma`` as the step sizes do around ``dw_min``.
    """

    kind: Literal["pow_step"] = "pow_step"
    pow_gamma: Positive = 1.0
    pow_gamma_dtod: NonNegative = 0.1
    pow_up_down: Asymmetry = 0.0
    pow_up_down_dtod: NonNegative = 0.0
    write_noise_std: NonNegative = 0.0

    @property
    def granularity(self) -> float:
        """The step in the middle of the range."""
        return float(self.dw_min * 0.5**self.pow_gamma)


Element = ConstantStep | LinearStep | SoftBounds | SoftBoundsReference | ExpStep | PowStep


class OneSided(DeviceBase):
    """A pair of elements that only move up, with ``w = g+ - g-`` (AIHWKit: OneSidedUnitCell).

    A request for up pulses ``g+``, one for down ``g-``, each by the up step of an ``element`` of its
    own. Both go back to ``reset + reset_dtod x`` (one ``x`` per element, and ``reset_std`` times
    another each time) when the tile refreshes them (:mod:`analogpipe.tile.pair`).
    """

    kind: Literal["one_sided"] = "one_sided"
    element: Annotated[Element, Field(discriminator="kind")] = ExpStep()
    reset: float = 0.0
    reset_dtod: NonNegative = 0.0
    reset_std: NonNegative = 0.01

    @model_validator(mode="after")
    def _can_be_reset(self) -> "OneSided":
        if self.element.write_noise > 0:
            raise ValueError("one-sided elements need write_noise_std = 0, found more")
        if self.element.w_max <= 0:
            raise ValueError(f"one-sided elements need w_max > 0, found {self.element.w_max}")
        return self

    @property
    def granularity(self) -> float:
        return self.element.granularity


Device = Annotated[Ideal | Element | OneSided, Field(discriminator="kind")]
