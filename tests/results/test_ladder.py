"""A ladder of losses: crossings on the logarithm, what is counted there, and what is never reached."""

import numpy as np
import pandas as pd
import pytest

from analogpipe.profile.sections import Mode
from analogpipe.results.ladder import climb, crossings, log_ratios


def curve(*losses: float) -> pd.DataFrame:
    """Return a curve with a reading every 100 samples and 20 cycles."""
    count = np.arange(len(losses))
    return pd.DataFrame({"samples": 100 * count, "cycles": 20 * count, "loss": losses})


@pytest.mark.parametrize(
    ("losses", "samples"),
    [
        ((2.0, 1.0, 0.25), 150),  # 0.5 is half way from 1 to 0.25 on the logarithm
        ((2.0, 0.5, 0.2), 100),  # reached exactly
        ((2.0, 1.0, 0.25, 0.9), 150),  # the first crossing counts
        ((0.4, 0.3), 0),  # reached before the first micro-batch
        ((2.0, 1.0, 0.9), np.inf),
        ((2.0, np.nan, np.nan), np.inf),  # diverged
    ],
)
def test_crossings(losses, samples):
    row = crossings(curve(*losses), [0.5]).iloc[0]
    assert row["samples"] == pytest.approx(samples)
    assert row["cycles"] == pytest.approx(samples / 5)


def test_cycles_of_one_sample():
    """A mini-batch of 8 samples on 4 stages takes 2 (8 + 3) cycles, cut as finely as may be."""
    sync = Mode(schedule="sync", mini_batch=4, micro_batch=2)
    row = climb(curve(2.0, 0.5), [0.5], sync, 2, 4).iloc[0]
    assert row["sample_cycles"] == 2 * row["cycles"]
    assert row["finest_cycles"] == pytest.approx(100 / 8 * 2 * 11)
    row = climb(curve(2.0, 0.5), [0.5], Mode(schedule="async"), 2, 4).iloc[0]
    assert row["finest_cycles"] == row["sample_cycles"] == 2 * row["cycles"]


def test_ratios_of_what_is_never_reached():
    base = np.array([[10.0, 20.0], [10.0, 20.0], [10.0, np.inf], [np.inf, np.inf], [10.0, np.inf]])
    own = np.array([[20.0, 40.0], [20.0, np.inf], [20.0, 80.0], [20.0, 80.0], [20.0, np.inf]])
    found = np.exp(log_ratios(own, base))
    # missed by own: the worst, whatever the base does; by the base alone: left out
    assert found[[0, 1, 2, 4]] == pytest.approx([2, np.inf, 2, np.inf])
    assert np.isnan(found[3])
