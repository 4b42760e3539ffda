"""Make the tables of a profile's ablation from its runs."""

from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

from analogpipe.jobs.command import run
from analogpipe.profile.profile import load_profile, load_tile
from analogpipe.results import layout
from analogpipe.results.ablation import cells, shares
from analogpipe.settings import ConfigError


def main(
    profile: Annotated[Path, typer.Option(help="YAML file of the profile")],
    tile: Annotated[Path, typer.Option(help="tile of the device, as calibrated")],
    root: Annotated[Path, typer.Option(help="results/PROFILE, with the runs of the ablation")],
) -> None:
    """Write all runs of an ablation, the means of its cells, and each factor's share of the gap."""
    chosen = load_profile(profile).ablation
    if chosen is None:
        raise ConfigError(f"{profile}: ablation: missing, a value is required")
    runs = pd.concat(
        [layout.read(root, f"ablation/seed{seed}") for seed in chosen.seeds], ignore_index=True
    )
    found = (runs, cells(runs), shares(runs, chosen.levels(load_tile(tile))))
    layout.write(root, dict(zip(layout.ABLATION, found, strict=True)))


if __name__ == "__main__":
    run(main)
