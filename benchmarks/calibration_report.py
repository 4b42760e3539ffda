"""Calibrate simulated measurements over a grid, and count how often the truth is found.

    python benchmarks/calibration_report.py

For each device type: asymmetry, states, length of the trains, noise of pulses and of readings; single
elements, and arrays of spread elements. A third of all combinations.
Writes docs/figures/calibration-report.csv, a line for each cell, and calibration-report.png. A pull is
the distance of a fitted parameter from the truth in its standard errors. What calibration says to be
undetermined is counted apart.
"""

import itertools
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch

from analogpipe.calibration.calibrate import fit_measurement
from analogpipe.calibration.measure import Measurement
from analogpipe.device.parameters import (
    ConstantStep,
    ExpStep,
    LinearStep,
    PowStep,
    Pulsed,
    SoftBounds,
    SoftBoundsReference,
)
from analogpipe.device.response import draw
from analogpipe.layer.linear import AnalogLinear
from analogpipe.seeds import generator
from analogpipe.tile.config import TileConfig

FOLDER = Path("docs/figures")
KINDS: dict[type[Pulsed], dict[str, float]] = {
    ConstantStep: {},
    LinearStep: {"gamma_up": 0.5, "gamma_down": 0.3, "gamma_up_dtod": 0, "gamma_down_dtod": 0},
    SoftBounds: {},
    SoftBoundsReference: {},
    ExpStep: {},
    PowStep: {"pow_gamma": 1.5, "pow_gamma_dtod": 0},
}
ASYMMETRIES = (0.0, 0.3)
STATES = (10, 40, 200, 2000)
LENGTHS = (0.5, 1.5)
"""Pulses of a train over states; at least 10."""
NOISES = ((0.3, 0.0), (0.3, 0.02), (1.0, 0.05))
"""Noise of a pulse over its size, and of a reading over the range."""
ELEMENTS = (1, 10)
"""One element without spread, or several with the spreads of a device."""
REPEATS = {1: 4, 10: 1}
SINGLE = {"dw_min_dtod": 0.0, "up_down_dtod": 0.0, "w_max_dtod": 0.0, "w_min_dtod": 0.0}


def measured(device: Pulsed, pulses: int, read: float, elements: int, seed: int) -> Measurement:
    """Readings of elements under ``pulses`` up and as many down, twice, from the middle of the range."""
    response = draw(device, (1, elements), generator(seed, "report"))
    stream = generator(seed, "report", "pulses")
    weight = torch.zeros(1, elements).clamp(response.low, response.high)
    up = np.tile(np.repeat([True, False], pulses), 2 if pulses < 200 else 1)
    values = [weight[0].numpy().copy()]
    for one in up:
        response.pulse(weight, torch.tensor(bool(one)), stream)
        values.append(weight[0].numpy().copy())
    noise = np.random.default_rng(seed).standard_normal((len(values), elements))
    readings = np.array(values, dtype=np.float64) + read * noise
    return Measurement(readings[:-1], readings[1:], up, np.where(up, 0, 1).astype(np.int64))


def can_be_trained(tile: TileConfig) -> bool:
    """Whether an update of a layer of such devices gives finite weights."""
    layer = AnalogLinear(3, 2, tile, seed=0, name="report")
    layer(torch.ones(2, 3)).square().sum().backward()
    layer.update(0.1)
    return bool(torch.isfinite(layer.tile.weight).all())


def cell(device: Pulsed, pulses: int, read: float, elements: int, number: int) -> dict[str, float]:
    """Calibrate a few measurements of one cell."""
    pulls, unknown, usable = [], 0, True
    for seed in range(10 * number, 10 * number + REPEATS[elements]):
        data = measured(device, pulses, read, elements, seed)
        result = fit_measurement(TileConfig(device=device), device, data, None)
        usable &= can_be_trained(result.tile)
        for _, row in result.summary.iterrows():
            name = str(row.parameter)
            if name == "read_noise" or (elements == 1 and name.endswith("_dtod")):
                continue
            if isinstance(device, SoftBoundsReference) and name.startswith("up_down"):
                continue  # relative to the reference
            if row.note:
                unknown += 1
            else:
                # a bound that is seen without noise has no error but rounding
                true = getattr(device, name)
                pulls.append((row.fitted - true) / (row.std_error + 1e-6 * abs(true)))
    size = np.abs(pulls) if pulls else np.array([])
    return {
        "found": len(pulls),
        "undetermined": unknown,
        "within_95": int((size < 1.96).sum()),
        "rms_pull": float(np.sqrt(np.mean(size**2))) if pulls else float("nan"),
        "largest_pull": float(size.max()) if pulls else float("nan"),
        "usable": usable,
    }


def grid() -> pd.DataFrame:
    """Calibrate all cells."""
    rows = []
    for kind, shape in KINDS.items():
        choices = (ASYMMETRIES, STATES, LENGTHS, NOISES, ELEMENTS)
        for places in itertools.product(*(range(len(one)) for one in choices)):
            if sum(places) % 3:
                continue
            asymmetry, states, length, (pulse, read), elements = (
                one[i] for one, i in zip(choices, places, strict=True)
            )
            spread = SINGLE if elements == 1 else {}
            device = kind(
                dw_min=1.2 / states, up_down=asymmetry, dw_min_std=pulse, **shape, **spread
            )
            pulses = max(int(length * states), 10)
            found = cell(device, pulses, read * 1.2, elements, len(rows))
            values = {
                "kind": device.kind,  # type: ignore[attr-defined]
                "asymmetry": asymmetry,
                "states": states,
                "pulses": pulses,
                "pulse_noise": pulse,
                "read_noise": read,
                "elements": elements,
            }
            rows.append(values | found)
            print(*rows[-1].values(), flush=True)
    return pd.DataFrame(rows)


def figure(table: pd.DataFrame) -> None:
    """Draw, for each type, how many 95 % intervals hold the truth, and how much is undetermined."""
    shown, axes = plt.subplots(2, 3, figsize=(9, 5), sharex=True, sharey=True, layout="constrained")
    for panel, (kind, cells) in zip(axes.flat, table.groupby("kind", sort=False), strict=True):
        panel.axhspan(0.90, 0.98, color="grey", alpha=0.2, linewidth=0)
        for elements, marker in zip(ELEMENTS, "os", strict=True):
            sums = cells[cells["elements"] == elements].groupby("states").sum(numeric_only=True)
            part = sums["within_95"] / sums["found"]
            error = np.sqrt(part * (1 - part) / sums["found"])
            label = "one element" if elements == 1 else f"{elements} elements"
            panel.errorbar(sums.index, part, error, marker=marker, capsize=2, label=label)
            open_part = sums["undetermined"] / (sums["undetermined"] + sums["found"])
            color = panel.get_lines()[-1].get_color()
            panel.plot(sums.index, open_part, color=color, linestyle=":", label=None)
        panel.set(title=kind, xscale="log", ylim=(0, 1.03))
    axes[0, 0].plot([], [], color="black", linestyle=":", label="undetermined")
    axes[0, 0].legend(frameon=False, fontsize=8)
    shown.supxlabel("states")
    shown.supylabel("part of the parameters: 95 % interval holds the truth")
    shown.savefig(FOLDER / "calibration-report.png", dpi=130)


def main() -> None:
    """Write the table and the figure."""
    torch.set_num_threads(1)
    table = grid()
    table.to_csv(FOLDER / "calibration-report.csv", index=False, float_format="%.3g")
    figure(table)


if __name__ == "__main__":
    main()
