"""Say what the runs of a profile take on every accelerator."""

from pathlib import Path
from typing import Annotated

import typer

from analogpipe.jobs.command import run
from analogpipe.profile.profile import load_profile
from analogpipe.results import hardware, layout


def main(
    profile: Annotated[Path, typer.Option(help="YAML file of the profile")],
    root: Annotated[Path, typer.Option(help="results/PROFILE, with its runs and tables")],
) -> None:
    """Price the events of the runs of a profile."""
    layout.write(root, hardware.tables(root, load_profile(profile)))


if __name__ == "__main__":
    run(main)
