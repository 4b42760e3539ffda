"""Measure a simulated array of a device, fit the device's model, write the device that training uses."""

from pathlib import Path
from typing import Annotated

import torch
import typer

from analogpipe.calibration.calibrate import CalibrationError, calibrate, write
from analogpipe.device.symmetric import SymmetricError
from analogpipe.files import FileError, write_text
from analogpipe.jobs.command import run
from analogpipe.profile.profile import load_devices
from analogpipe.tile.config import TileConfig
from analogpipe.tile.symmetric import symmetric_tile


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
    write_text(out / "symmetric.yaml", _twin(result.tile))
    if result.note:
        typer.echo(result.note)


def _twin(tile: TileConfig) -> str:
    """Return the symmetric twin of a calibrated tile as YAML. Where there is none, why: no tile can be
    read from that."""
    try:
        return symmetric_tile(tile).dump()
    except SymmetricError as error:
        return f"no_twin: {error}\n"


if __name__ == "__main__":
    run(main)
