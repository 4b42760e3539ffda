"""Each factor's share of the gap between an array and digital, from all combinations of factors."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from analogpipe.profile.ablation import better_in
from analogpipe.profile.profile import DIGITAL
from analogpipe.results.intervals import Floats, mean_interval

COLUMNS = ("mode", "measure", "factor", "own", "better", "share", "low", "high", "part", "seeds")
GAP, REST = "gap", "rest"
STALENESS = "staleness"

Worth = Mapping[frozenset[str], Floats]
"""How bad a cell is, for each seed, by the factors that are better in it."""


def shapley(worth: Worth, factors: Sequence[str]) -> dict[str, Floats]:
    """Return by how much each factor makes ``worth`` smaller, (seeds,): its Shapley value.

    That is the mean of what it changes over all orders in which the factors may be made better (Shapley
    1953). The values add up to the worth without any less that with all of them.
    """
    found = {}
    for factor in factors:
        others = [name for name in factors if name != factor]
        of_size = [
            np.mean(
                [
                    worth[frozenset(part)] - worth[frozenset({*part, factor})]
                    for part in combinations(others, size)
                ],
                axis=0,
            )
            for size in range(len(factors))
        ]
        found[factor] = np.mean(of_size, axis=0)
    return found


def shares(runs: pd.DataFrame, levels: Mapping[str, tuple[str, str]]) -> pd.DataFrame:
    """Return each factor's share of the gap to digital, a row per mode, measure and factor (COLUMNS).

    ``runs`` is the table of all runs, ``levels`` names the factors with what they are in the device, and
    better. The measures are ``log loss``, the natural logarithm of the training loss, and ``accuracy``, in
    both of which a positive share brings the array nearer to digital at the same mode. ``staleness``,
    where there are async runs, is the log loss of async less that of sequential, of which the gap is what
    an array adds to the price that digital pays. The rows ``rest`` (what is left with all factors better)
    and the factors add up to the row ``gap``. Intervals are Student's over seeds; ``part`` is the share
    over the gap.
    """
    factors = list(levels)
    rows: list[dict[str, Any]] = []
    for mode, measure, worth, digital in _measures(runs):
        gap = worth[frozenset()] - digital
        rest = worth[frozenset(factors)] - digital
        parts = {**shapley(worth, factors), REST: rest, GAP: gap}
        for factor, values in parts.items():
            own, better = levels.get(factor, ("", ""))
            share, low, high = mean_interval(values)
            part = share / gap.mean() if np.isfinite(gap.mean()) else np.nan
            found = (mode, measure, factor, own, better, share, low, high, part, len(gap))
            rows.append(dict(zip(COLUMNS, found, strict=True)))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _measures(runs: pd.DataFrame) -> Iterator[tuple[str, str, Worth, Floats]]:
    """Mode, measure, worth of every cell, and that of digital."""
    losses = {mode: _by_cell(runs, mode, np.log(runs["train_loss"])) for mode in _modes(runs)}
    for mode, worth in losses.items():
        yield mode, "log loss", *_parted(worth)
        yield mode, "accuracy", *_parted(_by_cell(runs, mode, -runs["test_accuracy"]))
    if len(losses) > 1:
        plain, stale = losses["sequential"], losses["async"]
        yield "async", STALENESS, *_parted({cell: stale[cell] - plain[cell] for cell in plain})


def _modes(runs: pd.DataFrame) -> list[str]:
    return list(dict.fromkeys(runs["mode"]))


def _by_cell(runs: pd.DataFrame, mode: str, values: "pd.Series[float]") -> dict[str, Floats]:
    here = runs.assign(value=values)[runs["mode"] == mode].sort_values("seed")
    return {str(cell): part["value"].to_numpy() for cell, part in here.groupby("cell")}


def _parted(worth: Mapping[str, Floats]) -> tuple[Worth, Floats]:
    cells = {better_in(cell): values for cell, values in worth.items() if cell != DIGITAL}
    return cells, worth[DIGITAL]


def cells(runs: pd.DataFrame) -> pd.DataFrame:
    """Return a row per cell and mode with the mean of loss and accuracy and their intervals, in the order
    of the runs: cell, mode, seeds, epochs (mean), converged (share), train_loss (geometric mean),
    train_loss_low, train_loss_high, test_accuracy, test_accuracy_low, test_accuracy_high."""
    rows = []
    for (cell, mode), part in runs.groupby(["cell", "mode"], sort=False):
        loss = np.exp(mean_interval(np.log(part["train_loss"].to_numpy())))
        accuracy = mean_interval(part["test_accuracy"].to_numpy())
        row = {"cell": cell, "mode": mode, "seeds": len(part)}
        row |= {"epochs": part["epochs"].mean(), "converged": part["converged"].mean()}
        for name, found in (("train_loss", loss), ("test_accuracy", accuracy)):
            row |= dict(zip((name, f"{name}_low", f"{name}_high"), map(float, found), strict=True))
        rows.append(row)
    return pd.DataFrame(rows)
