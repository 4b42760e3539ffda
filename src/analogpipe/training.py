"""One training run: data, network, pipeline, the metrics of each epoch, checkpoints."""

import json
import math
import time
from functools import lru_cache
from pathlib import Path
from typing import Annotated

import pandas as pd
import torch
import typer
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from analogpipe import checkpoint, data, models, provenance
from analogpipe.command import run as run_command
from analogpipe.config import Run, load_profile, load_tile
from analogpipe.engine import Pipeline
from analogpipe.files import write_json, write_text
from analogpipe.partition import partition
from analogpipe.schedule import build

EVALUATION_BATCH = 1024
METRICS = ("epoch", "samples", "cycles", "train_loss", "test_loss", "test_accuracy")


def make_pipeline(
    run: Run, images: data.Data, micro_batches: int, *, trace: bool = False
) -> Pipeline:
    """Return the pipeline of a run: its network cut into stages, its schedule, its data order.

    Micro-batch b holds the next ``micro_batch`` images of the epoch's order; images that do not
    fill a micro-batch are left out of that epoch.
    """
    blocks = models.build(run.model, images.shape, images.classes, run.tile, run.seed)
    # Every block of a fully connected network takes one array read, whatever its size.
    parts = partition([1.0] * len(blocks), run.stages)
    stages = [nn.Sequential(*(blocks[i] for i in part)) for part in parts]
    size = run.training.micro_batch
    per_epoch = len(images.train_labels) // size

    @lru_cache(maxsize=2)
    def order(epoch: int) -> Tensor:
        return data.order(len(images.train_labels), epoch, run.seed)

    def batch(b: int) -> tuple[Tensor, Tensor]:
        epoch, place = divmod(b, per_epoch)
        chosen = order(epoch)[place * size : (place + 1) * size]
        return images.train_images[chosen], images.train_labels[chosen]

    def learning_rate(b: int) -> float:
        if run.training.decay == "cosine":
            return run.learning_rate * (1 + math.cos(math.pi * b / micro_batches)) / 2
        return run.learning_rate

    table = build(run.schedule.schedule, run.stages, micro_batches, run.schedule.mini_batch)
    return Pipeline(stages, table, loss=cross_entropy, batch=batch, lr=learning_rate, trace=trace)


def train(run: Run, out: Path) -> None:
    """Train and write ``metrics.csv`` (columns METRICS, a row per epoch) and ``run.json`` to ``out``.

    An epoch's row is taken at the clock at which stage 1 has finished the epoch's last
    micro-batch, from the weights as they are at that clock: nothing waits for it. A run that was
    killed goes on from its last checkpoint and writes the same bytes.
    """
    started = time.monotonic()
    images = data.load(run.dataset, validation=run.validation)
    per_epoch = len(images.train_labels) // run.training.micro_batch
    pipeline = make_pipeline(run, images, per_epoch * run.training.epochs)
    store = checkpoint.Store(out / "checkpoints", provenance.key(run))
    rows: list[dict[str, float]] = []
    spent = 0.0
    if (saved := store.load()) is not None:
        pipeline.load_state_dict(saved.tensors)
        rows, spent = saved.notes["rows"], saved.notes["seconds"]
    ends = pipeline.schedule.finished()[per_epoch - 1 :: per_epoch]
    for epoch in range(len(rows), run.training.epochs):
        pipeline.run(until=int(ends[epoch]))
        rows.append(
            {
                "epoch": epoch + 1,
                "samples": (epoch + 1) * per_epoch * run.training.micro_batch,
                "cycles": int(ends[epoch]),
                "train_loss": pipeline.mean_loss(epoch * per_epoch, (epoch + 1) * per_epoch),
                **evaluate(pipeline, images.test_images, images.test_labels),
            }
        )
        if (epoch + 1) % run.training.checkpoint_epochs == 0 and epoch + 1 < run.training.epochs:
            seconds = spent + time.monotonic() - started
            store.save(epoch + 1, pipeline.state_dict(), {"rows": rows, "seconds": seconds})
    pipeline.run()
    write_text(out / "metrics.csv", pd.DataFrame(rows, columns=list(METRICS)).to_csv(index=False))
    write_json(
        out / "run.json",
        {
            "config": json.loads(run.model_dump_json()),
            "cycles": pipeline.schedule.cycles,
            "density": pipeline.schedule.density,
            "micro_batches": pipeline.schedule.micro_batches,
            "wall_seconds": round(spent + time.monotonic() - started, 3),
            **provenance.environment(),
        },
    )
    store.clear()


@torch.no_grad()
def evaluate(pipeline: Pipeline, images: Tensor, labels: Tensor) -> dict[str, float]:
    """Return test loss and accuracy of the live weights, read through the arrays with their noise."""
    modules = [stage.module.eval() for stage in pipeline.stages]
    loss = correct = 0.0
    for start in range(0, len(labels), EVALUATION_BATCH):
        scores, target = (
            images[start : start + EVALUATION_BATCH],
            labels[start : start + EVALUATION_BATCH],
        )
        for module in modules:
            scores = module(scores)
        loss += cross_entropy(scores, target, reduction="sum").item()
        correct += (scores.argmax(1) == target).sum().item()
    for module in modules:
        module.train()
    return {"test_loss": loss / len(labels), "test_accuracy": correct / len(labels)}


def main(
    profile: Annotated[Path, typer.Option(help="YAML file of the profile")],
    device: Annotated[str, typer.Option(help="'digital' or a device of the profile")],
    mode: Annotated[str, typer.Option(help="a mode of the profile")],
    stages: Annotated[int, typer.Option(help="number of stages")],
    seed: Annotated[int, typer.Option(help="seed of weights, data order and noise")],
    out: Annotated[Path, typer.Option(help="folder for metrics.csv and run.json")],
    tile: Annotated[
        Path | None, typer.Option(help="tile of an analog device, as calibrated")
    ] = None,
    learning_rate: Annotated[float | None, typer.Option(help="instead of the profile's")] = None,
    validation: Annotated[bool, typer.Option(help="test on held-out training images")] = False,
    threads: Annotated[int, typer.Option(help="threads of torch")] = 1,
) -> None:
    """Train one network and write its metrics."""
    torch.set_num_threads(threads)
    run = load_profile(profile).run(
        device,
        mode,
        stages,
        seed,
        tile=load_tile(tile) if tile else None,
        learning_rate=learning_rate,
        validation=validation,
    )
    train(run, out)


if __name__ == "__main__":
    run_command(main)
