"""Measure a simulated array of a device, fit the device's model, write the device that training uses."""

from pathlib import Path
from typing import Annotated

import torch
import typer

from analogpipe.calibration.calibrate import CalibrationError, calibrate, write
from analogpipe.files import FileError
from analogpipe.jobs.command import run
from analogpipe.profile.profile import load_devices


def main(
    devices: Annotated[Path, typer.Option(help="YAML file of named tiles")],
    name: Annotated[str, typer.Option(help="tile to calibrate")],
    out: Annotated[Path, typer.Option(help="folder for the results")],
    seed: Annotated[int, typer.Option(help="seed of the simulated array")] = 0,
) -> None:
    """Measure a simulated array of a device and write its calibration."""
    torch.set_num_threads(1)  # the arrays are small
    tiles = load_devices(devices)
    if name not in tiles:
        raise FileError(f"{devices}: found {name}, allowed: {', '.join(tiles)}")
    try:
        result = calibrate(tiles[name], seed=seed, name=name)
    except CalibrationError as error:
        raise FileError(f"{devices}: {name}: {error}") from None
    write(result, out)
    if result.note:
        typer.echo(result.note)


if __name__ == "__main__":
    run(main)
