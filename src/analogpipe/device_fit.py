"""From fitted elements to the device: inverting the draw of elements (analogpipe.pulse_response)."""

import numpy as np

from analogpipe.devices import (
    ExpStep,
    LinearStep,
    PowStep,
    Pulsed,
    SoftBoundsReference,
)
from analogpipe.element_models import MODELS, Array
from analogpipe.fitting import ElementFit, Estimate, population
from analogpipe.pulse_response import Affine, Exponential, Power, Response


def is_additive(device: Pulsed) -> bool:
    """Whether the noise of a pulse does not scale with the step at hand."""
    return not getattr(device, "mult_noise", True)


def fit_device(device: Pulsed, fits: list[ElementFit]) -> tuple[Pulsed, dict[str, Estimate]]:
    """Return the device with the parameters that the fitted elements have, and their estimates.

    ``device`` gives the type and what a fit cannot tell: the noise of writing, the offset ``a``,
    ``b`` of the exponential device (its other parameters absorb them).
    """
    names = MODELS[_kind(device)].names
    theta = dict(zip(names, np.stack([fit.theta for fit in fits]).T, strict=True))
    error = dict(zip(names, np.sqrt([np.diagonal(f.covariance) for f in fits]).T, strict=True))
    up_step = population(theta["s_up"], error["s_up"])[0]
    down_step = population(theta["s_down"], error["s_down"])[0]
    larger = up_step if up_step.value >= down_step.value else down_step
    dw_min = larger.value
    sum_of = np.array([fit.covariance[0, 0] + fit.covariance[1, 1] for fit in fits])
    cross = np.array([2 * fit.covariance[0, 1] for fit in fits])
    half = (theta["s_up"] + theta["s_down"]) / 2, (theta["s_up"] - theta["s_down"]) / 2
    _, gain = population(half[0], np.sqrt((sum_of + cross) / 4))
    difference, ratio = population(half[1], np.sqrt((sum_of - cross) / 4))
    noise = np.array([fit.noise for fit in fits])
    estimates = {
        "dw_min": larger,
        "dw_min_dtod": _scaled(gain, 1 / dw_min),
        "dw_min_std": population(noise, np.array([fit.noise_error for fit in fits]))[0],
        "up_down": _scaled(difference, 2 / dw_min),
        "up_down_dtod": _scaled(ratio, 1 / dw_min),
    }
    bounds = {"b_max": [fit.high for fit in fits], "b_min": [fit.low for fit in fits]}
    for name, parameter in (("b_max", "w_max"), ("b_min", "w_min")):
        values = theta.get(name, np.array(bounds[name]))
        centre, width = population(values, error.get(name, np.zeros(len(fits))))
        estimates[parameter] = centre
        estimates[f"{parameter}_dtod"] = _scaled(width, 1 / abs(centre.value))
    reach = np.array([fit.high - fit.low for fit in fits])
    estimates |= _shape(device, theta, error, estimates, reach)
    values = {key: estimate.value for key, estimate in estimates.items()}
    if isinstance(device, SoftBoundsReference):
        # the fitted elements include their references
        values |= {"reference_mean": 0.0, "reference_std": 0.0, "subtract_symmetry_point": False}
    return type(device).model_validate(device.model_dump() | values), estimates


def _shape(
    device: Pulsed,
    theta: dict[str, Array],
    error: dict[str, Array],
    of: dict[str, Estimate],
    reach: Array,
) -> dict[str, Estimate]:
    """Estimates of the parameters that only one device type has."""
    match device:
        case LinearStep():
            high, low = of["w_max"].value, abs(of["w_min"].value)
            up, up_spread = population(theta["k_up"], error["k_up"])
            down, down_spread = population(theta["k_down"], error["k_down"])
            return {
                "gamma_up": _scaled(up, high),
                "gamma_down": _scaled(down, low),
                "gamma_up_dtod": _scaled(up_spread, high),
                "gamma_down_dtod": _scaled(down_spread, low),
            }
        case ExpStep():
            return _exponential(device, theta, error, reach)
        case PowStep():
            up, _ = population(theta["g_up"], error["g_up"])
            down, _ = population(theta["g_down"], error["g_down"])
            larger = up if up.value >= down.value else down
            own = np.hypot(error["g_up"], error["g_down"]) / 2
            _, gain = population((theta["g_up"] + theta["g_down"]) / 2, own)
            half, ratio = population((theta["g_up"] - theta["g_down"]) / 2, own)
            return {
                "pow_gamma": larger,
                "pow_gamma_dtod": _scaled(gain, 1 / larger.value),
                "pow_up_down": _scaled(half, 2 / larger.value),
                "pow_up_down_dtod": _scaled(ratio, 1 / larger.value),
            }
        case _:
            return {}


def _scaled(estimate: Estimate, factor: float) -> Estimate:
    return Estimate(estimate.value * factor, estimate.error * abs(factor))


def _exponential(
    device: ExpStep, theta: dict[str, Array], error: dict[str, Array], reach: Array
) -> dict[str, Estimate]:
    """Shape of the exponential device: one for all elements, scaled by their ranges ``reach``."""
    scale = 2 * device.a / reach
    estimates = {}
    for way, sign in (("up", 1.0), ("down", -1.0)):
        rate, _ = population(theta[f"r_{way}"] / scale, error[f"r_{way}"] / np.abs(scale))
        factor, _ = population(theta[f"f_{way}"], error[f"f_{way}"])
        estimates[f"gamma_{way}"] = rate
        shift = float(np.exp(-sign * rate.value * device.b))
        estimates[f"A_{way}"] = _scaled(factor, shift)
    return estimates


def true_parameters(response: Response) -> dict[str, Array]:
    """What the model's parameters are in the elements of a simulated array, (elements,)."""
    up, down = (part.double().numpy().ravel() for part in response.base)
    true = {
        "s_up": up,
        "s_down": down,
        "b_max": response.high.double().numpy().ravel(),
        "b_min": response.low.double().numpy().ravel(),
    }
    match response:
        case Affine():
            offset = response.offset.double().numpy().reshape(2, -1)
            slope = response.slope.double().numpy().reshape(2, -1)
            true |= {"s_up": offset[0], "s_down": offset[1]}
            true |= {"k_up": -slope[0] / offset[0], "k_down": slope[1] / offset[1]}
        case Exponential():
            scale = response.scale.double().numpy().ravel()
            rate = response.rate.double().numpy().ravel()
            factor = response.factor.double().numpy().ravel() * np.exp(rate * response.offset)
            true |= {"f_up": np.full_like(scale, factor[0]), "r_up": rate[0] * scale}
            true |= {"f_down": np.full_like(scale, factor[1]), "r_down": -rate[1] * scale}
        case Power():
            gamma = response.gamma.double().numpy().reshape(2, -1)
            true |= {"g_up": gamma[0], "g_down": gamma[1]}
    return true


def _kind(device: Pulsed) -> str:
    return str(getattr(device, "kind"))  # noqa: B009 (each subclass declares its own literal)
