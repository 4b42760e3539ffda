"""Where `pulsed` and `pulse_train` part: error of mean and spread against the size of a micro-batch.

    python benchmarks/pulsed_limit.py

For linear devices (soft bounds) without spread, batches of 1 to 64 samples and learning rates from
a fraction of a pulse to saturated pulse trains. Writes docs/figures/devices-pulsed-limit.png and
the numbers beside it as CSV.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import torch

from analogpipe.device.parameters import SoftBounds
from analogpipe.device.response import draw
from analogpipe.seeds import generator
from analogpipe.tile.sections import UpdateConfig
from analogpipe.tile.update import Updater

OUT = Path("docs/figures/devices-pulsed-limit")
ROWS, COLUMNS, REPEATS = 40, 30, 40
DEVICE = SoftBounds(
    dw_min=0.002, w_max_dtod=0, w_min_dtod=0, dw_min_dtod=0, up_down_dtod=0, dw_min_std=0.3
)


def changes(rule: str, samples: int, lr: float) -> torch.Tensor:
    """Weight changes from 0.3 by one micro-batch, (repeats, out, in), double."""
    x = torch.rand(samples, COLUMNS, generator=generator(0, "x", samples))
    e = 0.1 * torch.randn(samples, ROWS, generator=generator(0, "e", samples))
    stream = generator(0, rule, samples)
    response = draw(DEVICE, (ROWS, COLUMNS), stream)
    config = UpdateConfig(rule=rule)  # type: ignore[arg-type]
    results = []
    for _ in range(REPEATS):
        weight = torch.full((ROWS, COLUMNS), 0.3)
        Updater(weight, response, DEVICE.granularity, config, stream).apply(x, e, lr)
        results.append(weight.double() - 0.3)
    return torch.stack(results)


def main() -> None:
    """Run the grid and draw it."""
    torch.set_num_threads(1)
    rows = []
    for samples in (1, 4, 16, 64):
        for lr in (0.01, 0.03, 0.1, 0.3, 1.0):
            ours, trains = (changes(rule, samples, lr) for rule in ("pulsed", "pulse_train"))
            size = float(trains.mean(0).norm())
            noise = float((trains.var(0).sum() / REPEATS).sqrt())
            mean = float((ours.mean(0) - trains.mean(0)).norm())
            # the noise of both averages, taken off
            excess = max(mean**2 - 2 * noise**2, 0.0) ** 0.5
            spread = float((ours.var(0).mean() / trains.var(0).mean()).sqrt()) - 1
            rows.append(
                {
                    "samples": samples,
                    "learning_rate": lr,
                    "mean_error": excess / size,
                    "mean_error_noise": noise / size,
                    "spread_error": spread,
                }
            )
    table = pd.DataFrame(rows)
    OUT.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(OUT.with_suffix(".csv"), index=False, float_format="%.4f")
    figure, axes = plt.subplots(1, 2, figsize=(7, 3), layout="constrained")
    for samples, part in table.groupby("samples"):
        label = f"{samples} samples"
        axes[0].plot(part.learning_rate, 100 * part.mean_error, "o-", label=label)
        axes[1].plot(part.learning_rate, 100 * part.spread_error, "o-", label=label)
    for axis, what in zip(axes, ("mean change", "spread"), strict=True):
        axis.set(xscale="log", xlabel="learning rate", ylabel=f"error of the {what} (%)")
        axis.axhline(0, color="grey", linewidth=0.5)
    axes[0].legend(frameon=False)
    figure.savefig(OUT.with_suffix(".png"), dpi=150)
    print(table.to_string(index=False))


if __name__ == "__main__":
    main()
