"""Draw the devices of config/devices.yaml for the documentation.

    python benchmarks/device_figures.py

Writes docs/figures/devices-response.png, the steps of elements without spread, and
docs/figures/calibrated-NAME.png, the calibration of one device of each type.
"""

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes

from analogpipe.calibration import calibrate, write
from analogpipe.device.parameters import OneSided, Pulsed
from analogpipe.device.response import draw
from analogpipe.figures.device import draw_device
from analogpipe.profile.profile import load_devices
from analogpipe.seeds import generator

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


def responses() -> None:
    """Draw the steps of all devices."""
    tiles = {
        name: tile.device
        for name, tile in load_devices(Path("config/devices.yaml")).items()
        if tile.transfer is None
    }
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


def calibrations() -> None:
    """Draw the calibration of a device of each type."""
    tiles = load_devices(Path("config/devices.yaml"))
    for name in TYPES:
        with tempfile.TemporaryDirectory() as folder:
            write(calibrate(tiles[name], seed=0, name=name), Path(folder))
            draw_device(Path(folder), name, FOLDER / f"calibrated-{name}")
        (FOLDER / f"calibrated-{name}.pdf").unlink()


def main() -> None:
    """Draw all figures."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    responses()
    calibrations()


if __name__ == "__main__":
    main()
