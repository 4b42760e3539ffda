"""What it costs in accuracy that replicas of a convolution learn from their own positions (RAPA).

    python benchmarks/replicated_convolution.py

A network of three convolutions and a linear layer on the digits, four stages, async, on the linear
device. The convolutions that read 64 positions have G arrays, the one that reads 16 has G / 4, so that
stages become equal. Writes docs/figures/hardware-replicated.csv.
"""

from pathlib import Path

import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from analogpipe.experiment import data
from analogpipe.hardware.layers import cut
from analogpipe.hardware.presets import PRESETS
from analogpipe.hardware.rules import Rule
from analogpipe.hardware.run import OnHardware
from analogpipe.layer.linear import AnalogLinear
from analogpipe.layer.replicated import ReplicatedConv2d
from analogpipe.pipeline.pipeline import Pipeline
from analogpipe.pipeline.reads import describe
from analogpipe.profile.profile import load_devices, load_profile
from analogpipe.schedule.table import build
from analogpipe.tile.config import TileConfig

OUT = Path("docs/figures/hardware-replicated.csv")
ARRAYS, RATES, SEEDS, EPOCHS, SIZE, STAGES = (1, 4, 16), (0.05, 0.2), (0, 1), 5, 8, 4


def network(arrays: int, tile: TileConfig, seed: int) -> list[nn.Module]:
    """Return the blocks, with so many arrays for 64 positions."""

    def convolution(inputs: int, outputs: int, name: str, stride: int = 1) -> nn.Module:
        own = max(1, arrays // stride**2)
        where = {"stride": stride, "padding": 1, "seed": seed, "name": name}
        layer = ReplicatedConv2d(inputs, outputs, 3, tile, replicas=own, averages=True, **where)
        return nn.Sequential(layer, nn.Tanh())

    last = nn.Sequential(nn.Flatten(), AnalogLinear(256, 10, tile, seed=seed, name="last"))
    convolutions = [
        convolution(1, 8, "one"),
        convolution(8, 8, "two"),
        convolution(8, 16, "three", stride=2),
    ]
    return [*convolutions, last]


def accuracy(pipeline: Pipeline, samples: data.Data) -> float:
    """Return the test accuracy of the live weights."""
    scores = pipeline.predict(samples.prepared(samples.test_inputs))
    return float((scores.argmax(1) == samples.test_targets).float().mean())


def train(arrays: int, rate: float, seed: int, samples: data.Data) -> dict[str, float]:
    """Train once; accuracy by the mean of all arrays, and by each position's own."""
    tile = load_devices("config/devices.yaml")["linear-tau0.6"]
    blocks = network(arrays, tile, seed)
    per_epoch = len(samples.train_targets) // SIZE
    total = per_epoch * EPOCHS

    def batch(b: int) -> tuple[Tensor, Tensor]:
        epoch, place = divmod(b, per_epoch)
        order = data.order(len(samples.train_targets), epoch, seed)
        chosen = order[place * SIZE : (place + 1) * SIZE]
        return samples.prepared(samples.train_inputs[chosen]), samples.train_targets[chosen]

    pipeline = Pipeline(
        blocks,
        build("async", STAGES, total),
        loss=cross_entropy,
        batch=batch,
        lr=lambda b: rate * (1 - b / total),
    )
    pipeline.run()
    found = {"by_mean": accuracy(pipeline, samples)}
    for block in blocks:
        for part in block.modules():
            if isinstance(part, ReplicatedConv2d):
                part.averages = False
    return {**found, "by_own": accuracy(pipeline, samples)}


def main() -> None:
    """Measure accuracy and time."""
    torch.set_num_threads(1)
    samples = data.load(load_profile("config/quick.yaml").dataset)
    tile = load_devices("config/devices.yaml")["linear-tau0.6"]
    rows = []
    for arrays in ARRAYS:
        known = describe(network(arrays, tile, 0), samples.prepared(samples.train_inputs[:1]))
        stages = cut(known, STAGES, [1] * STAGES)
        on = OnHardware(stages, Rule("analog_sgd"), PRESETS["ibm-proj"], SIZE)
        period = (on.run("async", 1001).seconds - on.run("async", 501).seconds) / 500 / SIZE
        even = {"seconds_a_sample": period, **on.balance()._asdict()}
        for rate in RATES:
            for seed in SEEDS:
                found = train(arrays, rate, seed, samples)
                head = {"arrays": arrays, "learning_rate": rate, "seed": seed}
                rows.append({**head, **found, **even})
                print(rows[-1], flush=True)
    OUT.write_text(pd.DataFrame(rows).to_csv(index=False, float_format="%.6g"))


if __name__ == "__main__":
    main()
