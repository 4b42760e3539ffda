"""One training run: data, network, pipeline, the metrics of each epoch, checkpoints."""

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import pandas as pd
import torch
import typer
from torch.nn.functional import cross_entropy

from analogpipe.experiment import checkpoint, data, machine, provenance
from analogpipe.experiment.pauses import Pace
from analogpipe.experiment.progress import MEASURED, Progress
from analogpipe.experiment.run import make_pipeline
from analogpipe.files import write_json, write_text
from analogpipe.jobs.command import DataFile
from analogpipe.jobs.command import run as run_command
from analogpipe.pipeline import processes as distributed
from analogpipe.pipeline.pipeline import Pipeline
from analogpipe.profile.profile import Run, load_profile, load_tile
from analogpipe.profile.sections import parse_interval
from analogpipe.schedule.table import Schedule
from analogpipe.schedule.text import to_text
from analogpipe.tile.tile import AnalogTile

EVALUATION_BATCH = 512
METRICS = ("epoch", "samples", "cycles", "train_loss", "test_loss", "test_accuracy")


def train(run: Run, out: Path, file: Path | None = None) -> None:
    """Train and write ``metrics.csv`` (columns METRICS, a row per epoch), ``run.json`` and ``schedule.txt``.

    An epoch's row is taken at the clock at which stage 1 has finished the epoch's last
    micro-batch, from the weights as they are at that clock: nothing waits for it. ``file`` holds the
    data set (see data.load). A run that was killed goes on from its last checkpoint and writes the
    same bytes, wherever that was. Raises FileError for a file that cannot be written, e.g. on a full
    disk; the last checkpoint stays.
    """
    started = time.monotonic()
    leader = distributed.is_leader()
    images = data.load(run.dataset, validation=run.validation, file=file)
    epochs, size = run.training.epochs, run.training.micro_batch
    per_epoch = len(images.train_labels) // size
    total = per_epoch * epochs
    pipeline = make_pipeline(run, images, total)
    store = checkpoint.Store(out / "checkpoints", provenance.key(run, images.digest()))
    rows: list[dict[str, float]] = []
    done, spent = 0, 0.0
    if (saved := store.load()) is not None:
        pipeline.load_state_dict(saved.tensors)
        done, rows, spent = (saved.notes[name] for name in ("micro_batches", "rows", "seconds"))
    ends = pipeline.schedule.finished()
    pace = Pace(parse_interval(run.training.checkpoint_every), per_epoch)
    with Progress(epochs, per_epoch, done, quiet=not leader) as progress:
        while done < total:
            before, since = done, time.monotonic()
            done = distributed.agree(pace.next(done))
            pipeline.run(until=int(ends[done - 1]))
            loss = pipeline.mean_loss(before, done)
            seconds = time.monotonic() - since
            pace.took(done - before, seconds)
            progress.trained(done, loss, seconds)
            if done % per_epoch == 0:
                since = time.monotonic()
                row = {
                    "epoch": done // per_epoch,
                    "samples": done * size,
                    "cycles": int(ends[done - 1]),
                    "train_loss": pipeline.mean_loss(done - per_epoch, done),
                    **evaluate(pipeline, images),
                }
                rows.append(row)
                seconds = time.monotonic() - since
                progress.evaluated(row["train_loss"], row["test_accuracy"], seconds)
            if done == total:
                break
            known = int(progress.measured >= MEASURED)
            if first := not progress.estimated and bool(distributed.agree(known)):
                progress.expect(evaluation_seconds(pipeline, images))
                pace.begin(progress.left)
            if distributed.agree(int(pace.due(done))):
                seconds = spent + time.monotonic() - started
                state = pipeline.state_dict()
                if leader:
                    store.save(
                        done, state, {"micro_batches": done, "rows": rows, "seconds": seconds}
                    )
            if first:
                progress.announce(distributed.total(machine.peak_memory()))
    pipeline.run()
    pipeline.close()
    if leader:
        _write(run, pipeline.schedule, rows, spent + time.monotonic() - started, out)
        store.clear()


def _write(
    run: Run, schedule: Schedule, rows: list[dict[str, float]], seconds: float, out: Path
) -> None:
    """Write the files of a finished run; run.json comes last and says that it is complete."""
    write_text(out / "schedule.txt", to_text(schedule))
    write_text(out / "metrics.csv", pd.DataFrame(rows, columns=list(METRICS)).to_csv(index=False))
    write_json(
        out / "run.json",
        {
            "config": json.loads(run.model_dump_json()),
            "cycles": schedule.cycles,
            "density": schedule.density,
            "micro_batches": schedule.micro_batches,
            "wall_seconds": round(seconds, 3),
            **provenance.environment(run.compute.device),
        },
    )


def evaluate(pipeline: Pipeline, images: data.Data) -> dict[str, float]:
    """Return test loss and accuracy of the live weights, read through the arrays with their noise."""
    loss = correct = 0.0
    device, labels = pipeline.losses.device, images.test_labels
    for start in range(0, len(labels), EVALUATION_BATCH):
        part = slice(start, start + EVALUATION_BATCH)
        x = images.normalised(images.test_images[part])
        scores, target = pipeline.predict(x.to(device)), labels[part].to(device)
        loss += cross_entropy(scores, target, reduction="sum").item()
        correct += (scores.argmax(1) == target).sum().item()
    return {"test_loss": loss / len(labels), "test_accuracy": correct / len(labels)}


def evaluation_seconds(pipeline: Pipeline, images: data.Data) -> float:
    """Return the time that an evaluation will take, from one batch of it. Disturbs no noise stream."""
    tiles = [
        part
        for stage in pipeline.stages
        for part in stage.module.modules()
        if isinstance(part, AnalogTile)
    ]
    streams = [tile.get_extra_state() for tile in tiles]
    since = time.monotonic()
    count = min(EVALUATION_BATCH, len(images.test_labels))
    evaluate(
        pipeline,
        replace(
            images,
            test_images=images.test_images[:count],
            test_labels=images.test_labels[:count],
        ),
    )
    seconds = time.monotonic() - since
    for tile, state in zip(tiles, streams, strict=True):
        tile.set_extra_state(state)
    return seconds * len(images.test_labels) / count


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
    data_file: DataFile = None,
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
    train(run, out, data_file)


if __name__ == "__main__":
    run_command(main)
