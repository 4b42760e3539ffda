"""Errors where little is known: few elements, few readings, bounds that may not be there."""

from dataclasses import replace

import numpy as np
import pytest

from analogpipe.calibration.alternatives import reached
from analogpipe.calibration.coordinates import KINDS
from analogpipe.calibration.determined import undetermined
from analogpipe.calibration.element import ElementFit, Estimate, population
from analogpipe.calibration.model import MODELS
from analogpipe.calibration.posterior import KEPT, draws, estimate
from analogpipe.calibration.trajectory import LINE, LOW, NAMES, NOISE, SHARE, UP, Trajectory


def test_draws_follow_a_density_far_from_normal() -> None:
    """A gamma distribution of shape 2, started and stepped as if it were normal and narrow."""

    def density(phi: np.ndarray) -> float:
        return float(np.log(phi[1]) - phi[1]) if phi[1] > 0 else -np.inf

    start = np.array([7.0, 1.0])
    found = draws(density, start, np.array([1]), np.array([[0.01]]))
    assert len(found) == KEPT
    assert (found[:, 0] == 7).all()
    # of 500 draws, nearly independent
    assert found[:, 1].mean() == pytest.approx(2, abs=0.3)
    assert np.quantile(found[:, 1], [0.1, 0.5, 0.9]) == pytest.approx([0.53, 1.68, 3.89], rel=0.25)
    np.testing.assert_array_equal(found, draws(density, start, np.array([1]), np.array([[0.01]])))


def test_an_estimate_reaches_to_the_wider_side() -> None:
    skewed = np.exp(np.random.default_rng(0).standard_normal(100_000))
    found = estimate(skewed)
    assert found.value == pytest.approx(1, rel=0.02)
    assert found.error == pytest.approx((np.exp(1.96) - 1) / 1.96, rel=0.05)


@pytest.mark.parametrize("count", [3, 10])
def test_the_mean_of_few_elements_has_the_error_that_covers_it(count: int) -> None:
    stream = np.random.default_rng(count)
    inside = 0
    for _ in range(300):
        centre, _ = population(stream.standard_normal(count), np.full(count, 0.05))
        inside += abs(centre.value) < 1.96 * centre.error
    # 95 % of 300, and 3.6 standard deviations less; without Student's t 3 elements give 0.81
    assert inside >= 0.905 * 300


def test_additive_noise_counts_in_steps_at_weight_zero() -> None:
    """The same element on another scale: its readings are as likely."""
    kind = KINDS["soft_bounds_reference"]
    rng = np.random.default_rng(0)
    sign = np.repeat([1.0, -1.0], 20)
    weights = 0.3 + np.cumsum(0.02 * sign) + 0.01 * rng.standard_normal(40)
    weights = np.append(0.3, weights)
    bound, step, noise, read = 1.0, 0.03, 0.3, 0.005

    def likelihood(centre: float) -> float:
        phi = np.zeros(len(NAMES))
        for i, way in enumerate((1.0, -1.0)):
            inside = bound - way * centre
            phi[UP + i] = np.log(step * inside / bound)
            phi[2 + i] = -np.log(inside)
        phi[NOISE], phi[SHARE] = np.log(noise), np.log(read / noise)
        path = Trajectory(weights - centre, sign, LINE, additive=True, soft=kind.soft, zero=-centre)
        return path.log_likelihood(phi)

    assert likelihood(0.4) == pytest.approx(likelihood(0.0), rel=1e-9)


def _path(low: float, read: float) -> tuple[Trajectory, np.ndarray]:
    """Constant steps, 30 up and 50 down, until ``low``, and the coordinates of the element."""
    rng = np.random.default_rng(1)
    sign = np.repeat([1.0, -1.0], [30, 50])
    weight, readings = 0.0, [0.0]
    for way in sign:
        weight = max(weight + way * 0.02 * (1 + 0.3 * rng.standard_normal()), low)
        readings.append(weight)
    phi = np.zeros(len(NAMES))
    phi[:2] = np.log(0.02)
    phi[4:6], phi[6], phi[LOW] = 1.0, 20.0, min(readings[31:])
    phi[NOISE], phi[SHARE] = np.log(0.3), np.log(read / 0.3)
    noisy = np.array(readings) + read * rng.standard_normal(len(readings))
    return Trajectory(noisy, sign, LINE, additive=True, soft=False), phi


def test_a_bound_needs_evidence_against_all_other_explanations() -> None:
    kind = KINDS["constant_step"]
    assert reached(kind, *_path(0.1, 0.02), LOW, alone=True)
    assert not reached(kind, *_path(-9.0, 0.02), LOW, alone=True)
    # a noise that is taken for far too small makes any bound likely: it has to be fitted anew
    path, phi = _path(-9.0, 0.02)
    phi[NOISE] -= 1.5
    phi[LOW] += 0.03
    assert not reached(kind, path, phi, LOW, alone=True)


def test_a_bound_that_most_elements_leave_open_is_undetermined() -> None:
    names = MODELS["soft_bounds"].names
    told = {"w_max": Estimate(0.4, 0.06), "w_min": Estimate(-0.4, 0.06)}

    def notes(relative: float) -> dict[str, str]:
        theta = np.array([0.03, 0.03, 0.4, -0.4])
        covariance = np.diag([1e-6, 1e-6, (relative * 0.4) ** 2, 1e-4])
        fit = ElementFit(theta, covariance, 0.4, -0.4, 0.8, 0.3, 0.01, 0.0, 0.1)
        return undetermined(told, [fit, replace(fit), replace(fit)], names)

    assert notes(0.2) == {}
    assert list(notes(0.4)) == ["w_max"]


def test_what_refers_to_an_open_exponent_is_undetermined() -> None:
    names = ("dw_min", "up_down", "w_max", "w_min", "pow_gamma", "pow_up_down", "dw_min_std")
    values = (0.02, 0.5, 0.4, -0.5, 1.1, 0.5, 0.3)
    told = {n: Estimate(v, 0.1 * abs(v)) for n, v in zip(names, values, strict=True)}
    fit = ElementFit(np.ones(6), 0.01 * np.eye(6), 0.4, -0.5, 0.9, 0.3, 0.03, 0.0, 0.1)
    assert undetermined(told, [fit], MODELS["pow_step"].names) == {}
    # bounds and steps have small errors only where they go with this exponent
    told["pow_gamma"] = Estimate(1.1, 0.5)
    assert set(names) - set(undetermined(told, [fit], MODELS["pow_step"].names)) == {"dw_min_std"}
