"""The notebook and the report, built on the results of the tiny profile."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from analogpipe.experiment import train as training
from analogpipe.profile.profile import DIGITAL, load_devices, load_profile
from analogpipe.results import layout
from analogpipe.results import tables as results

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "workflow" / "notebooks" / "inspect.ipynb"
CELLS = json.loads(NOTEBOOK.read_text())["cells"]


def test_notebook_is_stored_without_outputs():
    for cell in CELLS:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None


def test_notebook_goes_through_the_front_door_alone():
    source = "".join("".join(cell["source"]) for cell in CELLS if cell["cell_type"] == "code")
    assert re.findall(r"(?:from|import) analogpipe.*", source) == ["import analogpipe as ap"]


def test_report_has_a_caption_for_each_figure():
    captions = (ROOT / "workflow" / "report" / "figure.rst").read_text()
    for name in layout.FIGURES | layout.THEORY_FIGURES:
        assert f'"{name}": "' in captions


def test_notebook_runs(tmp_path, tiny_profile):
    """Every cell runs, in a kernel-free interpreter, on the runs of the tiny profile."""
    profile = load_profile(tiny_profile)
    devices = ROOT / "config" / "devices.yaml"
    tiles = load_devices(devices)
    root = tmp_path / "results" / profile.profile
    for device in profile.devices:
        tile = None if device == DIGITAL else tiles[device]
        for mode in profile.modes:
            for stages in profile.trained_stages(mode):
                for seed in profile.seeds:
                    run = profile.run(device, mode, stages, seed, tile=tile)
                    training.train(
                        run, results.run_folder(root, profile, device, mode, stages, seed)
                    )
    metrics = results.collect(root, profile)
    tables = {
        "runs": metrics,
        "targets": results.to_target(metrics, profile.target_accuracy),
        "table2": results.accuracy_table(metrics),
    }
    (root / "tables").mkdir()
    for name, table in tables.items():
        table.to_csv(root / "tables" / f"{name}.csv", index=False)
    code = ["import matplotlib; matplotlib.use('Agg'); display = print"]
    code += ["".join(cell["source"]) for cell in CELLS if cell["cell_type"] == "code"]
    code += ["print('drawn', len(plt.get_fignums()), run.config.mode.name, len(summary))"]
    environment = {
        **os.environ,
        "ANALOGPIPE_FOLDER": str(tmp_path),
        "ANALOGPIPE_PROFILE": str(tiny_profile),
    }
    result = subprocess.run(
        [sys.executable, "-c", "\n".join(code)],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "drawn 2 async " in result.stdout
