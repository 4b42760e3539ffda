"""What copying weights between arrays costs, and when data-parallel training pays against a pipeline.

    python benchmarks/weight_copies.py [--figure-only]

A matrix is programmed to other arrays through the device model, for several devices and numbers of
reads: error against iterations, with time and energy on the published accelerators. Then 2, 4 and 8
replicas of the quick profile's network learn from their own samples and are brought together every
so many steps, beside the async pipeline on as many accelerators. Writes docs/figures/hardware-copies
and docs/figures/hardware-replicas as CSV, and one figure of both.
"""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
import torch
from matplotlib.figure import Figure

from analogpipe.experiment import data, events
from analogpipe.experiment.copies import MOST, arrays, spent
from analogpipe.experiment.copy import program, read_out
from analogpipe.experiment.replicas import Copying, Replicas
from analogpipe.experiment.train import train
from analogpipe.figures.style import COLUMN, draw
from analogpipe.hardware import cost
from analogpipe.hardware.layers import cut
from analogpipe.hardware.presets import PRESETS
from analogpipe.hardware.run import OnHardware
from analogpipe.profile.profile import Run, load_devices, load_profile
from analogpipe.profile.rule import of_tile
from analogpipe.results.run import read

COPIES, REPLICAS = (Path(f"docs/figures/hardware-{name}.csv") for name in ("copies", "replicas"))
DEVICES = {"linear-tau0.6": "linear, tau 0.6", "ecram": "EcRam", "reram-sb": "ReRamSB"}
READS = (1, 4, 16)
ACCELERATORS, EVERY, SEEDS, EPOCHS, TARGET = (2, 4, 8), (4, 16, 64), (0, 1), 6, 0.9
HOW = {"iterations": 4, "reads": 16}
# of 0.025, 0.05 and 0.1 the best with 4 replicas brought together every 16 steps, seed 0
REPLICAS_RATE = 0.05


def copies() -> pd.DataFrame:
    """Copy uniform weights from one array to another, through reads alone."""
    rows = []
    for device, tile in load_devices("config/devices.yaml").items():
        if device not in DEVICES:
            continue
        for reads in READS:
            source, other = arrays(tile, seed=0)
            truth, target, slots = source.weight.clone(), read_out(source, reads), 0.0
            spread = float(truth.square().mean().sqrt())
            for after in program(other, target, iterations=MOST, reads=reads, verify=truth):
                slots += after.slots
                done = {"iterations": after.iteration, "slots": slots / after.iteration}
                for name, hardware in PRESETS.items():
                    took = spent(hardware, reads=reads, **done)
                    rows.append(
                        {
                            "device": device,
                            "reads": reads,
                            "iteration": after.iteration,
                            "error": after.error,
                            "relative_error": after.error / spread,
                            "hardware": name,
                            "seconds": took.seconds,
                            "joules": took.joules,
                        }
                    )
    return pd.DataFrame(rows)


def of_replicas(run: Run, samples: data.Data, replicas: int, every: int) -> list[dict[str, object]]:
    """Train replicas; what that takes on every accelerator, with the break-even of the period."""
    made = Replicas(run, samples, replicas, Copying(every=every, **HOW))
    epochs = pd.DataFrame(made.train(EPOCHS, REPLICAS_RATE))
    size = run.training.micro_batch
    steps = epochs["samples"] / size / replicas
    blocks = events.blocks(run, samples)
    rows = []
    for name, hardware in PRESETS.items():
        alone = OnHardware(cut(blocks, 1), of_tile(run.tile), hardware, size).run("sequential", 1)
        copied = cost.exchange(
            [layer for block in blocks for layer in block.layers],
            hardware,
            iterations=HOW["iterations"],
            slots=hardware.phases * made.slots,
            reads=HOW["reads"],
        )
        piped = OnHardware(cut(blocks, replicas), of_tile(run.tile), hardware, size)
        period = (piped.run("async", 1001).seconds - piped.run("async", 501).seconds) / 500
        gained = replicas * period - alone.seconds
        seconds = steps * alone.seconds + epochs["copies"] * copied.seconds
        joules = replicas * (steps * alone.joules + epochs["copies"] * copied.joules)
        rows.append(
            {
                "method": "replicas",
                "every": every,
                "hardware": name,
                **_summary(epochs["test_accuracy"], seconds, joules),
                "copy_seconds": copied.seconds,
                "break_even": copied.seconds / gained if gained > 0 else float("inf"),
            }
        )
    return rows


def of_pipeline(run: Run, samples: data.Data) -> list[dict[str, object]]:
    """Train a pipeline; what that takes on every accelerator."""
    with TemporaryDirectory() as folder:
        train(run, Path(folder))
        found = read(Path(folder))
    blocks = events.blocks(run, samples)  # trains of the accelerator's length, as those of replicas
    rows = []
    for name, hardware in PRESETS.items():
        on = OnHardware(
            cut(blocks, run.stages), of_tile(run.tile), hardware, run.training.micro_batch
        )
        spent = [
            on.run("async", n // run.training.micro_batch)
            for n in found.metrics["samples"].tolist()
        ]
        seconds, joules = (
            pd.Series([getattr(one, what) for one in spent]) for what in ("seconds", "joules")
        )
        accuracy = found.metrics["test_accuracy"]
        rows.append({"method": "pipeline", "hardware": name, **_summary(accuracy, seconds, joules)})
    return rows


def _summary(accuracy: pd.Series, seconds: pd.Series, joules: pd.Series) -> dict[str, float]:
    reached = seconds[(accuracy >= TARGET).to_numpy()]
    return {
        "test_accuracy": accuracy.iloc[-1],
        "best_accuracy": accuracy.max(),
        "seconds": seconds.iloc[-1],
        "joules": joules.iloc[-1],
        "seconds_to_target": reached.iloc[0] if len(reached) else float("nan"),
    }


def replicas() -> pd.DataFrame:
    """Train replicas and pipelines; with 4 accelerators after every step too, and on EcRam.

    ReRamSB does not learn the task by plain pulses, with or without copies.
    """
    profile = load_profile("config/quick.yaml")
    tiles = load_devices("config/devices.yaml")
    samples = data.load(profile.dataset)
    own = "linear-tau0.6"
    training = profile.training.model_copy(update={"epochs": EPOCHS})
    rows = []
    for device in (own, "ecram"):
        for seed in SEEDS:
            for accelerators in ACCELERATORS if device == own else (4,):
                run = profile.run(own, "async", accelerators, seed, tile=tiles[device])
                run = run.model_copy(update={"training": training})
                found = of_pipeline(run, samples)
                for every in (1, *EVERY) if accelerators == 4 and device == own else EVERY:
                    found += of_replicas(run, samples, accelerators, every)
                head = {"device": device, "accelerators": accelerators, "seed": seed}
                rows += [{**head, **row} for row in found]
                print(*head.values(), flush=True)
    return pd.DataFrame(rows)


def figure(tables: dict[str, pd.DataFrame]) -> Figure:
    """Draw error against iterations, and accuracy against time."""
    drawn = Figure(figsize=(COLUMN, 4.6))
    above, below = drawn.subplots(2, 1)
    styles = dict(zip(DEVICES, [("#0b3c5d", "o"), ("#d95f02", "s"), ("#5aae61", "^")], strict=True))
    table = tables["hardware-copies"]
    table = table[table["hardware"] == "ibm-proj"]
    for device, (colour, marker) in styles.items():
        for reads, dash in ((1, ":"), (16, "-")):
            here = table[(table["device"] == device) & (table["reads"] == reads)]
            above.plot(here["iteration"], here["relative_error"], color=colour, linestyle=dash,
                       marker=marker, markevery=6, label=DEVICES[device] if reads == 16 else None)  # fmt: skip
    above.set(xscale="log", yscale="log", xlabel="iterations of program and verify",
              ylabel="error / rms weight")  # fmt: skip
    above.set_yticks([0.1, 0.2, 0.5, 1], ["0.1", "0.2", "0.5", "1"])
    above.set_xticks([1, 2, 5, 10, 20, 40], ["1", "2", "5", "10", "20", "40"])
    above.minorticks_off()
    above.legend(frameon=False, title="solid: 16 reads, dotted: 1", fontsize=6, title_fontsize=6)
    table = tables["hardware-replicas"]
    table = table[(table["hardware"] == "ibm-proj") & (table["device"] == "linear-tau0.6")]
    for accelerators, colour in zip(ACCELERATORS, ("#9ecae1", "#4292c6", "#08306b"), strict=True):
        own = table[table["accelerators"] == accelerators]
        for method, marker in (("replicas", "o"), ("pipeline", "*")):
            mean = own[own["method"] == method].fillna({"every": 0}).groupby("every")
            mean = mean[["seconds", "test_accuracy"]].mean()
            below.plot(1e3 * mean["seconds"], mean["test_accuracy"], color=colour, marker=marker,
                       markersize=9 if method == "pipeline" else 4, markeredgecolor="black",
                       markeredgewidth=0.4, linestyle="-" if method == "replicas" else "",
                       label=f"{accelerators} {method}")  # fmt: skip
            if method == "replicas" and accelerators == 2:
                for every, row in mean.iterrows():
                    below.annotate(f"s={every:.0f}", (1e3 * row["seconds"], row["test_accuracy"]),
                                   xytext=(4, 3), textcoords="offset points", fontsize=6)  # fmt: skip
    below.set(
        xscale="log", xlabel=f"time of {EPOCHS} epochs (ms, ibm-proj)", ylabel="test accuracy"
    )
    below.legend(frameon=False, fontsize=6, ncols=1)
    for axes in (above, below):
        axes.spines[["top", "right"]].set_visible(False)
    return drawn


def main() -> None:
    """Measure unless only the figure is asked for, and draw."""
    torch.set_num_threads(1)
    if "--figure-only" not in sys.argv:
        copies().to_csv(COPIES, index=False, float_format="%.6g")
        replicas().to_csv(REPLICAS, index=False, float_format="%.6g")
    draw(figure, [COPIES, REPLICAS], Path("docs/figures/hardware-copies"))


if __name__ == "__main__":
    main()
