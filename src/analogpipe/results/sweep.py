"""The learning rates of a profile: a grid judged by held-out training samples, one procedure for every mode."""

from pathlib import Path

import numpy as np
import pandas as pd

from analogpipe.profile.paths import sweep_folder
from analogpipe.profile.profile import COMMON, Profile
from analogpipe.results.run import read
from analogpipe.settings import ConfigError

COLUMNS = ("device", "mode", "stages", "rate", "seed", "loss", "accuracy")
PICKS = ("device", "mode", "rate", "loss", "better_by", "at")
ERRORS = 2.0
"""Standard errors of the paired difference by which a mode's own rate must beat the common one."""


def collect(root: Path, profile: Profile) -> pd.DataFrame:
    """Return loss and accuracy on held-out samples at the end of each run of the sweep, a row per run.

    Raises ConfigError for a profile without a sweep, FileError for a missing run.
    """
    sweep = profile.sweep
    if sweep is None:
        raise ConfigError(f"profile {profile.profile}: sweep: missing, a value is required")
    rows = []
    for device in profile.devices:
        for mode in profile.modes:
            for rate in sweep.rates[device]:
                for seed in sweep.seeds:
                    last = read(sweep_folder(root, device, mode, rate, seed)).metrics.iloc[-1]
                    found = float(last["test_loss"]), float(last["test_accuracy"])
                    rows.append((device, mode, sweep.stages, rate, seed, *found))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def picks(sweep: pd.DataFrame) -> pd.DataFrame:
    """Return the rates that a sweep picks: per device the common one and that of each mode (PICKS).

    All are judged by the logarithm of the held-out loss, a diverged run's being infinite. The common rate
    has the least of the mode that it serves worst, relative to what that mode can have. A mode's own is the
    rate with the least mean over seeds, if it beats the common one by ERRORS standard errors of the paired
    difference (``better_by``); else it is the common one, as noise makes no rate. ``at`` says whether a
    rate lies inside its grid or at an ``edge``, where it is no pick.
    """
    rows = []
    for device in sweep["device"].unique():
        own = sweep[sweep["device"] == device]
        losses = {mode: _logs(own[own["mode"] == mode]) for mode in own["mode"].unique()}
        means = pd.DataFrame({mode: table.mean() for mode, table in losses.items()})
        regret = (means - means.min()).max(axis=1)
        grid = sorted(float(rate) for rate in means.index)
        common = grid[int(np.argmin(regret[grid]))]
        rows.append((device, COMMON, common, np.nan, np.nan, _place(common, grid)))
        for mode, table in losses.items():
            rate, by = grid[int(np.argmin(means[mode][grid]))], 0.0
            if rate != common:
                difference = table[common] - table[rate]
                error = difference.std(ddof=1) / np.sqrt(len(difference))
                by = float(difference.mean() / error) if error > 0 else np.inf
                if not by > ERRORS:
                    rate = common
            rows.append((device, mode, rate, np.exp(means[mode][rate]), by, _place(rate, grid)))
    return pd.DataFrame(rows, columns=list(PICKS))


def _logs(part: pd.DataFrame) -> pd.DataFrame:
    """Return the logarithms of the losses, seeds by rates."""
    wide = part.pivot(index="seed", columns="rate", values="loss")
    return wide.where(np.isfinite(wide), np.inf).transform(np.log)


def _place(rate: float, grid: list[float]) -> str:
    return "edge" if rate in (grid[0], grid[-1]) else "inside"
