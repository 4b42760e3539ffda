"""Does pipelining pay on hardware, and does async over sync: one table over networks and accelerators.

    python benchmarks/hardware_answer.py

Each schedule has its best micro-batch (fastest; least memory of equals). Sync updates once in 256
samples; beside its best stands that with 8 micro-batches of 32, against async with 32. Stages are cut
as training cuts them. Needs no training, as pulse trains are those of the accelerator. Writes
docs/figures/hardware-answer.csv and prints the table of docs/hardware.md.
"""

from math import ceil
from pathlib import Path

import pandas as pd
import torch

from analogpipe.experiment import models
from analogpipe.hardware.best import choice, choices, fastest
from analogpipe.hardware.layers import Stage, cut
from analogpipe.hardware.presets import PRESETS
from analogpipe.hardware.rules import Rule, RuleKind
from analogpipe.hardware.run import OnHardware
from analogpipe.pipeline.reads import describe
from analogpipe.profile.sections import Decoder, Mlp, Model, ResNet

OUT = Path("docs/figures/hardware-answer.csv")
MINI_BATCH = 256
NETWORKS: dict[str, tuple[Model, tuple[int, ...], int]] = {
    # as in config/: quick and cifar10; and a character model of the usual small size
    "MLP": (Mlp(kind="mlp", name="resmlp8", depth=8, width=64), (1, 8, 8), 10),
    "ResNet": (ResNet(kind="resnet", name="resnet18", layers=18), (3, 32, 32), 10),
    "decoder": (Decoder(kind="decoder", name="decoder4", layers=4, width=256, heads=4), (128,), 65),
}
STAGES = (4, 8)
RULES: tuple[RuleKind, ...] = ("analog_sgd", "ttv2", "mixed_precision")


def blocks(model: Model, shape: tuple[int, ...], classes: int) -> list[Stage]:
    """Return the blocks of a network."""
    x = torch.zeros(1, *shape, dtype=torch.int64 if len(shape) == 1 else torch.float32)
    return describe(models.build(model, shape, classes, None, 0), x)


def row(stages: list[Stage], rule: Rule, name: str) -> dict[str, float]:
    """Compare the schedules at their best on one accelerator."""
    hardware = PRESETS[name]
    best = fastest(choices(stages, rule, hardware, MINI_BATCH, sizes=[2**k for k in range(9)]))
    none, sync, async_ = (best[mode] for mode in ("sequential", "sync", "async"))
    even = OnHardware(stages, rule, hardware, async_.micro_batch).balance()
    return {
        "async_over_sync": sync.seconds / async_.seconds,
        "async_over_none": none.seconds / async_.seconds,
        "async_over_sync_n8": choice("sync", stages, rule, hardware, 32, 8).seconds
        / choice("async", stages, rule, hardware, 32).seconds,
        "energy_async_over_sync": async_.joules / sync.joules,
        "energy_async_over_none": async_.joules / none.joules,
        "slowest_to_mean": even.slowest_to_mean,
        "ceiling": even.ceiling,
        "seconds": async_.seconds,
        "joules": async_.joules,
        "micro_batch_async": async_.micro_batch,
        "micro_batch_sync": sync.micro_batch,
        "bytes_async": ceil(async_.bytes),
        "bytes_sync": ceil(sync.bytes),
    }


def main() -> None:
    """Compare and write."""
    rows = []
    for network, described in NETWORKS.items():
        found = blocks(*described)
        for count in STAGES:
            stages = cut(found, count)
            for name in PRESETS:
                for kind in RULES:
                    head = {"network": network, "stages": count, "hardware": name, "rule": kind}
                    rows.append({**head, **row(stages, Rule(kind), name)})
    table = pd.DataFrame(rows)
    OUT.write_text(table.to_csv(index=False, float_format="%.6g"))
    print("| preset | rule |", " | ".join(f"{n}, {m}" for n in NETWORKS for m in STAGES), "|")
    print("|---" * (2 + len(NETWORKS) * len(STAGES)), "|", sep="")
    for (name, kind), part in table.groupby(["hardware", "rule"], sort=False):
        cells = [
            f"{one.async_over_none:.2f}, {one.async_over_sync:.3f}" for one in part.itertuples()
        ]
        print(f"| {name} | {kind} |", " | ".join(cells), "|")


if __name__ == "__main__":
    main()
