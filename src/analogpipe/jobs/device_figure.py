"""Draw the figure of a calibrated device."""

from pathlib import Path
from typing import Annotated

import typer

from analogpipe.figures.device import draw_device
from analogpipe.jobs.command import run


def main(
    calibration: Annotated[Path, typer.Option(help="folder with response.csv and elements.csv")],
    name: Annotated[str, typer.Option(help="name of the device")],
    out: Annotated[Path, typer.Option(help="folder for the figure, NAME.pdf and NAME.png")],
) -> None:
    """Draw the figure of a calibrated device."""
    draw_device(calibration, name, out / name)


if __name__ == "__main__":
    run(main)
