"""Collect a sweep and say which learning rates it picks."""

from pathlib import Path
from typing import Annotated

import typer

from analogpipe.jobs.command import run
from analogpipe.profile.profile import load_profile
from analogpipe.results import layout
from analogpipe.results.sweep import collect, picks


def main(
    profile: Annotated[Path, typer.Option(help="YAML file of the profile")],
    root: Annotated[Path, typer.Option(help="results/PROFILE, with the runs of the sweep")],
) -> None:
    """Collect a sweep and say which learning rates it picks."""
    sweep = collect(root, load_profile(profile))
    found = picks(sweep)
    layout.write(root, {layout.SWEEP: sweep, layout.PICKS: found})
    typer.echo(found.to_string(index=False))


if __name__ == "__main__":
    run(main)
