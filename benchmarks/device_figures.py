"""Draw the devices of config/devices.yaml for the documentation.

    python benchmarks/device_figures.py

Writes docs/figures/devices-response.png, the steps of elements without spread, and
docs/figures/calibrated-NAME.png, the calibration of one device of each type. Calibrates all devices and
says how far, in standard errors, their parameters are found from the truth.
"""

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import torch
from matplotlib.axes import Axes

from analogpipe.calibration.calibrate import calibrate, write
from analogpipe.device.parameters import OneSided, Pulsed
from analogpipe.device.response import draw
from analogpipe.figures.device import draw_device
from analogpipe.profile.profile import load_devices
from analogpipe.seeds import generator
from analogpipe.tile.config import TileConfig

SPREADS = ("dw_min_dtod", "up_down_dtod", "w_max_dtod", "w_min_dtod")
SHAPES = ("gamma_up_dtod", "gamma_down_dtod", "pow_gamma_dtod", "reference_std")
FOLDER = Path("docs/figures")
TYPES = (
    "constant-step",
    "linear-step",
    "linear-tau0.6",
    "soft-bounds-reference",
    "exponential",
    "power",
    "pcm",
)


def steps_of(axis: Axes, device: Pulsed | OneSided, name: str) -> None:
    """Draw steps up and down over the weight, in units of dw_min.

    Those of a pair start from where the other element is at 0.
    """
    element = device.element if isinstance(device, OneSided) else device
    plain = {key: 0.0 for key in (*SPREADS, *SHAPES) if hasattr(element, key)}
    response = draw(element.model_copy(update=plain), (1, 101), generator(0, name))
    weight = torch.linspace(element.w_min, element.w_max, 101).view(1, -1)
    up, down = response.steps(weight, torch.empty(2, 1, 101)) / element.dw_min
    axis.plot(weight[0], up[0], label="up")
    if element is device:
        axis.plot(weight[0], -down[0], label="down")
    else:
        axis.plot(-weight[0], -up[0], label="down")
    axis.axhline(0, color="grey", linewidth=0.5)
    axis.set_title(name, fontsize=9)


def plain_devices() -> dict[str, TileConfig]:
    """Return the devices that learn by plain pulses: the others have the same elements under another rule."""
    return {
        name: tile
        for name, tile in load_devices(Path("config/devices.yaml")).items()
        if tile.transfer is None and tile.mixed_precision is None
    }


def responses() -> None:
    """Draw the steps of all devices."""
    tiles = {name: tile.device for name, tile in plain_devices().items()}
    figure, axes = plt.subplots(4, 4, figsize=(9, 8), layout="constrained")
    for axis in axes.flat[len(tiles) :]:
        axis.axis("off")
    for axis, (name, device) in zip(axes.flat, tiles.items(), strict=False):
        if isinstance(device, Pulsed | OneSided):
            steps_of(axis, device, name)
    axes[0, 0].legend(frameon=False, fontsize=8)
    figure.supxlabel("weight")
    figure.supylabel("step of one pulse / dw_min")
    figure.savefig(FOLDER / "devices-response.png", dpi=130)


def calibrations() -> pd.DataFrame:
    """Calibrate all devices, draw one of each type, and return the parameters found with their pulls."""
    frames = []
    for name, tile in plain_devices().items():
        with tempfile.TemporaryDirectory() as folder:
            write(calibrate(tile, seed=0, name=name), Path(folder))
            frames.append(pd.read_csv(Path(folder) / "summary.csv").assign(device=name))
            if name in TYPES:
                draw_device(Path(folder), name, FOLDER / f"calibrated-{name}")
                (FOLDER / f"calibrated-{name}.pdf").unlink()
    found = pd.concat(frames, ignore_index=True)
    return found.assign(pull=(found["fitted"] - found["true"]) / found["std_error"])


def main() -> None:
    """Draw all figures."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    responses()
    found = calibrations()
    told = found[found["std_error"] > 0]
    print(told.loc[told["pull"].abs().sort_values().index[-5:]].to_string())
    rms = told["pull"].pow(2).mean() ** 0.5
    print(f"{len(told)} parameters of {found['device'].nunique()} devices, rms {rms:.2f} errors")


if __name__ == "__main__":
    main()
