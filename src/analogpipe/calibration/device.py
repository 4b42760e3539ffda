"""From fitted elements to the device: inverting the draw of elements (analogpipe.device.response)."""

import numpy as np

from analogpipe.calibration.element import ElementFit, Estimate, bounds_population, population
from analogpipe.calibration.model import MODELS, Array
from analogpipe.device.parameters import (
    ExpStep,
    LinearStep,
    PowStep,
    Pulsed,
)
from analogpipe.device.response import Affine, Exponential, Power, Response


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
        "dw_min_dtod": _over(gain, larger),
        "dw_min_std": pulse or population(noise, np.array([fit.noise_error for fit in fits]))[0],
        "up_down": _over(_scaled(difference, 2), larger),
        "up_down_dtod": _over(ratio, larger),
    }
    for name, parameter, way in (("b_max", "w_max", 1.0), ("b_min", "w_min", -1.0)):
        if name in theta:
            centre, width = population(theta[name], error[name])
        else:
            centre, width = _hard_bound(fits, way)
        estimates[parameter] = centre
        estimates[f"{parameter}_dtod"] = _over(width, centre)
    estimates |= _shape(device, theta, error, estimates, fits[0])
    return estimates


def _hard_bound(fits: list[ElementFit], way: float) -> tuple[Estimate, Estimate]:
    """Mean and spread of the bound in the direction ``way``, of models whose steps do not tell it."""
    up = way > 0
    values = np.array([fit.high if up else fit.low for fit in fits])
    errors = np.array([fit.high_error if up else fit.low_error for fit in fits])
    if not errors.any():
        return population(values, errors)
    seen = np.array([fit.seen[0 if up else 1] for fit in fits])
    centre, width = bounds_population(way * values, errors, way * seen)
    return Estimate(way * centre.value, centre.error), width


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
                "pow_gamma_dtod": _over(gain, larger),
                "pow_up_down": _over(_scaled(half, 2), larger),
                "pow_up_down_dtod": _over(ratio, larger),
            }
        case _:
            return {}


def _scaled(estimate: Estimate, factor: float) -> Estimate:
    return Estimate(estimate.value * factor, estimate.error * abs(factor))


def _over(one: Estimate, other: Estimate) -> Estimate:
    """Ratio of two independent estimates: exact for that of a spread to a mean."""
    if other.value == 0:
        return Estimate(0.0, float("nan"))
    ratio = one.value * (1 / abs(other.value))
    apart = ratio * other.error / other.value if np.isfinite(other.error) else float("inf")
    return Estimate(ratio, float(np.hypot(one.error / other.value, apart)))


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
