"""Execute and record the schedules of a profile."""

from pathlib import Path
from typing import Annotated

import torch
import typer

from analogpipe.experiment.execute_schedules import execute
from analogpipe.files import write_text
from analogpipe.jobs.command import DataFile
from analogpipe.jobs.command import run as run_command
from analogpipe.profile.profile import load_profile


def main(
    profile: Annotated[Path, typer.Option(help="YAML file of the profile")],
    out: Annotated[Path, typer.Option(help="folder for schedules.csv and weights.csv")],
    data_file: DataFile = None,
) -> None:
    """Execute and record the schedules of a profile."""
    torch.set_num_threads(1)
    schedules, weights = execute(load_profile(profile), data_file)
    write_text(out / "schedules.csv", schedules.to_csv(index=False))
    write_text(out / "weights.csv", weights.to_csv(index=False))


if __name__ == "__main__":
    run_command(main)
