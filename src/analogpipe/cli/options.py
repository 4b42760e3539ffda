"""What commands share: options, the run that they describe, and figures in the format of a name."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from analogpipe.files import FileError

if TYPE_CHECKING:
    from analogpipe.hardware.config import Hardware
    from analogpipe.profile.profile import Profile, Run

ProfileName = Annotated[
    str, typer.Argument(metavar="PROFILE", help="YAML file, or the name of one in config/")
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="use instead of the profile's; repeatable"),
]
Device = Annotated[str, typer.Option(help="'digital' or a device of the devices file")]
ModeName = Annotated[str, typer.Option(help="a mode of the profile")]
Stages = Annotated[int, typer.Option(help="number of stages, M")]
LearningRate = Annotated[float | None, typer.Option(help="instead of the profile's")]
Tile = Annotated[
    Path | None,
    typer.Option(help="calibrated tile of the device, instead of its entry in the devices file"),
]

HardwareName = Annotated[
    str | None,
    typer.Option(
        "--hardware",
        metavar="NAME|FILE",
        help="an accelerator: rpu, ibm-proj, reram-14 or a YAML file",
    ),
]


def hardware_of(name: str | None) -> "Hardware | None":
    """Return an accelerator by its name or file, None for none."""
    from analogpipe.hardware.presets import load

    return None if name is None else load(name)


def profile_with(name: str, changes: list[str] | None) -> tuple[Path, "Profile"]:
    """Return a profile, with changes, and where it was found."""
    from analogpipe.profile.paths import profile_file
    from analogpipe.profile.profile import load_profile

    path = profile_file(name)
    return path, load_profile(path, changes or ())


def run_of(
    path: Path,
    profile: "Profile",
    device: str,
    mode: str,
    stages: int,
    seed: int,
    learning_rate: float | None,
    tile: Path | None,
) -> "Run":
    """Return the configuration of one run; a device outside the profile needs a learning rate."""
    from analogpipe.profile.profile import DIGITAL, load_devices, load_tile

    chosen = None
    if tile is not None:
        chosen = load_tile(tile)
    elif device != DIGITAL:
        known = load_devices(path.parent / profile.devices_file)
        if device not in known:
            raise FileError(f"device: found {device}, allowed: {', '.join([DIGITAL, *known])}")
        chosen = known[device]
    if device not in profile.devices:
        if learning_rate is None:
            raise FileError(f"{path}: has no learning rate for {device}; give --learning-rate")
        profile = profile.model_copy(update={"devices": [*profile.devices, device]})
    return profile.run(device, mode, stages, seed, tile=chosen, rate=learning_rate)


def save_figure(figure: Any, out: Path, allowed: str = "a name that ends in ") -> None:
    """Write a figure in the format of the file's suffix."""
    import io

    from analogpipe.files import write_bytes

    if out.suffix not in (".pdf", ".png", ".svg"):
        raise FileError(f"--out: found {out}, allowed: {allowed}.pdf, .png, .svg")
    drawn = io.BytesIO()
    figure.savefig(drawn, format=out.suffix[1:], dpi=200)
    write_bytes(out, drawn.getvalue())
