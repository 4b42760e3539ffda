"""Short runs of a network on variants of a device, each until it has settled; many in one process."""

import json
from collections.abc import Iterator, Sequence
from itertools import product
from math import inf, isfinite, log
from pathlib import Path
from typing import Any

import pandas as pd

from analogpipe.experiment import data, provenance
from analogpipe.experiment.evaluation import evaluate
from analogpipe.experiment.run import make_pipeline
from analogpipe.files import write_json
from analogpipe.profile.ablation import Ablation, name_of
from analogpipe.profile.profile import DIGITAL, Profile, Run
from analogpipe.profile.sections import NamedMode
from analogpipe.tile.config import TileConfig

WINDOW = 5
"""Epochs over which a loss is averaged before it is compared: one epoch's changes by chance."""
COLUMNS = ("cell", "mode", "stages", "seed", "epochs", "train_loss", "test_accuracy", "converged")


def settled(losses: Sequence[float], until: float | None) -> bool:
    """Return whether the training loss of an epoch changes by less than ``until`` (a part of one) from
    epoch to epoch: by the means of the last WINDOW epochs and of those before. Never for None."""
    if until is None or len(losses) < 2 * WINDOW or not isfinite(sum(losses)):
        return False
    last, before = sum(losses[-WINDOW:]), sum(losses[-2 * WINDOW : -WINDOW])
    return abs(log(last / before)) / WINDOW < until


def runs_of(profile: Profile, chosen: Ablation, own: TileConfig, seed: int) -> dict[str, Run]:
    """Return the runs of a seed by ``CELL-MODE``: every cell and mode, and the digital network."""
    tiles = {name_of(better): chosen.tile(own, better) for better in chosen.cells()}
    length: dict[str, Any] = {"epochs": chosen.most}
    if chosen.until is not None:
        length["decay"] = "constant"  # a rate that falls settles any loss
    found = {}
    for (cell, tile), (mode, stages) in product([(DIGITAL, None), *tiles.items()], chosen.ways):
        device = chosen.device if tile else DIGITAL
        run = profile.run(device, "sequential", 1, seed, tile=tile, rate=chosen.rate)
        changes = {
            "mode": NamedMode(name=mode, schedule=mode),
            "stages": stages,
            "split": profile.splits.get(stages),
            "training": profile.training.model_copy(update=length),
            "dataset": profile.dataset.model_copy(
                update={"train": chosen.train or profile.dataset.train}
            ),
        }
        found[f"{cell}-{mode}"] = run.model_copy(update=changes)
    return found


def train(run: Run, samples: data.Data, until: float | None) -> dict[str, Any]:
    """Train until the loss has settled, or for all epochs of the run; return the rest of COLUMNS.

    Loss and accuracy are means over the last WINDOW epochs, of the loss of each micro-batch at its own forward
    and of the test at the end of each. ``converged`` says whether the loss has settled; without
    ``until``, whether it is a number. One that is none ends the run, as infinite.
    """
    per_epoch = len(samples.train_targets) // run.training.micro_batch
    pipeline = make_pipeline(run, samples, per_epoch * run.training.epochs)
    ends = pipeline.schedule.finished()
    losses: list[float] = []
    accuracies: list[float] = []
    while len(losses) < run.training.epochs and not settled(losses, until):
        first = per_epoch * len(losses)
        pipeline.run(until=int(ends[first + per_epoch - 1]))
        losses.append(pipeline.mean_loss(first, first + per_epoch))
        accuracies.append(evaluate(pipeline, samples).means()["test_accuracy"])
        if not isfinite(losses[-1]):
            losses[-1] = inf
            break
    return {
        "epochs": len(losses),
        "train_loss": sum(losses[-WINDOW:]) / len(losses[-WINDOW:]),
        "test_accuracy": sum(accuracies[-WINDOW:]) / len(accuracies[-WINDOW:]),
        "converged": isfinite(losses[-1]) if until is None else settled(losses, until),
    }


def ablation(
    profile: Profile,
    chosen: Ablation,
    own: TileConfig,
    seed: int,
    kept: Path,
    file: Path | None = None,
) -> pd.DataFrame:
    """Return a row of COLUMNS for every run of a seed; ``file`` holds the data set (see data.load).

    ``own`` is the tile of the device. A run that has ended stays in the folder ``kept`` until its
    configuration, the data or the library change: who comes back after a stop goes on there.
    """
    rows = _rows(profile, chosen, own, seed, kept, file)
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _rows(
    profile: Profile, chosen: Ablation, own: TileConfig, seed: int, kept: Path, file: Path | None
) -> Iterator[dict[str, Any]]:
    runs = runs_of(profile, chosen, own, seed)
    samples = data.load(next(iter(runs.values())).dataset, file=file)
    digest = f"{samples.digest()} {chosen.until} {WINDOW}"
    for name, run in runs.items():
        place = kept / f"{name}-{provenance.key(run, digest)}.json"
        if place.exists():
            row = json.loads(place.read_text(encoding="utf-8"))
        else:
            row = train(run, samples, chosen.until)
            write_json(place, row)
        print(f"seed {seed}, {name}: {row}", flush=True)
        cell = name.removesuffix(f"-{run.mode.name}")
        yield {"cell": cell, "mode": run.mode.name, "stages": run.stages, "seed": seed, **row}
