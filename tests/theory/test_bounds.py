"""Bounds and predictions: limits that are known, and the experiments themselves."""

import numpy as np
import pytest

from analogpipe.theory.bounds import Linear, best_step, bound, cycles_to, samples_to
from analogpipe.theory.expected import Expected, asymptotic, balance, mean_size
from analogpipe.theory.problem import LeastSquares, delays

CONSTANTS = {"start": 0.5, "smoothness": 2.0, "variance": 0.3}


def constants(sigma: float = 0.3, size: float = 0.1, rows: int = 8):
    return LeastSquares(np.full(rows, size), np.full(rows, sigma), 0).constants()


def best(samples: int) -> float:
    return best_step(samples=samples, **CONSTANTS)


def test_best_step_minimises_the_bound():
    samples = 10_000
    at = bound(step=best(samples), samples=samples, **CONSTANTS)
    for factor in (0.8, 1.25):
        assert bound(step=factor * best(samples), samples=samples, **CONSTANTS) > at
    assert at == pytest.approx(2 * np.sqrt(2 * 0.5 * 2 * 0.3 / samples))


def test_sync_has_the_same_rate_at_a_step_of_its_mini_batch():
    samples = 10_000
    single = bound(step=best(samples), samples=samples, **CONSTANTS)
    n = 4
    assert bound(
        step=n * best(samples), samples=samples, mini_batch=n, **CONSTANTS
    ) == pytest.approx(single)


def test_price_of_staleness_is_of_lower_order():
    def price(samples: int, stages: int) -> float:
        step = best(samples)
        stale = bound(step=step, samples=samples, stages=stages, **CONSTANTS)
        return stale - bound(step=step, samples=samples, **CONSTANTS)

    assert price(100_000, 8) == pytest.approx(4 * 0.5 * 2 * 7 / 100_000)
    assert price(100_000, 8) / price(400_000, 8) == pytest.approx(4)


@pytest.mark.parametrize("stages", [1, 8])
def test_samples_to_solves_the_bound_to_second_order(stages):
    error = 1e-3
    samples = round(samples_to(error, stages=stages, **CONSTANTS))
    found = bound(step=best(samples), samples=samples, stages=stages, **CONSTANTS)
    assert found == pytest.approx(error, rel=1e-4)


def test_floors_of_the_bound_are_left_by_any_step():
    def at(step: float, **analog: float) -> float:
        return bound(step=step, samples=10**9, **CONSTANTS, **analog)

    biased = {"saturation": 0.2, "sample_square": 3.0}
    assert at(1e-5, **biased) == pytest.approx(0.04 * 3, rel=0.01)
    assert at(1e-5, pulses=0.01) == pytest.approx(2 * 0.01, rel=0.01)
    assert at(1e-5) < 1e-3
    assert at(1e-5, stages=8, **biased) > at(1e-5, **biased)


def test_what_the_bound_does_not_cover_is_refused():
    with pytest.raises(ValueError, match=r"covers at most 0\.03125"):
        bound(step=0.04, samples=10, stages=8, **CONSTANTS)
    with pytest.raises(ValueError, match="below 1"):
        bound(step=0.01, samples=10, saturation=1.0, **CONSTANTS)


def test_cycles():
    assert cycles_to("sequential", 4, 99.5) == 800
    assert cycles_to("async", 4, 100) == 206
    assert cycles_to("sync", 4, 100, 4) == 350


def test_mean_size_of_a_normal():
    draws = np.random.default_rng(0).normal(0.4, 0.5, 400_000)
    assert mean_size(np.array(0.4), 0.5) == pytest.approx(np.abs(draws).mean(), rel=5e-3)


def test_balance_of_one_weight():
    problem = constants()
    w = balance(problem, Linear(0.6), 0.3)
    pull = mean_size((w - problem.minimisers) @ problem.inputs.T, 0.3) @ np.abs(problem.inputs) / 16
    assert np.allclose((w - problem.minimisers) @ problem.hessian, -pull * w / 0.6, atol=1e-9)


def test_digital_floor_is_the_textbook_one():
    # a scalar: variance of w is a s^2 / (l (2 - a l)); here summed over the eigenvalues
    problem, step = constants(), 0.1
    values = np.linalg.eigvalsh(problem.hessian)
    exact = sum(v**2 * step * 0.3**2 * v / 16 / (v * (2 - step * v)) for v in values)
    assert Expected(problem, step=step).floor() == pytest.approx(exact, rel=1e-4)
    assert np.allclose(asymptotic(problem, Linear()), 0, atol=1e-3 * exact)


@pytest.mark.parametrize(("what", "order"), [("tau", -2), ("sigma", 2), ("size", 2)])
def test_floor_has_its_orders_where_the_pull_is_weak(what, order):
    def at(factor: float) -> float:
        values = {"tau": 60.0, "sigma": 0.3, "size": 0.1}
        values[what] *= factor
        problem = constants(values["sigma"], values["size"])
        away = balance(problem, Linear(values["tau"]), values["sigma"]) - problem.minimisers
        return float(((away @ problem.hessian) ** 2).sum())

    assert np.log2(at(2) / at(1)) == pytest.approx(order, abs=0.05)


def test_price_has_its_orders():
    problem = constants()

    def price(step: float, stages: int) -> float:
        stale = Expected(problem, step=step, delays=delays("async", stages)).floor()
        return stale - Expected(problem, step=step).floor()

    assert np.log2(price(0.02, 8) / price(0.01, 8)) == pytest.approx(2, abs=0.05)
    assert price(0.01, 8) / price(0.01, 2) == pytest.approx(7, rel=0.05)


def test_asymptotic_floor_is_the_bias_and_the_granularity():
    problem = constants()
    away = balance(problem, Linear(0.6), 0.3) - problem.minimisers
    bias = ((away @ problem.hessian) ** 2).sum(1)
    assert asymptotic(problem, Linear(0.6)) == pytest.approx(bias, rel=2e-3)
    assert bias.std() > 0.05 * bias.mean()
    coarse = [(asymptotic(problem, Linear(0.6, g)) - bias).mean() for g in (1e-4, 2e-4)]
    assert coarse[1] / coarse[0] == pytest.approx(2, rel=0.02)


def test_unstable_step_is_refused():
    with pytest.raises(ValueError, match="unstable"):
        Expected(constants(), step=1.0, delays=delays("async", 8))
