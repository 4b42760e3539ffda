"""Draw the pulse response of every device of config/devices.yaml, elements without spread.

    python benchmarks/device_figures.py

Writes docs/figures/devices-response.png.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import torch

from analogpipe.devices import Ideal
from analogpipe.pulse_response import draw
from analogpipe.seeds import generator
from analogpipe.tile_config import load_tiles

SPREADS = ("dw_min_dtod", "up_down_dtod", "w_max_dtod", "w_min_dtod")
SHAPES = ("gamma_up_dtod", "gamma_down_dtod", "pow_gamma_dtod", "reference_std")


def main() -> None:
    """Draw steps up and down over the weight, in units of dw_min."""
    tiles = {
        name: tile.device
        for name, tile in load_tiles("config/devices.yaml").items()
        if tile.transfer is None
    }
    figure, axes = plt.subplots(4, 4, figsize=(9, 8), layout="constrained")
    for axis in axes.flat[len(tiles) :]:
        axis.axis("off")
    for axis, (name, device) in zip(axes.flat, tiles.items(), strict=False):
        if isinstance(device, Ideal):
            continue
        plain = {key: 0.0 for key in (*SPREADS, *SHAPES) if hasattr(device, key)}
        response = draw(device.model_copy(update=plain), (1, 101), generator(0, name))
        weight = torch.linspace(device.w_min, device.w_max, 101).view(1, -1)
        steps = response.steps(weight, torch.empty(2, 1, 101)) / device.dw_min
        axis.plot(weight[0], steps[0, 0], label="up")
        axis.plot(weight[0], -steps[1, 0], label="down")
        axis.axhline(0, color="grey", linewidth=0.5)
        axis.set_title(name, fontsize=9)
    axes[0, 0].legend(frameon=False, fontsize=8)
    figure.supxlabel("weight")
    figure.supylabel("step of one pulse / dw_min")
    out = Path("docs/figures/devices-response.png")
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=130)


if __name__ == "__main__":
    main()
