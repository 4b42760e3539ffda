"""Tables and figures of the theory, from planted runs whose exponents are known."""

import numpy as np
import pandas as pd
import pytest

from analogpipe.figures import theory as theory_figures
from analogpipe.profile.profile import load_profile
from analogpipe.theory.problem import Way
from analogpipe.theory.rates import Rates
from analogpipe.theory.tables import of_rates

SAMPLES = [100, 200, 400, 800]


@pytest.fixture(autouse=True)
def _few_resamples(monkeypatch):
    monkeypatch.setattr("analogpipe.results.intervals.RESAMPLES", 100)


@pytest.fixture
def planted(tiny_profile):
    """Return a function that makes runs with given exponents of error and price."""
    sizes = load_profile(tiny_profile).theory.model_copy(
        update={"samples": SAMPLES, "stages": [2, 8], "rows": 8}
    )

    def plant(order: float = -0.5, price: float = 2.0, slower: float = 1.0) -> Rates:
        stream = np.random.default_rng(0)
        seeds = np.exp(0.05 * stream.normal(size=8))
        rows = []
        for mode, stages in (("sequential", 1), ("sync", 1), ("async", 2), ("async", 8)):
            for samples in SAMPLES:
                step = samples**-0.5 * (4 if mode == "sync" else 1)
                scale = slower if mode == "async" else 1.0
                for seed, factor in enumerate(seeds):
                    stale = (stages - 1) * step**price if mode == "async" else 0.0
                    rows.append(
                        {"device": "digital", "mode": mode, "stages": stages, "samples": samples,
                         "step": step, "seed": seed,
                         "error": factor * 0.04 * (samples / scale) ** order,
                         "settled": factor * (0.1 * step + stale)}
                    )  # fmt: skip
        return Rates(pd.DataFrame(rows), sizes)

    return plant


@pytest.mark.parametrize(("order", "price"), [(-0.5, 2.0), (-0.25, 1.0)])
def test_exponents_are_the_planted_ones(planted, order, price):
    table = pd.DataFrame(planted(order, price).exponents()).groupby("quantity")
    errors, prices, stages = (
        table.get_group(name)
        for name in (
            "error in samples",
            "price of staleness in step",
            "price of staleness in M-1",
        )
    )
    assert np.allclose(errors["measured"], order)
    assert np.allclose(prices["measured"], price)
    assert np.allclose(stages["measured"], 1)
    assert (errors["low"] <= order + 1e-9).all()
    assert (errors["high"] >= order - 1e-9).all()


def test_samples_and_cycles_to_the_target(planted):
    rates = planted(slower=1.5)
    plain = float(rates.reached("digital", rates.values(Way("digital", "sequential", 1)).mean(1)))
    checks = pd.DataFrame(of_rates(rates))
    checks = checks[checks["mode"] == "async"].set_index(["quantity", "stages"])["measured"]
    assert checks["samples to target over sequential"].to_numpy() == pytest.approx([1.5, 1.5])
    for stages in (2, 8):
        faster = checks["cycles to target, sequential over it", stages]
        assert faster == pytest.approx(stages * plain / (1.5 * plain + stages - 1), rel=0.01)


def test_target_is_reached_on_the_power_law(planted):
    rates = planted()
    target = rates.target("digital")
    exact = (0.04 / target) ** 2
    curve = 0.04 * np.array(SAMPLES) ** -0.5
    assert float(rates.reached("digital", curve)) == pytest.approx(exact)
    assert rates.reached("digital", np.stack([curve, 2 * curve], 1)) == pytest.approx(
        [exact, 4 * exact]
    )


def test_bound_is_missing_where_the_step_is_too_large(planted):
    rates = planted()
    table = rates.table().set_index(["mode", "stages"])
    # with M = 8 the bound covers steps up to 1/16, so not those of the two shorter runs
    covered = table.loc[("async", 8)].set_index("samples")["bound"].notna()
    assert covered.to_dict() == {k: k**-0.5 <= 1 / 16 for k in SAMPLES}
    assert table.loc[("sequential", 1), "bound"].notna().all()
    assert Way("digital", "sync", 1) in rates.ways


def test_figures_show_every_mode(planted):
    rates = planted()
    table3 = pd.DataFrame(rates.exponents())
    both = [rates.table(), rates.table().assign(device="linear", floor=1e-4)]
    table3 = pd.concat([table3, table3.assign(device="linear")])
    figure = theory_figures.slopes({"theory_rates": pd.concat(both), "table3": table3})
    for axes in figure.axes:
        labels = [text.get_text() for text in axes.get_legend().get_texts()]
        assert [label.split(":")[0] for label in labels] == ["sequential", "sync", "async, M=8"]
        assert all("-0.500 (" in label for label in labels)
