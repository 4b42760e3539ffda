"""The cheapest copies of weights between arrays, from the table of all copies."""

import numpy as np
import pandas as pd

KEY = ["device", "hardware", "seed"]


def cheapest(copies: pd.DataFrame) -> pd.DataFrame:
    """Return the fastest copy that came within its tolerance, a row per device, accelerator and seed.

    Columns: device, hardware, seed, inputs, reads, seconds, joules, steps_in_time, steps_in_energy. Where
    no number of reads got there, the copy costs infinitely much (``inf``, by no ``inputs`` and 0 reads):
    not reached is the worst value, not a missing one.
    """
    names = ["seconds", "joules", "steps_in_time", "steps_in_energy"]
    ordered = copies.sort_values("seconds", kind="stable")
    best = (
        ordered[ordered["reached"].astype(bool)].groupby(KEY).first()[["inputs", "reads", *names]]
    )
    every = pd.MultiIndex.from_frame(copies[KEY].drop_duplicates())
    table = best.reindex(every)
    table[names] = table[names].fillna(np.inf)
    table["inputs"] = table["inputs"].fillna("")
    table["reads"] = table["reads"].fillna(0).astype(int)
    return table.reset_index()
