"""Aggregate the runs of a profile into tables."""

from pathlib import Path
from typing import Annotated

import typer

from analogpipe.jobs.command import run
from analogpipe.profile.profile import load_profile
from analogpipe.results import layout
from analogpipe.results.tables import aggregate


def main(
    profile: Annotated[Path, typer.Option(help="YAML file of the profile")],
    root: Annotated[Path, typer.Option(help="results/PROFILE, with its runs and schedules")],
) -> None:
    """Aggregate the run files of a profile into tables."""
    layout.write(root, aggregate(root, load_profile(profile)))


if __name__ == "__main__":
    run(main)
