"""The notebook and the report, built on the results of the tiny profile."""

import json
import os
import re
import subprocess
import sys

from analogpipe.results import layout
from run_snakemake import PROFILE, ROOT

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


def test_notebook_runs(finished):
    """Every cell runs, in a kernel-free interpreter, on what the workflow of the tiny profile made."""
    code = ["import matplotlib; matplotlib.use('Agg'); display = print"]
    code += ["".join(cell["source"]) for cell in CELLS if cell["cell_type"] == "code"]
    code += ["print('drawn', len(plt.get_fignums()), run.config.mode.name, len(summary))"]
    environment = {
        **os.environ,
        "ANALOGPIPE_FOLDER": str(finished),
        "ANALOGPIPE_PROFILE": PROFILE,
    }
    result = subprocess.run(
        [sys.executable, "-c", "\n".join(code)],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "drawn 2 async " in result.stdout
