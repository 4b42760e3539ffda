"""Judge the claims by the tables of a profile."""

from pathlib import Path
from typing import Annotated

import typer

from analogpipe.claims.evidence import Evidence
from analogpipe.claims.table import judge, show
from analogpipe.jobs.command import run
from analogpipe.profile.profile import load_profile
from analogpipe.results import layout


def main(
    profile: Annotated[Path, typer.Option(help="YAML file of the profile")],
    root: Annotated[Path, typer.Option(help="results/PROFILE, with its tables")],
    only_show: Annotated[
        bool, typer.Option("--show", help="print the table that is there")
    ] = False,
) -> None:
    """Judge the claims by the tables of a profile."""
    if not only_show:
        evidence = Evidence.read(root, load_profile(profile))
        layout.write(root, judge(evidence))
    show({name: layout.read(root, name) for name in layout.JUDGED})


if __name__ == "__main__":
    run(main)
