"""The learning rates of a profile: a sweep on held-out training images, one procedure for every mode."""

from pathlib import Path

import pandas as pd

from analogpipe.profile.paths import sweep_folder
from analogpipe.profile.profile import Profile
from analogpipe.settings import ConfigError

COLUMNS = ("device", "mode", "stages", "rate", "seed", "validation_accuracy")


def collect(root: Path, profile: Profile) -> pd.DataFrame:
    """Return the validation accuracy of each sweep run, averaged over all its epochs.

    The average rewards a rate that learns fast as well as far: judged by the last epoch alone, a
    decaying rate forgives a start so high that nothing is learned for half of the run.

    Raises ConfigError for a profile without a sweep.
    """
    sweep = profile.sweep
    if sweep is None:
        raise ConfigError(f"profile {profile.profile}: sweep: missing, a value is required")
    rows = []
    for device in profile.devices:
        for mode in profile.modes:
            for rate in sweep.rates[device]:
                for seed in sweep.seeds:
                    folder = sweep_folder(root, device, mode, rate, seed)
                    accuracy = pd.read_csv(folder / "metrics.csv")["test_accuracy"]
                    rows.append((device, mode, sweep.stages, rate, seed, accuracy.mean()))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def best(sweep: pd.DataFrame) -> pd.DataFrame:
    """Return, per device and mode, the rate with the highest mean accuracy over seeds; the smaller on a tie."""
    mean = sweep.groupby(["device", "mode", "rate"], sort=False)["validation_accuracy"].mean()
    ranked = mean.reset_index().sort_values(
        ["validation_accuracy", "rate"], ascending=[False, True]
    )
    return ranked.groupby(["device", "mode"], sort=False).head(1).reset_index(drop=True)
