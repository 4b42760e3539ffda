"""Seconds and joules of runs, from the events that they counted."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analogpipe.experiment.train import train
from analogpipe.files import FileError
from analogpipe.hardware.presets import PRESETS
from analogpipe.profile.paths import run_folder
from analogpipe.profile.profile import load_devices, load_profile
from analogpipe.results.compare import compare
from analogpipe.results.hardware import by_stage, collect, plane
from analogpipe.results.run import read

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def profile(tiny_profile):
    return load_profile(tiny_profile).model_copy(update={"seeds": [0], "twins": []})


@pytest.fixture(scope="module")
def root(profile, tmp_path_factory):
    """The runs of a profile with one seed."""
    root = tmp_path_factory.mktemp("runs")
    tiles = load_devices(ROOT / "config/devices.yaml")
    for device in profile.devices:
        for mode in profile.modes:
            for stages in profile.trained_stages(mode):
                run = profile.run(device, mode, stages, 0, tile=tiles.get(device))
                train(run, run_folder(root, profile, device, mode, stages, 0.1, 0))
    return root


def test_a_run_counts_its_pulses(root, profile):
    run = read(run_folder(root, profile, "linear-tau0.6", "sequential", 1, 0.1, 0))
    layers = [layer for block in run.network() for layer in block.layers]
    assert [layer.name for layer in layers] == ["block0", "block1", "block2"]
    assert all(1 <= layer.mean_pulses <= 31 for layer in layers)
    digital = read(run_folder(root, profile, "digital", "sequential", 1, 0.1, 0))
    assert {layer.mean_pulses for b in digital.network() for layer in b.layers} == {None}


def test_every_run_has_a_row_on_every_accelerator(root, profile):
    table = collect(root, profile)
    assert len(table) == 2 * 3 * 2 * len(PRESETS)
    assert (table[["seconds", "joules", "best_seconds", "best_joules"]] > 0).all(axis=None)
    # what a sample takes in a long run is what the whole run takes a sample, but for its ends
    one = table[table["mode"] == "sequential"]
    assert np.allclose(one["best_seconds"] * one["samples"], one["seconds"], rtol=1e-6)
    # a flush costs least where the mini-batch is cut finest; no other mode may cut its micro-batch
    assert set(table.loc[table["mode"] != "sync", "best_micro_batch"]) == {8}
    flushed = table[(table["mode"] == "sync") & (table["stages"] == 3)]
    assert (flushed["best_micro_batch"] < 8).any()
    assert (flushed["best_seconds"] * flushed["samples"] <= flushed["seconds"]).all()
    # without a pipeline, more accelerators only add messages; with one they gain
    wide = table.pivot_table("seconds", ["device", "hardware", "stages"], "mode")
    assert (wide.xs(3, level="stages")["async"] < wide.xs(3, level="stages")["sequential"]).all()
    alone = wide.xs(1, level="stages")
    assert np.allclose(alone["async"], alone["sequential"])


def test_the_time_of_stages_adds_up(root, profile):
    stages = by_stage(root, profile)
    assert set(stages["action"]) == {"forward", "backward", "update", "accumulate", "program"}
    one = stages[(stages["stages"] == 1) & (stages["device"] == "digital")]
    assert one.groupby("hardware")["seconds"].sum().gt(0).all()
    assert (stages.loc[stages["action"] == "accumulate", "seconds"] == 0).all()


def test_the_plane_holds_the_closed_form_and_the_accelerators():
    table = plane()
    row = table[(table["hardware"] == "ibm-proj") & (table["rule"] == "analog_sgd")].iloc[0]
    assert row["update_over_read"] == pytest.approx(30.85 / 40, rel=1e-3)
    assert row["async_over_sync"] == pytest.approx(1.020, abs=5e-4)  # docs/hardware.md
    grid = table[table["hardware"] == ""]
    assert grid["async_over_sync"].between(1, 8, inclusive="neither").all()


def test_compare_prices_two_runs(root, profile):
    runs = [read(run_folder(root, profile, d, "async", 3, 0.1, 0)) for d in profile.devices]
    frame = compare(*runs, hardware=PRESETS["rpu"]).set_index("quantity")
    assert frame.loc["seconds, rpu", "one"] > 0
    assert frame.loc["joules, rpu", "ratio"] > 0


def test_a_run_of_an_older_version_is_named(root, profile, tmp_path):
    folder = run_folder(root, profile, "digital", "async", 3, 0.1, 0)
    shutil.copytree(folder, tmp_path / "old")
    record = json.loads((tmp_path / "old/run.json").read_text())
    del record["network"]
    (tmp_path / "old/run.json").write_text(json.dumps(record))
    old = read(tmp_path / "old")
    with pytest.raises(FileError, match="found no network in it"):
        compare(old, old, hardware=PRESETS["rpu"])
    assert isinstance(compare(old, old), pd.DataFrame)
