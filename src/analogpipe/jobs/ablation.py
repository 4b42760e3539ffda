"""Train a network on variants of a device with one seed: a part of a profile's ablation."""

import shutil
from pathlib import Path
from typing import Annotated

import torch
import typer

from analogpipe.experiment.ablation import ablation
from analogpipe.jobs.command import DataFile, run
from analogpipe.profile.profile import load_profile, load_tile
from analogpipe.results import layout
from analogpipe.settings import ConfigError


def main(
    profile: Annotated[Path, typer.Option(help="YAML file of the profile")],
    tile: Annotated[Path, typer.Option(help="tile of the device, as calibrated")],
    seed: Annotated[int, typer.Option(help="seed of weights, data order and noise")],
    root: Annotated[Path, typer.Option(help="results/PROFILE")],
    data_file: DataFile = None,
    threads: Annotated[int, typer.Option(help="threads of torch")] = 1,
) -> None:
    """Train all cells of an ablation with one seed; those that have ended are kept over a stop."""
    torch.set_num_threads(threads)
    settings = load_profile(profile)
    if settings.ablation is None:
        raise ConfigError(f"{profile}: ablation: missing, a value is required")
    kept = root / "ablation" / f"seed{seed}"
    rows = ablation(settings, settings.ablation, load_tile(tile), seed, kept, data_file)
    layout.write(root, {f"ablation/seed{seed}": rows})
    shutil.rmtree(kept, ignore_errors=True)


if __name__ == "__main__":
    run(main)
