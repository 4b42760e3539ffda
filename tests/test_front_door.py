"""``import analogpipe as ap``: its names, what it loads, and the lines of the README."""

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import nn

import analogpipe as ap
from analogpipe.files import FileError

ROOT = Path(__file__).parents[1]


def test_a_profile_is_checked_without_torch():
    code = """
import sys
import analogpipe as ap
profile = ap.load_profile("config/quick.yaml")
ap.load_devices("config/devices.yaml")
ap.TileConfig(device=ap.SoftBounds(w_max=0.6, w_min=-0.6))
ap.preset("ReRamSB")
assert profile.modes["async"].schedule in ap.MODES
assert ap.plan("async", stages=4, micro_batches=1000).cycles == 2006
heavy = {"torch", "numba", "matplotlib", "sklearn"} & set(sys.modules)
assert not heavy, heavy
assert {"Pipeline", "to_analog"} < set(dir(ap))
"""
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr


def test_every_name_is_there_once_and_typed():
    """The stub says the same as the table that names are loaded by."""
    typed = {}
    for node in ast.parse(Path(ap.__file__).with_suffix(".pyi").read_text()).body:
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                typed[alias.name] = f"{node.module}.{alias.name}".removeprefix("analogpipe.")
        if isinstance(node, ast.Assign):
            typed[node.targets[0].id] = typed.pop(node.value.id)
    assert typed == ap._HOME
    assert sorted(ap.__all__) == sorted(typed)
    for name in ap.__all__:
        assert getattr(ap, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'pipeline_of_dreams'"):
        _ = ap.pipeline_of_dreams


def test_the_lines_of_the_readme_work_as_they_stand(tmp_path, monkeypatch, tiny_profile):
    lines = re.search(
        r"```python\n(import analogpipe as ap\n.*?)```", (ROOT / "README.md").read_text(), re.S
    )
    run = ap.load_profile(tiny_profile).run("digital", "async", stages=3, seed=0)
    ap.train(run, tmp_path / "results/quick/runs/one")
    (tmp_path / "results/quick/tables").mkdir()
    shutil.copy(ROOT / "results/reference/quick/claims.csv", tmp_path / "results/quick/tables")
    shutil.copy(ROOT / "examples/measured.csv", tmp_path / "mine.csv")
    monkeypatch.chdir(tmp_path)
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(4, 6, generator=generator), torch.tensor([0, 1, 0, 1])
    names = {
        "x": x,
        "loss": nn.functional.cross_entropy,
        "batch": lambda b: (x, y),
        "lr": lambda b: 0.1,
    }
    with torch.random.fork_rng():
        torch.manual_seed(0)
        names["blocks"] = [nn.Sequential(nn.Linear(6, 6), nn.Tanh()) for _ in range(4)]
    exec(lines[1], names)
    losses = names["pipe"].losses
    assert losses[-100:].mean() < 0.6 * losses[:100].mean()
    assert 0.4 < names["fit"].tile.device.w_max < 0.8
    assert "dw_min" in set(names["fit"].summary["parameter"])
    assert list(names["runs"]["epoch"]) == [1, 2, 3]
    assert names["runs"]["mode"].unique() == ["async"]
    assert set(names["claims"]["claim"]) == {f"C{i}" for i in range(1, 7)}


def test_what_is_not_there_is_said_in_one_line(tmp_path):
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables/runs.csv").write_text("")
    with pytest.raises(FileError, match="found no finished run below it"):
        ap.load_runs(tmp_path)
    with pytest.raises(FileError, match=r"claims.csv: no such table, there are: runs"):
        ap.load_claims(tmp_path)
    with pytest.raises(FileError, match=r"runs.csv: cannot be read: No columns"):
        ap.load_table(str(tmp_path), "runs")
    with pytest.raises(FileError, match="no finished run"):
        ap.load_run(str(tmp_path))
    with pytest.raises(ValueError, match=r"kind: found 'soft', allowed: .*soft_bounds"):
        ap.calibrate_csv(tmp_path / "mine.csv", kind="soft")
    with pytest.raises(ValueError, match=r"no preset 'ReRam'; allowed: .*ReRamSB"):
        ap.preset("ReRam")


def test_presets_take_settings():
    tile = ap.preset("PCM", update={"rule": "mean"})
    assert tile.update.rule == "mean"
    assert tile.refresh == ap.preset("PCM").refresh
    assert tile.device == ap.preset("PCM").device


def test_a_loaded_run_is_the_one_that_was_trained(tmp_path, tiny_profile):
    run = ap.load_profile(str(tiny_profile)).run("digital", "sequential", stages=1, seed=0)
    ap.train(run, tmp_path / "a/b")
    runs = ap.load_runs(str(tmp_path))
    loaded = ap.load_run(runs["folder"].iloc[0])
    assert loaded.config == run
    pd.testing.assert_series_equal(runs["test_accuracy"], loaded.metrics["test_accuracy"])
    assert set(runs["learning_rate"]) == {run.learning_rate}
