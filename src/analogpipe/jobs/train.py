"""Train a network of a profile with one seed or several, each into a folder of its own."""

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
    rate: Annotated[float, typer.Option(help="a learning rate, before the factor of the mode")],
    seed: Annotated[list[int], typer.Option(help="seed of weights, data order and noise; repeat")],
    out: Annotated[Path, typer.Option(help="folder for the folders seedN of the runs")],
    tile: Annotated[
        Path | None, typer.Option(help="tile of an analog device, as calibrated")
    ] = None,
    validation: Annotated[bool, typer.Option(help="test on held-out training images")] = False,
    data_file: DataFile = None,
    threads: Annotated[int, typer.Option(help="threads of torch")] = 1,
) -> None:
    """Train one network with each seed and write its metrics."""
    torch.set_num_threads(threads)
    chosen, array = load_profile(profile), load_tile(tile) if tile else None
    for one in seed:
        run = chosen.run(device, mode, stages, one, tile=array, rate=rate, validation=validation)
        # the workflow says what is out of date
        train(run, out / f"seed{one}", data_file, others="replace")


if __name__ == "__main__":
    run_command(main)
