"""From fitted elements to the device: inverting the draw of elements (analogpipe.pulse_response)."""

import numpy as np

from analogpipe.devices import (
    ExpStep,
    LinearStep,
    PowStep,
    Pulsed,
)
from analogpipe.element_models import MODELS, Array
from analogpipe.fitting import ElementFit, Estimate, population
from analogpipe.pulse_response import Affine, Exponential, Power, Response


def is_additive(device: Pulsed) -> bool:
    """Whether the noise of a pulse does not scale with the step at hand."""
    return not getattr(device, "mult_noise", True)


def estimate_device(
    device: Pulsed, fits: list[ElementFit], pulse: Estimate | None = None
) -> dict[str, Estimate]:
    """Return the parameters of the device that the fitted elements are drawn from.

    ``device`` gives the type and what a fit cannot tell: the offset ``a``, ``b`` of the exponential
    device (its other parameters absorb them). ``pulse`` is the noise of a pulse where it was fitted
    to all elements at once.
    """
    names = MODELS[_kind(device)].names
    theta = dict(zip(names, np.stack([fit.theta for fit in fits]).T, strict=True))
    error = dict(zip(names, np.sqrt([np.diagonal(f.covariance) for f in fits]).T, strict=True))
    scale = _scale(device, fits)
    for name, factor in zip(("s_up", "s_down"), scale, strict=True):
        theta[name] = theta[name] * factor.value
        error[name] = error[name] * factor.value
    steps = [population(theta[name], error[name])[0] for name in ("s_up", "s_down")]
    steps = [
        Estimate(step.value, float(np.hypot(step.error, step.value * factor.error / factor.value)))
        for step, factor in zip(steps, scale, strict=True)
    ]
    larger = max(steps, key=lambda step: step.value)
    dw_min = larger.value
    sum_of = error["s_up"] ** 2 + error["s_down"] ** 2
    cross = np.array([2 * fit.covariance[0, 1] for fit in fits]) * scale[0].value * scale[1].value
    half = (theta["s_up"] + theta["s_down"]) / 2, (theta["s_up"] - theta["s_down"]) / 2
    _, gain = population(half[0], np.sqrt((sum_of + cross) / 4))
    difference, ratio = population(half[1], np.sqrt((sum_of - cross) / 4))
    common = [s.value * factor.error / factor.value for s, factor in zip(steps, scale, strict=True)]
    difference = Estimate(
        difference.value, float(np.hypot(difference.error, np.hypot(common[0], common[1]) / 2))
    )
    noise = np.array([fit.noise for fit in fits])
    estimates = {
        "dw_min": larger,
        "dw_min_dtod": _scaled(gain, 1 / dw_min),
        "dw_min_std": pulse or population(noise, np.array([fit.noise_error for fit in fits]))[0],
        "up_down": _scaled(difference, 2 / dw_min),
        "up_down_dtod": _scaled(ratio, 1 / dw_min),
    }
    bounds = {"b_max": [fit.high for fit in fits], "b_min": [fit.low for fit in fits]}
    doubt = {"b_max": [fit.high_error for fit in fits], "b_min": [fit.low_error for fit in fits]}
    for name, parameter in (("b_max", "w_max"), ("b_min", "w_min")):
        values = theta.get(name, np.array(bounds[name]))
        centre, width = population(values, error.get(name, np.array(doubt[name])))
        estimates[parameter] = centre
        estimates[f"{parameter}_dtod"] = _scaled(width, 1 / abs(centre.value))
    estimates |= _shape(device, theta, error, estimates, fits[0])
    return estimates


def _shape(
    device: Pulsed,
    theta: dict[str, Array],
    error: dict[str, Array],
    of: dict[str, Estimate],
    first: ElementFit,
) -> dict[str, Estimate]:
    """Estimates of the parameters that only one device type has."""
    match device:
        case LinearStep():
            high, low = of["w_max"], of["w_min"]
            low = Estimate(abs(low.value), low.error)
            up, up_spread = population(theta["k_up"], error["k_up"])
            down, down_spread = population(theta["k_down"], error["k_down"])
            return {
                "gamma_up": _times(up, high),
                "gamma_down": _times(down, low),
                "gamma_up_dtod": _times(up_spread, high),
                "gamma_down_dtod": _times(down_spread, low),
            }
        case ExpStep():
            return _exponential(device, first)
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


def _times(one: Estimate, other: Estimate) -> Estimate:
    # a bound that was never reached is the largest weight: the product means that weight
    apart = one.value * other.error if np.isfinite(other.error) else 0.0
    return Estimate(one.value * other.value, float(np.hypot(one.error * other.value, apart)))


def _scale(device: Pulsed, fits: list[ElementFit]) -> list[Estimate]:
    """What turns fitted steps up and down at w = 0 into step sizes of the device."""
    if not isinstance(device, ExpStep):
        return [Estimate(1.0, 0.0)] * 2
    first = fits[0]
    return [
        Estimate(float(1 + first.theta[i]), float(first.covariance[i, i] ** 0.5)) for i in (2, 3)
    ]


def _exponential(device: ExpStep, first: ElementFit) -> dict[str, Estimate]:
    """Shape of the exponential device, from one element, as all share it.

    ``s (1 - q (exp(r w) - 1)) = s (1 + q) (1 - q / (1 + q) exp(r w))``.
    """
    to_rate = first.reach / (2 * device.a)
    estimates = {}
    for i, way, sign in ((2, "up", 1.0), (3, "down", -1.0)):
        ratio = float(first.theta[i])
        rate = float(first.theta[i + 2]) * to_rate
        shift = float(np.exp(-sign * rate * device.b))
        factor = ratio / (1 + ratio) * shift
        gradient = np.array([shift / (1 + ratio) ** 2, -sign * device.b * factor * to_rate])
        block = first.covariance[np.ix_((i, i + 2), (i, i + 2))]
        estimates[f"gamma_{way}"] = Estimate(rate, float(block[1, 1] ** 0.5) * abs(to_rate))
        estimates[f"A_{way}"] = Estimate(factor, float((gradient @ block @ gradient) ** 0.5))
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
            ratio = factor / (1 - factor)
            true |= {"s_up": up * (1 - factor[0]), "s_down": down * (1 - factor[1])}
            true |= {"q_up": np.full_like(scale, ratio[0]), "r_up": rate[0] * scale}
            true |= {"q_down": np.full_like(scale, ratio[1]), "r_down": -rate[1] * scale}
        case Power():
            gamma = response.gamma.double().numpy().reshape(2, -1)
            true |= {"g_up": gamma[0], "g_down": gamma[1]}
    return true


def _kind(device: Pulsed) -> str:
    return str(getattr(device, "kind"))  # noqa: B009 (each subclass declares its own literal)
