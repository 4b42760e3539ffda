"""What measurements determine of a device, and a device that can be trained with whatever they do."""

from collections.abc import Mapping

import numpy as np
from pydantic import ValidationError

from analogpipe.calibration.element import ElementFit, Estimate
from analogpipe.device.parameters import Pulsed, SoftBoundsReference

POSITIVE = ("dw_min", "w_max", "w_min", "pow_gamma", "dw_min_std")
"""Parameters that are determined if they are twice their error or more."""
WIDE = 0.5
"""Error beyond which other parameters (relative spreads, asymmetries and slopes) are not determined,
unless they are twice their error or more."""
OPEN = 0.25
"""Relative error beyond which an element of several does not tell the bound at which its steps vanish (it
is found too near more easily than too far, and near ones have the smaller errors), nor a power device its
exponent."""
FAR = 10.0
"""Ranges of the weights beyond which a bound makes no difference to the steps within."""


OF = {
    "w_max": ("b_max",),
    "w_min": ("b_min",),
    "dw_min": ("s_up", "s_down"),
    "up_down": ("s_up", "s_down"),
    "pow_gamma": ("g_up", "g_down"),
    "pow_up_down": ("g_up", "g_down"),
}
"""Parameters of elements that those of the device are made of; spreads as their means."""


class UnusableError(ValueError):
    """A measurement that no device of the type can have."""


def undetermined(
    estimates: Mapping[str, Estimate], fits: list[ElementFit], names: tuple[str, ...]
) -> dict[str, str]:
    """Return the parameters that the data do not determine, each with the reason. ``names`` are those
    of the parameters of the fitted elements."""
    left = [_left_open(fit, names) if len(fits) > 1 else set(fit.vague) for fit in fits]
    reasons = {}
    for name, (value, error) in ((name, (e.value, e.error)) for name, e in estimates.items()):
        if name.endswith("_dtod") and len(fits) == 1:
            reasons[name] = "one element has no spread"
        elif name in ("w_max", "w_min") and not np.isfinite(error):
            reasons[name] = "no train reached it"
        elif not (np.isfinite(value) and np.isfinite(error)):
            reasons[name] = "the data say nothing of it"
        elif 2 * sum(
            not one.isdisjoint(OF.get(name.removesuffix("_dtod"), ())) for one in left
        ) > len(fits):
            reasons[name] = "other values fit as well"
        elif error > abs(value) / 2 and (name in POSITIVE or error > WIDE):
            reasons[name] = f"its error is {error:.2g}"
    for name in _ridge(estimates, reasons):
        reasons.setdefault(name, "other values fit as well")
    for way, end in (("up", "w_max"), ("down", "w_min")):
        for name, reason in _shape(estimates, reasons, way, end).items():
            reasons.setdefault(name, reason)
    return reasons


def _left_open(fit: ElementFit, names: tuple[str, ...]) -> set[str]:
    """Return the parameters ``names`` of an element that its readings do not tell."""
    errors = dict(zip(names, zip(fit.theta, np.diag(fit.covariance), strict=True), strict=True))
    far = {
        name
        for name, (value, variance) in errors.items()
        if name in OF["w_max"] + OF["w_min"] and not variance < (OPEN * value) ** 2
    }
    return far | set(fit.vague)


def _ridge(estimates: Mapping[str, Estimate], reasons: Mapping[str, str]) -> tuple[str, ...]:
    """Return parameters of power devices that are told together or not at all: bounds farther away go
    with larger exponents and other steps at 0."""
    if "pow_gamma" not in estimates:
        return ()
    value, error = estimates["pow_gamma"].value, estimates["pow_gamma"].error
    if error < OPEN * abs(value) and reasons.keys().isdisjoint({"w_max", "w_min", "pow_gamma"}):
        return ()
    return tuple(name for name in estimates if name.removesuffix("_dtod") in OF)


def _shape(
    estimates: Mapping[str, Estimate], reasons: Mapping[str, str], way: str, end: str
) -> dict[str, str]:
    """Undetermined slopes of linear steps and shapes of exponential ones, which refer to bounds."""
    rate, factor = f"gamma_{way}", f"A_{way}"
    if rate not in estimates:
        return {}
    if factor not in estimates:
        slopes = (rate, f"{rate}_dtod")
        return dict.fromkeys(slopes, f"{end} is not known") if end in reasons else {}
    value, error = estimates[rate].value, estimates[rate].error
    names = (rate, factor, "dw_min", "dw_min_dtod", "up_down", "up_down_dtod")
    if "w_max" in reasons or "w_min" in reasons:
        return dict.fromkeys(names, "the range is not known")
    # at the ends of the rates that are tried (shared_shape.RATES) the fit gives no error
    if not 1e-6 * abs(value) < error < abs(value) / 4:
        return dict.fromkeys(names, "other values fit as well")
    return {}


def in_words(reasons: Mapping[str, str]) -> str:
    """Return one line that names what is undetermined, by reason; empty for nothing."""
    names: dict[str, list[str]] = {}
    for name, reason in reasons.items():
        names.setdefault(reason, []).append(name)
    parts = [f"{', '.join(group)} ({reason})" for reason, group in names.items()]
    return f"not determined by the data: {'; '.join(parts)}" if parts else ""


def usable_device(
    device: Pulsed, estimates: Mapping[str, Estimate], fits: list[ElementFit]
) -> Pulsed:
    """Return the device with the estimated parameters, or with usable ones where they are none.

    A bound that no train reached lies where the largest weight was seen, one that cannot be told from
    infinity ``FAR`` ranges away; a spread that cannot be told is 0; for others ``device`` is asked,
    which also gives the type and what a fit cannot tell (the noise of writing).

    Raises:
        UnusableError: no device of this type has such weights.
    """
    values = {}
    for name, estimate in estimates.items():
        value = estimate.value
        if name.endswith("_dtod") and not np.isfinite(value):
            value = 0.0
        values[name] = value if np.isfinite(value) else getattr(device, name)
    seen = {
        "w_max": float(np.median([fit.seen[0] for fit in fits])),
        "w_min": float(np.median([fit.seen[1] for fit in fits])),
    }
    reach = seen["w_max"] - seen["w_min"]
    if seen["w_min"] > reach / 2 or seen["w_max"] < -reach / 2:
        raise _unusable(device, seen, "0 is far outside")
    for name, sign in (("w_max", 1.0), ("w_min", -1.0)):
        value, error = estimates[name].value, estimates[name].error
        if not (np.isfinite(value) and np.isfinite(error)) or sign * value <= 0:
            known = np.isfinite(value) and sign * value > 0
            # the weight 0 is inside, if only just
            values[name] = value if known else sign * max(sign * seen[name], 0.05 * reach)
        values[name] = sign * min(sign * values[name], FAR * reach)
    for name in ("up_down", "pow_up_down"):
        if name in values:
            values[name] = float(np.clip(values[name], -0.99, 0.99))
    if isinstance(device, SoftBoundsReference):
        # the fitted elements include their references
        values |= {"reference_mean": 0.0, "reference_std": 0.0, "subtract_symmetry_point": False}
    try:
        return type(device).model_validate(device.model_dump() | values)
    except ValidationError as error:
        reason = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise _unusable(device, seen, reason) from None


def _unusable(device: Pulsed, seen: Mapping[str, float], reason: str) -> UnusableError:
    kind = getattr(device, "kind")  # noqa: B009 (each subclass declares its own literal)
    return UnusableError(
        f"weights between {seen['w_min']:.4g} and {seen['w_max']:.4g} make no device of kind {kind!r}: "
        f"{reason}; map them to weights around 0 (--reach)"
    )
