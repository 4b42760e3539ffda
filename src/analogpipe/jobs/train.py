"""Train one network: a run of a profile, into one folder."""

from pathlib import Path
from typing import Annotated

import torch
import typer

from analogpipe.experiment.train import train
from analogpipe.jobs.command import DataFile
from analogpipe.jobs.command import run as run_command
from analogpipe.profile.profile import load_profile, load_tile


def main(
    profile: Annotated[Path, typer.Option(help="YAML file of the profile")],
    device: Annotated[str, typer.Option(help="'digital' or a device of the profile")],
    mode: Annotated[str, typer.Option(help="a mode of the profile")],
    stages: Annotated[int, typer.Option(help="number of stages")],
    seed: Annotated[int, typer.Option(help="seed of weights, data order and noise")],
    out: Annotated[Path, typer.Option(help="folder for metrics.csv and run.json")],
    tile: Annotated[
        Path | None, typer.Option(help="tile of an analog device, as calibrated")
    ] = None,
    learning_rate: Annotated[float | None, typer.Option(help="instead of the profile's")] = None,
    validation: Annotated[bool, typer.Option(help="test on held-out training images")] = False,
    data_file: DataFile = None,
    threads: Annotated[int, typer.Option(help="threads of torch")] = 1,
) -> None:
    """Train one network and write its metrics."""
    torch.set_num_threads(threads)
    run = load_profile(profile).run(
        device,
        mode,
        stages,
        seed,
        tile=load_tile(tile) if tile else None,
        learning_rate=learning_rate,
        validation=validation,
    )
    train(run, out, data_file, others="replace")  # the workflow says what is out of date


if __name__ == "__main__":
    run_command(main)
