"""The headline: async over the best sync over no pipeline, in time and in cycles, beside what it costs."""

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from analogpipe.profile.profile import Profile
from analogpipe.results.intervals import inverse
from analogpipe.results.terms import BEST_SYNC, ONE_STAGE, SEQUENTIAL, TIME

HEADLINE = ["device", "terms", "stages", "mode", "over", "in", "times_as_fast", "low", "high",
            "accuracy_difference", "accuracy_low", "accuracy_high",
            "loss_difference", "loss_low", "loss_high"]  # fmt: skip


def headline(profile: Profile, ratios: pd.DataFrame, differences: pd.DataFrame) -> pd.DataFrame:
    """Return how many times as fast each mode is as no pipeline and as the best sync, at the most stages
    (columns HEADLINE).

    Speed is that to the rungs of the ladder, in ``cycles`` (of one sample, with the finest micro-batches that
    leave the updates as they are) and in the time of each accelerator; intervals hold 95 %. Differences,
    mode less the other, are of the end of the training; their intervals hold 90 %, those of two one-sided tests.
    """
    most = max(profile.stages)
    names = {"finest_cycles": "cycles"}
    rows = []
    table = ratios[(ratios["stages"] == most) & ratios["rung"].isna() & (ratios["terms"] != "grid")]
    for row in table.to_dict("records"):
        timed = str(row["quantity"]).startswith(TIME)
        if row["base"] == ONE_STAGE or not (timed or row["quantity"] in names):
            continue
        faster = inverse((row["ratio"], row["low"], row["high"]))
        costs = []
        for measure in ("accuracy", "loss"):
            costs += _difference(differences, row, measure)
        what = names.get(row["quantity"], str(row["quantity"]).removeprefix(TIME))
        over = "no pipeline" if row["base"] == SEQUENTIAL else f"best sync, {row['base_mode']}"
        head = [row[name] for name in ("device", "terms", "stages", "mode")]
        rows.append((*head, over, what, *faster, *costs))
    return pd.DataFrame(rows, columns=HEADLINE)


def _difference(
    differences: pd.DataFrame, row: Mapping[Hashable, Any], measure: str
) -> list[float]:
    """Return a difference to no pipeline with its interval; none to the best sync, which no table has."""
    if row["base"] == BEST_SYNC:
        return [np.nan] * 3
    keys = ("device", "terms", "mode", "stages", "rate", "base", "base_rate")
    chosen = differences["measure"] == measure
    for key in keys:
        chosen &= differences[key] == row[key]
    return [float(differences.loc[chosen, name].iloc[0]) for name in ("difference", "low", "high")]
