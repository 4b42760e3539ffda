"""What was measured at the layers of executed schedules: did backward passes use live weights?"""

import numpy as np
import pandas as pd


def largest_deviation(weights: pd.DataFrame, modes: list[str]) -> float:
    """Return the largest relative deviation of an error that a layer gave back from the product with the
    weight that it had then, over all layers and stages of some modes (``schedules/weights``).

    Infinite where one of the modes has no comparison at all: a check that saw nothing fails.
    """
    here = weights[weights["mode"].isin(modes)]
    seen = here.groupby("mode")["compared"].sum().reindex(list(modes)).fillna(0)
    return float(here["deviation"].max()) if (seen > 0).all() else np.inf
