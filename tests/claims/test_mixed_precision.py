"""All claims can be judged of a device in mixed precision: a tiny profile through the workflow's jobs."""

import numpy as np
import pytest
import yaml

from analogpipe.claims.rules import RULES
from analogpipe.jobs import (
    aggregate,
    calibrate,
    claims,
    copies,
    execute_schedules,
    hardware,
    pairs,
    train,
)
from analogpipe.profile.paths import run_folder
from analogpipe.profile.profile import SYMMETRIC, load_profile
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
    del content["theory"], content["sweep"], content["ablation"]
    rates = dict.fromkeys(["common", *content["modes"]], 0.002)
    content |= {
        "devices_file": str(DEVICES),
        "devices": ["digital", DEVICE],
        "learning_rates": {"digital": rates, DEVICE: rates},
        "ladder": {"digital": [1.5, 1.0], DEVICE: [1.5, 1.0]},
    }
    content["training"] |= {"epochs": 5, "optimizer": {"kind": "adamw", "weight_decay": 0.01}}
    path = where / "profile.yaml"
    path.write_text(yaml.safe_dump(content))
    profile = load_profile(path)
    calibrate.main(DEVICES, DEVICE, where / "calibration" / DEVICE)
    calibrated = where / "calibration" / DEVICE
    for device, mode, stages, rate, seed in profile.trained_runs():
        name = "symmetric" if device.endswith(SYMMETRIC) else "device"
        tile = None if device == "digital" else calibrated / f"{name}.yaml"
        out = run_folder(where, profile, device, mode, stages, rate, seed).parent
        train.main(path, device, mode, stages, rate, [seed], out, tile)
    execute_schedules.main(path, where / "schedules")
    for job in (aggregate, hardware, pairs, copies, claims):
        job.main(path, where)
    return profile, where, layout.read(where, layout.CLAIMS)


def test_every_claim_has_a_measured_row_of_the_device(judged):
    """Each measure that names the device has a number and an interval, also of targets."""
    _, _, table = judged
    assert set(table["claim"]) == set(RULES)
    own = table[table["device"] == DEVICE]
    assert set(own["claim"]) == set(RULES)
    assert np.isfinite(own[["measured", "low", "high"]]).all(axis=None)


def test_the_runs_behind_them_learn_in_mixed_precision(judged):
    """Calibration keeps the rule and the mapping, and the runs use them and learn."""
    profile, where, _ = judged
    tile = read(run_folder(where, profile, DEVICE, "async", 3, 0.002, 0)).config.tile
    assert tile.mixed_precision is not None
    assert tile.mapping.weight_scaling_omega == 0.6
    runs = layout.read(where, "tables/runs")
    last = runs[(runs["epoch"] == 5) & (runs["device"] == DEVICE)]
    assert len(last) == 3 * 2 * 2  # modes, stage counts, seeds
    assert last["test_accuracy"].min() > 0.6
