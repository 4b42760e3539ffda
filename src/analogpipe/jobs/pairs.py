"""Compare the modes of a profile, seed by seed."""

from pathlib import Path
from typing import Annotated

import typer

from analogpipe.jobs.command import run
from analogpipe.profile.profile import load_profile
from analogpipe.results import layout, pairs
from analogpipe.results.headline import headline


def main(
    profile: Annotated[Path, typer.Option(help="YAML file of the profile")],
    root: Annotated[Path, typer.Option(help="results/PROFILE, with its runs and tables")],
) -> None:
    """Write the differences and ratios of the modes of a profile."""
    chosen = load_profile(profile)
    ladder, hardware = layout.read(root, "tables/ladder"), layout.read(root, "tables/hardware")
    differences = pairs.differences(root, chosen)
    ratios = pairs.ratios(chosen, ladder, hardware)
    losses = pairs.losses(layout.read(root, "tables/runs"), chosen)
    found = (differences, ratios, losses, headline(chosen, ratios, differences))
    layout.write(root, dict(zip(layout.PAIRED, found, strict=True)))


if __name__ == "__main__":
    run(main)
