"""The tiny workflow on a Slurm cluster of one machine: a killed job recovers, the results do not change."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from cluster import PARTITION, cluster, output, wait_until

ROOT = Path(__file__).parents[2]
RUN = "results/tiny/runs/digits/resmlp3/linear-tau0.6/async/M3/lr0.1/seed0"
RULE = "rule_train_wildcards_linear-tau0.6_async_3_0"
LOG = "logs/tiny/train/linear-tau0.6-async-M3-seed0.log"
EPOCHS = 20

# What the profile leaves to the user or cannot know: the partition, no accounts, no accounting database.
ON_THIS_CLUSTER = [
    "--profile", str(ROOT / "profiles/slurm"), "--jobs", "8",
    "--default-resources", f"slurm_partition={PARTITION}",
    "--slurm-status-command", "squeue", "--slurm-init-seconds-before-status-checks", "2",
]  # fmt: skip


def start(where: Path, tiny_profile: Path, *options: str) -> subprocess.Popen[bytes]:
    """Start the whole tiny workflow in a folder; its log is ``snakemake.log`` there.

    The runs are longer than the profile's, with a checkpoint every 40 micro-batches, so that
    one can be killed in their midst.
    """
    where.mkdir()
    content = tiny_profile.read_text().replace("../../config", str(ROOT / "config"))
    content = content.replace(
        "epochs: 3}", f"epochs: {EPOCHS}, checkpoint_every: 40 micro-batches}}"
    )
    (where / "profile.yaml").write_text(content)
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), *options,
               "--config", "profile=profile.yaml"]  # fmt: skip
    with (where / "snakemake.log").open("wb") as log:
        return subprocess.Popen(command, cwd=where, stdout=log, stderr=log)


def epochs(where: Path) -> list[int]:
    """Return the epochs that the run to kill has logged since it was started last."""
    return [int(n) for n in re.findall(r"^epoch (\d+)/", (where / LOG).read_text(), re.M)]


def tables(where: Path) -> dict[str, bytes]:
    """Return the bytes of all results in a folder: name -> content."""
    root = where / "results"
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*.csv")}


@pytest.mark.slurm
def test_killed_job_recovers_with_the_same_results(tiny_profile, tmp_path):
    local, remote = tmp_path / "local", tmp_path / "slurm"
    assert start(local, tiny_profile, "--cores", "2").wait() == 0, (
        local / "snakemake.log"
    ).read_text()

    with cluster():
        print("\n" + output("sinfo", "--version"))
        workflow = start(remote, tiny_profile, *ON_THIS_CLUSTER)
        try:
            saved = remote / RUN / "checkpoints"
            wait_until(
                lambda: list(saved.glob("*.safetensors")) or workflow.poll() is not None,
                "a checkpoint of the run to kill",
                seconds=3600,
            )
            jobs = dict(
                line.split("|")[::-1]
                for line in output(
                    "squeue", "--noheader", "--states=running", "--format=%i|%k"
                ).splitlines()
            )
            output("scancel", jobs[RULE])
            print(
                f"cancelled SLURM job {jobs[RULE]}, {RULE}, after {len(epochs(remote))} of {EPOCHS} epochs"
            )
            status = workflow.wait(timeout=7200)
        finally:
            workflow.kill()  # its jobs are cancelled with the cluster
            workflow.wait()
        log = (remote / "snakemake.log").read_text()
        assert status == 0, log
        counts = output("squeue", "--noheader", "--states=all", "--format=%T").splitlines()

    submitted = re.findall(r"^Job \d+ has been submitted with SLURM jobid \d+.*", log, re.M)
    print(
        f"{len(submitted)} jobs submitted, first and last:", submitted[0], submitted[-1], sep="\n"
    )
    (failure,) = re.findall(r"SLURM-job '\d+' failed, SLURM status is: '\w+'", log)
    assert failure == f"SLURM-job '{jobs[RULE]}' failed, SLURM status is: 'CANCELLED'"
    (restart,) = re.findall(r"^Trying to restart job .*", log, re.M)
    resumed = epochs(remote)
    assert resumed[0] > 1  # it went on from a checkpoint
    assert resumed == list(range(resumed[0], EPOCHS + 1))
    print(failure, restart, f"it went on with epoch {resumed[0]}", sep="\n")
    print({state: counts.count(state) for state in sorted(set(counts))})

    expected = tables(local)
    assert tables(remote) == expected
    assert not saved.exists()
    metrics = sum(name.endswith("metrics.csv") for name in expected)
    print(
        f"{metrics} metrics.csv and {len(expected) - metrics} other tables: the same bytes as a local run's"
    )
