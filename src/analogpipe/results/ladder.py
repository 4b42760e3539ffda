"""Samples, cycles and time of a run to each rung of a ladder of falling training losses."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analogpipe.profile.sections import Mode
from analogpipe.schedule.modes import MODE

Floats = NDArray[np.float64]
LADDER = ("rung", "samples", "cycles", "sample_cycles", "finest_cycles")
"""What is counted to a rung; infinite where a run never reaches it. ``sample_cycles``: cycles times the samples
of a micro-batch, as the time of an array goes with samples; ``finest_cycles``: the same with the mini-batch of a
schedule that flushes cut into single samples, which leaves its weights alone and its bubble smallest."""


def crossings(curve: pd.DataFrame, rungs: Sequence[float]) -> pd.DataFrame:
    """Return samples and cycles at which a curve (columns CURVE) first is at or below each rung.

    Between two readings the logarithm of the loss is taken for a straight line in samples. Infinite
    where no reading is that low.
    """
    loss = np.log(np.maximum(curve["loss"].to_numpy(dtype=float), 1e-12))
    counts = curve[["samples", "cycles"]].to_numpy(dtype=float)
    rows = []
    for rung in rungs:
        below = np.flatnonzero(loss <= np.log(rung))
        if not len(below):
            rows.append((rung, np.inf, np.inf))
            continue
        at = below[0]
        before = max(at - 1, 0)
        part = 1.0 if at == 0 else (loss[before] - np.log(rung)) / (loss[before] - loss[at])
        rows.append((rung, *(counts[before] + part * (counts[at] - counts[before]))))
    return pd.DataFrame(rows, columns=["rung", "samples", "cycles"])


def climb(
    curve: pd.DataFrame, rungs: Sequence[float], mode: Mode, micro_batch: int, stages: int
) -> pd.DataFrame:
    """Return the columns LADDER of one run in ``mode`` at a stage count, a row per rung."""
    found = crossings(curve, rungs)
    found["sample_cycles"] = found["cycles"] * micro_batch
    found["finest_cycles"] = finest(found, mode, micro_batch, stages)
    return found


def finest(counts: pd.DataFrame, mode: Mode, micro_batch: int, stages: int) -> "pd.Series[float]":
    """Return the ``finest_cycles`` (see LADDER) of counted samples and cycles."""
    if not MODE[mode.schedule].flushes:
        return counts["cycles"].astype(float) * micro_batch
    size = mode.mini_batch * micro_batch
    return counts["samples"] / size * 2 * (size + stages - 1)


def log_ratios(own: Floats, base: Floats) -> Floats:
    """Return the mean over rungs of log(own / base), (seeds,), of counts (seeds, rungs) with the same seeds.

    A rung that ``own`` never reaches counts as infinitely many, the worst there is, whatever ``base``
    does. One that only ``base`` misses is left out for that seed; a seed of which no rung is left is
    NaN: the ladder was set lower than its base of comparison goes.
    """
    found = np.full(len(own), np.nan)
    for k, (mine, theirs) in enumerate(zip(own, base, strict=True)):
        if np.isinf(mine).any():
            found[k] = np.inf
            continue
        both = np.isfinite(theirs)
        if both.any():
            found[k] = np.log(mine[both] / theirs[both]).mean()
    return found


def per_seed(ladder: pd.DataFrame, quantity: str, **where: Any) -> pd.DataFrame:
    """Return a quantity as a table of seeds (rows) by rungs (columns, falling)."""
    here = ladder
    for name, value in where.items():
        here = here[here[name] == value]
    wide = here.pivot(index="seed", columns="rung", values=quantity)
    return wide[sorted(wide.columns, reverse=True)]
