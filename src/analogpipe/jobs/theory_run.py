"""Run one experiment of a profile's theory section."""

from pathlib import Path
from typing import Annotated

import pandas as pd
import torch
import typer

from analogpipe.jobs.command import run
from analogpipe.profile.profile import load_profile
from analogpipe.results import layout
from analogpipe.settings import ConfigError
from analogpipe.theory import runs


def main(
    experiment: Annotated[str, typer.Option(help=f"one of {', '.join(layout.EXPERIMENTS)}")],
    profile: Annotated[Path, typer.Option(help="YAML file of the profile")],
    root: Annotated[Path, typer.Option(help="results/PROFILE")],
) -> None:
    """Run one experiment of a profile's theory section."""
    torch.set_num_threads(1)
    sizes = load_profile(profile).theory
    if sizes is None:
        raise ConfigError(f"{profile}: theory: missing, a value is required")
    if experiment.startswith("rates-"):
        rows = runs.rates(sizes, experiment.removeprefix("rates-"))
    elif experiment == "floor":
        rows = runs.floor(sizes)
    else:
        allowed = ", ".join(layout.EXPERIMENTS)
        raise ConfigError(f"experiment: found {experiment}, allowed: {allowed}")
    layout.write(root, {f"theory/{experiment}": pd.DataFrame(rows)})


if __name__ == "__main__":
    run(main)
