"""Commands that make something: train a network, calibrate a device; and check the files for it."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from analogpipe.cli.options import (
    Device,
    LearningRate,
    ModeName,
    ProfileName,
    Set,
    Stages,
    Tile,
    profile_with,
    run_of,
)
from analogpipe.files import FileError


def train(
    profile: ProfileName,
    device: Device = "digital",
    mode: ModeName = "async",
    stages: Stages = 4,
    seed: Annotated[int, typer.Option(help="seed of weights, data order and noise")] = 0,
    learning_rate: LearningRate = None,
    tile: Tile = None,
    changes: Set = None,
    out: Annotated[
        Path | None, typer.Option(help="folder [results/manual/PROFILE/DEVICE/MODE/M*/seed*]")
    ] = None,
    overwrite: Annotated[bool, typer.Option(help="replace the run that is in the folder")] = False,
    extend: Annotated[
        bool, typer.Option(help="train the run that is in the folder on, to more epochs")
    ] = False,
    threads: Annotated[int, typer.Option(min=1, help="threads of torch")] = 1,
) -> None:
    """Train one network; writes metrics.csv, run.json and schedule.txt.

    \b
    Example: analogpipe train quick --device linear-tau0.6 --stages 4 --set training.epochs=3
    """
    run = run_of(*profile_with(profile, changes), device, mode, stages, seed, learning_rate, tile)
    folder = out or Path(
        "results", "manual", run.profile, device, mode, f"M{stages}", f"seed{seed}"
    )
    if overwrite and extend:
        raise FileError("--overwrite starts anew, --extend goes on: give one of them")
    if (folder / "run.json").exists() and not (overwrite or extend):
        raise FileError(
            f"{folder}: holds a run already; give another --out, --overwrite, or --extend to train it "
            "on to more epochs"
        )

    import torch

    from analogpipe.experiment import record
    from analogpipe.experiment import train as training

    torch.set_num_threads(threads)
    if overwrite:
        record.remove(folder)
    training.train(run, folder, others="extend" if extend else "refuse", keep=True)
    typer.echo(f"written to {folder}")


def calibrate(
    device: Annotated[str, typer.Argument(help="a device of the devices file, or a preset")],
    measured: Annotated[
        Path | None,
        typer.Option(help="CSV of a measurement (--format): fit the device's type to it"),
    ] = None,
    form: Annotated[
        Literal["pulses", "columns", "turn"],
        typer.Option(
            "--format",
            help="pulses: pulse, polarity, conductance, element; columns: a column under up pulses, one "
            "under down pulses; turn: pulse and value, up then down",
        ),
    ] = "pulses",
    reach: Annotated[
        float,
        typer.Option(min=0, help="weight at the ends of the measured range; 0: they are weights"),
    ] = 0.6,
    devices: Annotated[Path, typer.Option(help="YAML file of named tiles")] = Path(
        "config/devices.yaml"
    ),
    seed: Annotated[int, typer.Option(help="seed of a simulated array")] = 0,
    out: Annotated[Path | None, typer.Option(help="folder [results/manual/calibration/DEVICE]")] = (
        None
    ),
) -> None:
    """Fit a device to its measured pulse response; writes device.yaml, tables and a figure.

    \b
    Example: analogpipe calibrate linear-tau0.6
    Example: analogpipe calibrate linear-tau0.6 --measured mine.csv --format columns --out mine
    """
    from analogpipe.calibration import calibrate as calibration
    from analogpipe.cli import terminal
    from analogpipe.device.presets import PRESETS
    from analogpipe.figures import device as device_figures
    from analogpipe.profile.profile import load_devices
    from analogpipe.tile.config import TileConfig

    known = load_devices(devices)
    if device not in known and device not in PRESETS:
        allowed = ", ".join([*known, *PRESETS])
        raise FileError(f"device: found {device}, allowed: {allowed}")
    tile = known[device] if device in known else TileConfig.parse({"preset": device})
    if measured is None:
        result = calibration.calibrate(tile, seed=seed, name=device)
    else:
        result = calibration.calibrate_csv(measured, kind=tile, reach=reach or None, form=form)
    folder = out or Path("results", "manual", "calibration", device)
    calibration.write(result, folder)
    device_figures.draw_device(folder, device, folder / "device")
    screen = terminal.console()
    screen.print(terminal.frame(result.summary))
    if result.note:
        typer.echo(result.note)
    typer.echo(f"written to {folder}; train with --tile {folder / 'device.yaml'}")


def validate(
    file: Annotated[str, typer.Argument(help="YAML file, or the name of a profile in config/")],
    devices: Annotated[
        bool, typer.Option("--devices", help="it is a devices file, not a profile")
    ] = False,
    changes: Set = None,
) -> None:
    """Check a profile, or a devices file, and say what it holds. Runs nothing.

    \b
    Example: analogpipe validate config/quick.yaml --set stages=[1,2]
    """
    from analogpipe.profile.paths import profile_file
    from analogpipe.profile.profile import load_devices, load_profile

    path = profile_file(file)
    if devices:
        if changes:
            raise FileError("--set: found with --devices, allowed: with a profile")
        known = load_devices(path)
        typer.echo(f"{path}: valid, {len(known)} devices: {', '.join(known)}")
        return
    profile = load_profile(path, changes or ())
    counts = {mode: len(profile.trained_stages(mode)) for mode in profile.modes}
    runs = len(profile.devices) * len(profile.seeds) * sum(counts.values())
    typer.echo(
        f"{path}: valid, {runs} training runs: {len(profile.devices)} devices, "
        f"{len(profile.seeds)} seeds, stage counts by mode "
        + ", ".join(f"{mode} {count}" for mode, count in counts.items())
    )
