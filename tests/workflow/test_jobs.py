"""How jobs run: what fails, with which Python, and which edits of the library run them again."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from run_snakemake import PROFILE, ROOT, snakemake

CONDA = """#!/bin/bash
case "$*" in
"info --json") echo '{{"conda_prefix": "{prefix}", "platform": "linux-64"}}' ;;
"--version") echo "conda 26.1.0" ;;
"config --get channel_priority --json") echo '{{"get": {{"channel_priority": "strict"}}}}' ;;
"env create "*)
    folder=$(sed 's/.*--prefix //' <<< "$*")
    mkdir -p "$folder/bin" && cp "{prefix}/python" "$folder/bin/python" ;;
"clean "*) ;;
*) exit 1 ;;
esac
"""
PYTHON = """#!/bin/bash
echo "$PYTHONPATH" >> "{prefix}/ran"
exec "{real}" "$@"
"""


def test_a_job_fails_with_a_command_before_a_pipe(edited, tmp_path):
    """The job of ``data`` shows its output through tee, which succeeds whatever comes before it."""
    (tmp_path / "empty").mkdir()
    folder = {"kind": "image_folder", "name": "m", "validation": 5, "path": str(tmp_path / "empty")}
    result = snakemake(tmp_path, profile=edited("dataset", folder), targets=("data",))
    assert result.returncode != 0
    assert "command exited with non-zero exit code" in result.stderr
    assert "error: dataset.path" in result.stderr
    assert "MissingOutputException" not in result.stderr


def test_a_conda_environment_comes_before_the_workflow_s_own(tmp_path, tiny_profile, monkeypatch):
    """A conda that makes environments of one wrapped Python shows which Python a job runs with."""
    prefix = tmp_path / "conda"
    (prefix / "bin").mkdir(parents=True)
    for path, text in {
        "bin/conda": CONDA.format(prefix=prefix),
        "bin/activate": 'export PATH="$1/bin:$PATH"\n',
        "python": PYTHON.format(prefix=prefix, real=sys.executable),
    }.items():
        (prefix / path).write_text(text)
        (prefix / path).chmod(0o755)
    monkeypatch.setenv("PATH", f"{prefix}/bin:{os.environ['PATH']}")
    result = snakemake(
        tmp_path, "--sdm", "conda", "--conda-prefix", str(tmp_path / "envs"),
        profile=tiny_profile, targets=("data",),
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "results/tiny/data.safetensors").exists()
    # the library is not installed there: the job imports that of the workflow
    assert (prefix / "ran").read_text() == f"{ROOT / 'src'}\n"


@pytest.fixture
def calibrated(tmp_path, tiny_profile, monkeypatch):
    """A folder with a copy of the library that has calibrated the tiny profile's device."""
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "src"))
    content = tiny_profile.read_text().replace("../../config", str(ROOT / "config"))
    (tmp_path / PROFILE).write_text(content)
    result = snakemake(tmp_path, profile=PROFILE, targets=("calibration",))
    assert result.returncode == 0, result.stderr
    return tmp_path


def test_an_edit_deep_in_the_library_runs_what_imports_it_again(calibrated):
    def planned(edited: str) -> str:
        source = calibrated / "src" / "analogpipe" / edited
        source.write_text(source.read_text() + "\n# edited\n")
        result = snakemake(calibrated, "--dry-run", profile=PROFILE, targets=("calibration",))
        assert result.returncode == 0, result.stderr
        return result.stdout + result.stderr

    assert "Nothing to be done" in planned("figures/style.py")
    again = planned("tile/update.py")
    assert "rule calibrate:" in again
    assert "reason: Updated input files: src/analogpipe/tile/update.py" in again


def test_a_killed_snakemake_leaves_a_lock_that_make_explains(tmp_path):
    """As after a kill -9: the locks are there, and no Snakemake is."""
    locks = tmp_path / ".snakemake" / "locks"
    locks.mkdir(parents=True)
    (locks / "0.output.lock").write_text("results/quick/data.safetensors\n")
    for name in ("Makefile", "Snakefile", "workflow", "config", "profiles", "environment.yml"):
        (tmp_path / name).symlink_to(ROOT / name)

    def make(target: str) -> subprocess.CompletedProcess[str]:
        command = ["make", "--silent", target, "READY=", f"BIN={Path(sys.executable).parent}"]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    locked = make("figures")
    assert locked.returncode != 0
    assert locked.stderr.splitlines()[-2].endswith("make unlock")
    assert make("unlock").returncode == 0
    assert not locks.exists()
