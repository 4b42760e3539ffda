"""Download or decode the data set of a profile once, for all its runs."""

import json
from pathlib import Path
from typing import Annotated

import typer

from analogpipe.experiment.datasets import read, write
from analogpipe.jobs.command import run as run_command
from analogpipe.profile.profile import load_profile


def main(
    profile: Annotated[Path, typer.Option(help="YAML file of the profile")],
    out: Annotated[Path, typer.Option(help="safetensors file to write")],
) -> None:
    """Download or decode the data set of a profile once."""
    config = load_profile(profile).dataset
    arrays = read(config, download=True)
    write(arrays, config, out)
    sizes = {"training samples": len(arrays.train_inputs), "test samples": len(arrays.test_inputs)}
    typer.echo(json.dumps({**sizes, "shape": arrays.train_inputs.shape[1:]}))


if __name__ == "__main__":
    run_command(main)
