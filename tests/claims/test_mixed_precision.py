"""All claims can be judged of a device in mixed precision: a tiny profile through the workflow's jobs."""

import numpy as np
import pytest
import yaml

from analogpipe.claims.rules import RULES
from analogpipe.jobs import aggregate, calibrate, claims, execute_schedules, train
from analogpipe.profile.paths import run_folder
from analogpipe.profile.profile import load_profile
from analogpipe.results import layout
from analogpipe.results.run import read
from run_snakemake import ROOT

DEVICE = "ecram-mp"
DEVICES = ROOT / "config" / "devices.yaml"


@pytest.fixture(scope="module")
def judged(tmp_path_factory, tiny_profile):
    """The tiny profile on the device with AdamW, its root, and its claims."""
    where = tmp_path_factory.mktemp("mixed")
    content = yaml.safe_load(tiny_profile.read_text())
    del content["theory"], content["sweep"]
    rates = dict.fromkeys(content["modes"], 0.002)
    content |= {
        "devices_file": str(DEVICES),
        "devices": ["digital", DEVICE],
        "learning_rates": {"digital": rates, DEVICE: rates},
        "target_accuracy": 0.75,
    }
    content["training"] |= {"epochs": 5, "optimizer": {"kind": "adamw", "weight_decay": 0.01}}
    path = where / "profile.yaml"
    path.write_text(yaml.safe_dump(content))
    profile = load_profile(path)
    calibrate.main(DEVICES, DEVICE, where / "calibration" / DEVICE)
    for device in profile.devices:
        tile = None if device == "digital" else where / "calibration" / device / "device.yaml"
        for mode in profile.modes:
            for stages in profile.trained_stages(mode):
                for seed in profile.seeds:
                    out = run_folder(where, profile, device, mode, stages, seed)
                    train.main(path, device, mode, stages, seed, out, tile)
    execute_schedules.main(path, where / "schedules")
    aggregate.main(path, where)
    claims.main(path, where)
    return profile, where, layout.read(where, layout.CLAIMS)


def test_every_claim_has_a_measured_row_of_the_device(judged):
    """Each measure that names the device has a number and an interval, also of targets."""
    _, _, table = judged
    assert set(table["claim"]) == set(RULES)
    own = table[table["measure"].str.contains(DEVICE)]
    assert set(own["claim"]) == set(RULES) - {"C1"}  # C1 counts passes and copies, of all devices
    assert np.isfinite(own[["measured", "low", "high"]]).all(axis=None)
    assert set(table.loc[table["claim"] == "C1", "verdict"]) == {"reproduced"}


def test_the_runs_behind_them_learn_in_mixed_precision(judged):
    """Calibration keeps the rule and the mapping, and the runs use them and learn."""
    profile, where, _ = judged
    tile = read(run_folder(where, profile, DEVICE, "async", 3, 0)).config.tile
    assert tile.mixed_precision is not None
    assert tile.mapping.weight_scaling_omega == 0.6
    runs = layout.read(where, "tables/runs")
    last = runs[(runs["epoch"] == 5) & (runs["device"] == DEVICE)]
    assert len(last) == 3 * 2 * 2  # modes, stage counts, seeds
    assert last["test_accuracy"].min() > 0.6
