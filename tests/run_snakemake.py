"""Snakemake as a process, on the repository's Snakefile."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROFILE = "profile.yaml"  # the profile's name in the folder of the fixture ``finished``


def snakemake(
    where: Path, *arguments: str, profile: Path | str, targets: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    """Run snakemake in a folder, on the repository's Snakefile."""
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"),
               "--cores", "2", *arguments, "--config", f"profile={profile}", "--", *targets]  # fmt: skip
    return subprocess.run(command, cwd=where, capture_output=True, text=True, check=False)
