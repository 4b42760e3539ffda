"""Make the theory's tables from its runs."""

from pathlib import Path
from typing import Annotated

import typer

from analogpipe.jobs.command import run
from analogpipe.profile.profile import load_profile
from analogpipe.results import layout
from analogpipe.settings import ConfigError
from analogpipe.theory.tables import tables


def main(
    profile: Annotated[Path, typer.Option(help="YAML file of the profile")],
    root: Annotated[Path, typer.Option(help="results/PROFILE, with its theory runs")],
) -> None:
    """Make the theory's tables from its runs."""
    sizes = load_profile(profile).theory
    if sizes is None:
        raise ConfigError(f"{profile}: theory: missing, a value is required")
    layout.write(root, tables(root, sizes))


if __name__ == "__main__":
    run(main)
