"""The learning rates of a profile are those that its recorded sweep picks."""

import pandas as pd
import pytest

from analogpipe.profile.paths import sweep_folder
from analogpipe.profile.profile import load_profile
from analogpipe.results.sweep import COLUMNS, best, collect
from analogpipe.settings import ConfigError
from run_snakemake import ROOT, snakemake


@pytest.mark.parametrize(
    ("name", "record"),
    [
        ("quick", "quick"),
        ("mnist-cpu", "mnist-cpu"),
        ("cifar10-cpu", "cifar10-jpeg-cpu"),
    ],
)
def test_profile_has_what_the_recorded_sweep_picks(name, record):
    profile = load_profile(ROOT / "config" / f"{name}.yaml")
    sweep = pd.read_csv(ROOT / "results" / "reference" / record / "sweep.csv")
    assert set(sweep["rate"]) == {rate for rates in profile.sweep.rates.values() for rate in rates}
    assert set(sweep["seed"]) == set(profile.sweep.seeds)
    assert set(sweep["stages"]) == {profile.sweep.stages}
    chosen = {(row["device"], row["mode"]): row["rate"] for row in best(sweep).to_dict("records")}
    configured = {
        (device, mode): rate
        for device, rates in profile.learning_rates.items()
        for mode, rate in rates.items()
    }
    assert chosen == configured


def test_best_averages_seeds_and_takes_the_smaller_rate_on_a_tie():
    head = {"device": "digital", "mode": "async", "stages": 2}
    rows = [
        (0.1, 0, 0.9),
        (0.1, 1, 0.5),
        (0.2, 0, 0.8),
        (0.2, 1, 0.8),
        (0.4, 0, 0.8),
        (0.4, 1, 0.8),
    ]
    sweep = pd.DataFrame(rows, columns=["rate", "seed", "validation_accuracy"]).assign(**head)
    assert best(sweep)["rate"].tolist() == [0.2]


def test_collect_averages_the_epochs(tiny_profile, tmp_path):
    profile = load_profile(tiny_profile)
    for device in profile.devices:
        for mode in profile.modes:
            folder = sweep_folder(tmp_path, device, mode, 0.1, 0)
            folder.mkdir(parents=True)
            pd.DataFrame({"test_accuracy": [0.25, 0.75]}).to_csv(folder / "metrics.csv")
    sweep = collect(tmp_path, profile)
    assert tuple(sweep.columns) == COLUMNS
    assert sweep["validation_accuracy"].tolist() == pytest.approx([0.5] * 6)


def test_a_profile_needs_no_sweep(edited, tmp_path):
    path = edited("sweep", ...)
    with pytest.raises(ConfigError, match="sweep: missing"):
        collect(tmp_path, load_profile(path))
    plan = snakemake(tmp_path, "--dry-run", profile=path)
    assert plan.returncode == 0, plan.stderr
    assert snakemake(tmp_path, "--dry-run", profile=path, targets=("sweep",)).returncode != 0
