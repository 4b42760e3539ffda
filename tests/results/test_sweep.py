"""The learning rates of a profile are those that its recorded sweep picks."""

import json

import numpy as np
import pandas as pd
import pytest

from analogpipe.profile.paths import sweep_folder
from analogpipe.profile.profile import COMMON, METRICS, load_devices, load_profile
from analogpipe.results.sweep import COLUMNS, collect, picks
from analogpipe.settings import ConfigError
from run_snakemake import ROOT, snakemake

RECORDED = ("quick", "digits")


@pytest.mark.parametrize("name", RECORDED)
def test_profile_has_what_the_recorded_sweep_picks(name):
    profile = load_profile(ROOT / "config" / f"{name}.yaml")
    sweep = pd.read_csv(ROOT / "results" / "reference" / name / "sweep.csv")
    assert set(sweep["rate"]) == {rate for rates in profile.sweep.rates.values() for rate in rates}
    assert set(sweep["seed"]) == set(profile.sweep.seeds)
    assert not set(profile.sweep.seeds) & set(profile.seeds)
    assert set(sweep["stages"]) == {profile.sweep.stages}
    found = picks(sweep)
    assert (found["at"] == "inside").all()
    chosen = {(row["device"], row["mode"]): row["rate"] for row in found.to_dict("records")}
    configured = {
        (device, mode): rate
        for device, rates in profile.learning_rates.items()
        for mode, rate in rates.items()
    }
    assert chosen == configured


def sweep_of(losses: dict[str, dict[float, list[float]]]) -> pd.DataFrame:
    """Return a sweep of one device: losses of the seeds by mode and rate."""
    rows = [
        ("digital", mode, 2, rate, seed, loss, 0.5)
        for mode, rates in losses.items()
        for rate, seeds in rates.items()
        for seed, loss in enumerate(seeds)
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def picked(losses: dict[str, dict[float, list[float]]]) -> dict[str, float]:
    return picks(sweep_of(losses)).set_index("mode")["rate"].to_dict()


def test_noise_makes_no_rate():
    """The best of async is 0.2 by its mean, within the noise of 0.1, which both have in common."""
    found = picked(
        {
            "sequential": {0.05: [1.0, 1.1], 0.1: [0.5, 0.6], 0.2: [0.9, 1.0]},
            "async": {0.05: [1.0, 1.1], 0.1: [0.5, 0.7], 0.2: [0.7, 0.48]},
        }
    )
    assert found == {COMMON: 0.1, "sequential": 0.1, "async": 0.1}


def test_a_mode_has_a_rate_of_its_own_where_it_is_better_beyond_noise():
    found = picked(
        {
            "sequential": {0.05: [0.8, 0.81], 0.1: [0.5, 0.51], 0.2: [0.4, 0.41]},
            "async": {0.05: [0.8, 0.81], 0.1: [0.5, 0.51], 0.2: [np.nan, np.inf]},
        }
    )
    assert found == {COMMON: 0.1, "sequential": 0.2, "async": 0.1}


def test_a_pick_at_the_edge_of_the_grid_is_named():
    table = picks(sweep_of({"async": {0.1: [0.9, 0.9], 0.2: [0.5, 0.5], 0.4: [0.4, 0.4]}}))
    assert table["at"].tolist() == ["edge", "edge"]


def test_collect_takes_the_last_epoch(edited, tmp_path):
    profile = load_profile(edited("training.epochs", 2))
    for device in profile.devices:
        tile = load_devices(ROOT / "config" / "devices.yaml").get(device)
        for mode in profile.modes:
            folder = sweep_folder(tmp_path, device, mode, 0.1, 0)
            folder.mkdir(parents=True)
            metrics = pd.DataFrame({name: [1, 2] for name in METRICS})
            metrics.assign(test_loss=[0.9, 0.5]).to_csv(folder / "metrics.csv", index=False)
            run = profile.run(device, mode, 1, 0, tile=tile, validation=True)
            record = {"config": json.loads(run.model_dump_json())}
            (folder / "run.json").write_text(json.dumps(record))
    sweep = collect(tmp_path, profile)
    assert tuple(sweep.columns) == COLUMNS
    assert sweep["loss"].tolist() == [0.5] * 6


def test_a_profile_needs_no_sweep(edited, tmp_path):
    path = edited("sweep", ...)
    with pytest.raises(ConfigError, match="sweep: missing"):
        collect(tmp_path, load_profile(path))
    plan = snakemake(tmp_path, "--dry-run", profile=path)
    assert plan.returncode == 0, plan.stderr
    assert snakemake(tmp_path, "--dry-run", profile=path, targets=("sweep",)).returncode != 0


def test_folder_of_a_run_of_the_sweep(tmp_path):
    folder = sweep_folder(tmp_path, "digital", "async", 0.0125, 3)
    assert folder == tmp_path / "sweep/digital/async/lr0.0125/seed3"
