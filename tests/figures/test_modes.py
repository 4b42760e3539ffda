"""The figures of the modes: what they show follows from the tables alone."""

import numpy as np
import pandas as pd
import pytest

from analogpipe.figures import modes
from analogpipe.results.pairs import DIFFERENCES, RATIOS
from analogpipe.results.terms import ONE_STAGE, SEQUENTIAL


def comparisons(ratio: float = 0.25) -> dict[str, pd.DataFrame]:
    """Tables of a device whose async pipeline takes ``ratio`` of the samples, cycles and time."""
    head = {
        "device": "x",
        "mode": "async",
        "base_mode": "sequential",
        "base_rate": 0.1,
        "rate": 0.1,
    }
    both = [(base, terms, stages) for base in (SEQUENTIAL, ONE_STAGE) for terms in ("common", "best")
            for stages in (2, 4)]  # fmt: skip
    ratios = [
        {**head, "base": base, "terms": terms, "stages": stages, "quantity": quantity, "rung": rung,
         "seeds": 2, "reached": 2, "ratio": ratio, "low": ratio / 2, "high": ratio * 2}
        for base, terms, stages in both
        for quantity in ("samples", "finest_cycles", "seconds, rpu")
        for rung in (np.nan, 0.5, 0.2)
    ]  # fmt: skip
    differences = [
        {**head, "base": base, "terms": terms, "stages": stages, "measure": measure, "seeds": 2,
         "difference": -0.02, "low": -0.03, "high": -0.01, "seed_error": 0.0, "sampling_error": 0.0}
        for base, terms, stages in both
        for measure in ("accuracy", "loss")
    ]  # fmt: skip
    return {
        "ratios": pd.DataFrame(ratios)[RATIOS],
        "differences": pd.DataFrame(differences)[DIFFERENCES],
    }


def heights(axes: object) -> list[float]:
    """Values of the error bars of a panel."""
    return [y for bar in axes.containers for y in bar.lines[0].get_ydata()]


def test_speedup_is_the_inverse_ratio_beside_the_ideal():
    figure = modes.speedup(comparisons())
    assert [axes.get_title() for axes in figure.axes] == ["cycles", "time, rpu"]
    for axes in figure.axes:
        assert heights(axes) == [4, 4]
        assert axes.lines[0].get_ydata().tolist() == [2, 4]


def test_differences_are_in_points_with_their_margin():
    figure = modes.differences(comparisons())
    assert [axes.get_title() for axes in figure.axes] == ["one rate for all", "each at its best"]
    assert heights(figure.axes[0]) == pytest.approx([-2, -2])
    low, high = figure.axes[0].patches[0].get_bbox().intervaly
    assert (low, high) == pytest.approx((-1, 1))


def test_price_is_drawn_where_it_is_finite():
    tables = comparisons()
    lost = tables["ratios"]["rung"] == 0.2
    tables["ratios"].loc[lost, ["ratio", "low", "high"]] = np.inf
    assert heights(modes.price(tables).axes[0]) == [0.25]


def test_staleness_is_against_rate_times_stages():
    figure = modes.staleness(comparisons())
    (bar,) = figure.axes[1].containers
    assert bar.lines[0].get_xdata().tolist() == pytest.approx([0.2, 0.4])
