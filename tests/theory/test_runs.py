"""The experiments agree with the predictions; errors that are planted are noticed."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import analogpipe.tile.pulsed
from analogpipe.claims.checks import CHECKS
from analogpipe.claims.evidence import Evidence
from analogpipe.profile.profile import load_profile
from analogpipe.theory.bounds import DIGITAL, Linear
from analogpipe.theory.expected import Expected
from analogpipe.theory.exponents import slope
from analogpipe.theory.floor import Floor
from analogpipe.theory.problem import PULSE_NOISE, LeastSquares, Way, delays
from analogpipe.theory.rates import Rates
from analogpipe.theory.runs import Setting, floor, linear, rates, train
from analogpipe.theory.tables import of_floor
from analogpipe.tile.config import digital

STEP = 0.05


@pytest.fixture(scope="module")
def sizes(tiny_profile):
    """The tiny sizes, with runs long enough to judge the floor at its centre."""
    theory = load_profile(tiny_profile).theory
    # a range at which weights settle within the bounds even if they are pushed away from zero
    device = {"tau": 1.8, "ranges": [1.8], "dw_mins": [], "noises": []}
    long = {"floor_rows": 32, "floor_samples": 600, "sigmas": [0.3], "sizes": [0.1]}
    return theory.model_copy(update=device | long)


@pytest.mark.parametrize(
    ("tile", "device"),
    [
        (digital(), DIGITAL),
        (linear(0.6, 3e-5), Linear(0.6, 3e-5, PULSE_NOISE)),
        (linear(0.6, 3e-3), Linear(0.6, 3e-3, PULSE_NOISE)),
    ],
    ids=["digital", "fine", "coarse"],
)
@pytest.mark.parametrize(
    ("mode", "stages", "n"), [("sequential", 1, 1), ("sync", 2, 4), ("async", 8, 1)]
)
def test_error_is_the_predicted_one(tile, device, mode, stages, n):
    problem = LeastSquares(np.full(64, 0.1), np.full(64, 0.3), 1)
    errors = train(problem, Setting(tile, mode, stages, STEP, 240, n))
    run = Expected(
        problem.constants(), device, step=STEP, delays=delays(mode, stages), mini_batch=n
    )
    expected = run.error(240 // n)
    each = errors.mean(0)
    # at most four standard errors, and a prediction to leading order in the step
    assert abs(each.mean() - expected) < 4 * each.std() / 8 + 0.01 * expected


def test_sync_of_one_is_sequential_for_any_stages():
    problem = LeastSquares(np.full(8, 0.1), np.full(8, 0.3), 0)
    for tile in (digital(), linear(0.6, 1e-3)):
        plain = train(problem, Setting(tile, "sequential", 1, STEP, 40))
        assert np.array_equal(plain, train(problem, Setting(tile, "sync", 8, STEP, 40)))
        assert not np.array_equal(plain, train(problem, Setting(tile, "async", 8, STEP, 40)))


def test_without_staleness_the_price_is_zero(sizes, monkeypatch):
    """Planted: async runs in which every weight is fresh."""

    def fresh(problem, setting):
        if setting.mode == "async":
            setting = replace(setting, mode="sync")
        return train(problem, setting)

    monkeypatch.setattr("analogpipe.theory.runs.train", fresh)
    runs = pd.DataFrame([*rates(sizes, "digital"), *rates(sizes, "linear")])
    price = Rates(runs, sizes).price()
    assert ((price["price_low"] <= 0) & (price["price_high"] >= 0)).all()


def test_with_staleness_the_price_is_not_zero(sizes):
    found = Rates(pd.DataFrame([*rates(sizes, "digital"), *rates(sizes, "linear")]), sizes)
    assert (found.price()["price_low"] > 0).all()
    assert set(found.ways) >= {Way("digital", "async", 8), Way("linear", "sync", 1)}


@pytest.fixture(scope="module")
def honest(sizes):
    """The runs of the floor, with nothing planted."""
    return pd.DataFrame(floor(sizes))


def c5(runs, sizes, tiny_profile, sign: float = 1.0) -> dict[str, set[str]]:
    """Return the verdicts of the theory's checks by the quantity judged, from runs of the floor."""
    none = pd.DataFrame()
    evidence = Evidence(
        load_profile(tiny_profile), *[none] * 6,
        theory=pd.DataFrame(of_floor(Floor(runs, sizes), sign)),
    )  # fmt: skip
    verdicts: dict[str, set[str]] = {}
    for _, measure, region, (_, low, high) in CHECKS["theory"](evidence):
        verdicts.setdefault(measure.split(", ")[1], set()).add(region.verdict(low, high))
    return verdicts


def test_floor_is_reproduced(honest, sizes, tiny_profile):
    found = c5(honest, sizes, tiny_profile)
    assert found["floor over digital"] == {"reproduced"}
    assert "not reproduced" not in found["floor over its prediction"]


def test_ideal_device_has_no_floor(sizes, tiny_profile, monkeypatch):
    """Planted: what is called the linear device is ideal."""
    monkeypatch.setattr("analogpipe.theory.runs.linear", lambda *_, **__: digital())
    found = c5(pd.DataFrame(floor(sizes)), sizes, tiny_profile)
    assert found["floor over digital"] == {"not reproduced"}
    assert found["floor over its prediction"] == {"not reproduced"}


def test_flipped_bias_of_the_device_fails(sizes, tiny_profile, monkeypatch):
    """Planted: steps grow towards the bounds, so that pulses push away from the symmetric point."""
    draw = analogpipe.tile.pulsed.draw

    def flipped(*arguments):
        response = draw(*arguments)
        return replace(response, slope=-response.slope)

    monkeypatch.setattr("analogpipe.tile.pulsed.draw", flipped)
    found = c5(pd.DataFrame(floor(sizes)), sizes, tiny_profile)
    assert found["floor over its prediction"] == {"not reproduced"}


def test_flipped_bias_of_the_theory_fails(honest, sizes, tiny_profile):
    found = c5(honest, sizes, tiny_profile, sign=-1)
    assert found["floor over its prediction"] == {"not reproduced"}


def test_slope():
    x = np.array([1.0, 2.0, 4.0])
    assert slope(x, 3 * x[:, None] ** [-0.5, 2.0]) == pytest.approx([-0.5, 2.0])
