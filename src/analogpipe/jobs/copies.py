"""Measure what copying weights between arrays costs, on the calibrated devices of a profile."""

from pathlib import Path
from typing import Annotated

import pandas as pd
import torch
import typer

from analogpipe.experiment.copies import COLUMNS, copies
from analogpipe.jobs.command import run
from analogpipe.profile.profile import load_profile, load_tile
from analogpipe.results import layout


def main(
    profile: Annotated[Path, typer.Option(help="YAML file of the profile")],
    root: Annotated[Path, typer.Option(help="results/PROFILE, with its calibrations")],
) -> None:
    """Copy a layer between arrays of each analog device of a profile, for each of its seeds."""
    torch.set_num_threads(1)
    settings = load_profile(profile)
    frames = [pd.DataFrame(columns=list(COLUMNS))] * (not settings.analog_devices)
    for device in settings.analog_devices:
        tile = load_tile(root / "calibration" / device / "device.yaml")
        frames.append(copies(device, tile, settings.seeds))
    layout.write(root, {layout.COPIES: pd.concat(frames, ignore_index=True)})


if __name__ == "__main__":
    run(main)
