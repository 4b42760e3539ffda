"""Snakemake's profiles: each can be read, and the cap on GPUs holds."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# Each job holds the only GPU: it fails where another holds it at the same time.
JOBS = """
rule all:
    input: expand("{n}.txt", n=range(3))

rule hold:
    output: "{n}.txt"
    resources: gpu=1
    shell: "mkdir gpu && sleep 1 && rmdir gpu && touch {output}"
"""


@pytest.mark.parametrize("gpus", [None, 3])
def test_gpu_cap_runs_one_job_at_a_time(tmp_path, gpus):
    """With the profile's cap alone the jobs take turns; where it is lifted they collide."""
    (tmp_path / "Snakefile").write_text(JOBS)
    lifted = [] if gpus is None else ["--resources", f"gpu={gpus}"]
    result = subprocess.run(
        [sys.executable, "-m", "snakemake", "--profile", str(ROOT / "profiles" / "gpu"),
         "--cores", "3", *lifted],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (result.returncode == 0) == (gpus is None), result.stderr


def test_only_runs_on_a_gpu_ask_for_one(tmp_path, edited):
    """In the plan of the tiny profile on a GPU, through the GPU profile."""
    result = subprocess.run(
        [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"),
         "--profile", str(ROOT / "profiles" / "gpu"), "--dry-run",
         "--config", f"profile={edited('compute', {'device': 'cuda'})}"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    plan = re.findall(
        r"^rule (\w+):.*?^ +resources: (.*?)$", result.stdout + result.stderr, re.M | re.S
    )
    assert {rule for rule, resources in plan if "gpu=1" in resources} == {
        "train",
        "execute_schedules",
        "ablation_run",
    }
    assert "calibrate" in {rule for rule, _ in plan}
