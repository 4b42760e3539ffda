"""The twin of a device without its asymmetry, to measure what the asymmetry does.

A pulsed element has two kinds of asymmetry: its up and its down pulse differ, and both change with the
weight. The twin's steps do neither. Everything else is as in the device: the size of the step at
weight 0, the range, the spread of both, the noise of a pulse and of writing.
"""

from math import hypot

import numpy as np
import torch

from analogpipe.device.parameters import (
    ConstantStep,
    Device,
    Element,
    Ideal,
    LinearStep,
    OneSided,
    SoftBoundsReference,
)
from analogpipe.device.response import draw


class SymmetricError(ValueError):
    """A device of which there is no symmetric twin."""


def symmetric(device: Device) -> Device:
    """Return the device with steps that depend neither on the weight nor on the direction.

    - ``dw_min`` is the mean of the up and the down step of the mean element at weight 0, and
      ``dw_min_std`` such that the variance of an up and a down pulse there is in the mean the device's.
    - ``dw_min_dtod`` is the spread of that mean step, to first order in the spreads of step sizes.
      Spreads of what makes a response asymmetric (``up_down``, slopes, exponents) have nothing left to
      act on.
    - The range and its spread are the device's, seen from the reference where it has one.

    Of the same seed and name the twin has the same elements: the same draws make their steps and bounds.
    A wanted change reaches the twin as it is, a device times its mean step at 0 over ``granularity``, which
    is 1 where its two steps there are equal.

    An ideal device is its own twin.

    Raises:
        SymmetricError: a one-sided pair, whose step depends on how far both elements have come and not
            on the weight; weight 0 is out of range, or no pulse moves it there.
    """
    if isinstance(device, Ideal):
        return device
    if isinstance(device, OneSided):
        raise SymmetricError("a one_sided pair has no step of its own at weight 0")
    spreads = {
        name: 0.0
        for name in type(device).model_fields
        if name.endswith("_dtod") or name == "reference_std"
    }
    mean = draw(device.model_copy(update=spreads), (1, 1), torch.Generator())
    zero = torch.zeros(1, 1)
    steps = mean.steps(zero, torch.empty_like(mean.base)).double().flatten()
    base = mean.base.double().flatten()
    step, high, low = float(steps.mean()), float(mean.high), float(mean.low)
    if not low <= 0 <= high or low == high:
        raise SymmetricError(f"weight 0 is out of its range, {low:g} to {high:g}")
    if step == 0:
        raise SymmetricError("no pulse moves its weight at 0")
    extra = mean.extra_noise(zero)
    sizes = (base if mean.additive else steps) + (0.0 if extra is None else float(extra))
    factors = steps / base.clamp_min(1e-30)  # by which a step is larger than its base
    gain = device.dw_min_dtod * float(factors.mean())
    ratio = device.up_down_dtod * float(factors[0] - factors[1]) / 2
    shift = device.reference_std if isinstance(device, SoftBoundsReference) else 0.0
    values = {
        "dw_min": _short(step),
        "dw_min_dtod": _short(float(np.float32(device.dw_min)) * hypot(gain, ratio) / step),
        "dw_min_std": _short(mean.noise * float(sizes.square().mean().sqrt()) / step),
        "w_max": _short(high),
        "w_min": _short(low),
        "w_max_dtod": _spread(device.w_max, device.w_max_dtod, shift, high),
        "w_min_dtod": _spread(device.w_min, device.w_min_dtod, shift, low),
        "up_down": 0.0,
        "up_down_dtod": 0.0,
    }
    return _of(device, values, step)


def _of(device: Element, values: dict[str, float], step: float) -> ConstantStep | LinearStep:
    """Return the device of these values; of steps without a slope where writing is noisy, which constant
    ones do not know."""
    if device.write_noise == 0:
        return ConstantStep.model_validate(values)
    if values["w_max"] == 0 or values["w_min"] == 0:
        raise SymmetricError("noisy writing needs a range on both sides of weight 0")
    slopes = dict.fromkeys(("gamma_up", "gamma_down", "gamma_up_dtod", "gamma_down_dtod"), 0.0)
    noise = {"write_noise_std": _short(device.write_noise / step)}
    return LinearStep.model_validate(values | slopes | noise)


def _spread(bound: float, own: float, shift: float, seen: float) -> float:
    """Relative spread of a bound as ``seen`` from a reference that spreads by ``shift``."""
    return _short(hypot(float(np.float32(bound)) * own, shift) / abs(seen)) if seen else 0.0


def _short(value: float) -> float:
    """The shortest number that is the same in float32, in which elements are drawn."""
    return float(str(np.float32(value)))
