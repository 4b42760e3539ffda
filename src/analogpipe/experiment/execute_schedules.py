"""Every schedule of a profile, executed on the profile's network for up to one epoch and recorded."""

import hashlib
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from analogpipe.experiment import data
from analogpipe.experiment.live import Watch
from analogpipe.experiment.run import make_pipeline
from analogpipe.pipeline.pipeline import Pipeline
from analogpipe.profile.profile import DIGITAL, Profile, Run
from analogpipe.profile.sections import Compute, Sgd, Training
from analogpipe.schedule.modes import MODE
from analogpipe.schedule.table import Action
from analogpipe.tile.config import TileConfig
from analogpipe.tile.sections import ReadoutConfig
from analogpipe.tile.tile import AnalogTile

LEARNING_RATE = 0.01
RECORDED = 160
"""Micro-batches that are executed at most: enough to fill and drain any pipeline many times."""
ARRAYS = "arrays"
PERFECT = ReadoutConfig(perfect=True)
TILE = TileConfig(forward=PERFECT, backward=PERFECT)
"""Arrays of the linear device, read without noise: what a backward pass used can be told exactly."""


def execute(profile: Profile, file: Path | None = None) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Run each (mode, stages) of the profile with digital layers and seed 0, for one epoch or RECORDED
    micro-batches, whichever is less. ``file`` holds the data set (see data.load).

    Returns what was executed, a row per action (mode, stages, clock, stage, action, micro_batch,
    version: the updates in the weights that the action used, as the stage counted them), and the
    weights, a row per stage: layers (``digital``; at the largest stage count of a profile with analog
    devices also ``arrays``, read without noise); weights_digest, that of the whole network at the end, which
    shows where the stage count changes it; in_place, whether each weight of the stage was still in its
    first storage, as one copy must be; compared, deviation and of_forward, as measured at the layers
    (:class:`analogpipe.experiment.live.Seen`).
    """
    images = data.load(profile.dataset, file=file)
    records, ends = [], []
    for mode in profile.modes:
        for stages in profile.stages:
            run = profile.run(DIGITAL, mode, stages, seed=0, rate=LEARNING_RATE)
            run = run.model_copy(update={"compute": _exact(run.compute)})
            frame, rows = _executed(run, images)
            records.append(frame)
            ends += rows
            stashes = MODE[run.mode.schedule].stashes
            if stages == max(profile.stages) and profile.analog_devices and not stashes:
                changes = {"device": ARRAYS, "tile": TILE, "training": _plain(run.training)}
                ends += _executed(run.model_copy(update=changes), images)[1]
    return pd.concat(records, ignore_index=True), pd.DataFrame(ends)


def _executed(run: Run, images: data.Data) -> tuple[pd.DataFrame, list[dict[str, Any]]]:
    """Execute a schedule; return its actions and what is to be said of the weights of its stages."""
    count = min(len(images.train_targets) // run.training.micro_batch, RECORDED)
    pipeline = make_pipeline(run, images, count, trace=True)
    modules = [stage.module for stage in pipeline.stages]
    watch = Watch(modules)
    before = [[weight.data_ptr() for weight in _weights(module)] for module in modules]
    pipeline.run()
    head: dict[str, Any] = {"mode": run.mode.name, "stages": run.stages}
    frame = pd.DataFrame(
        pipeline.trace, columns=["clock", "stage", "action", "micro_batch", "version"]
    )
    frame["action"] = frame["action"].map(lambda kind: Action(kind).name)
    frame = frame.assign(**head)[[*head, *frame.columns]]
    digest = _digest(pipeline)
    rows: list[dict[str, Any]] = [
        {
            **head,
            "stage": m + 1,
            "layers": run.device,
            "weights_digest": digest,
            "in_place": before[m] == [weight.data_ptr() for weight in _weights(module)],
            **vars(watch.seen[m]),
        }
        for m, module in enumerate(modules)
    ]
    return frame, rows


def _exact(compute: Compute) -> Compute:
    """Return where to compute, in single precision."""
    return compute.model_copy(update={"precision": "float32", "products": "float32"})


def _plain(training: Training) -> Training:
    """Return how to train by plain gradients: decay does not reach arrays that learn by pulses."""
    return training.model_copy(update={"optimizer": Sgd(kind="sgd")})


def _weights(module: torch.nn.Module) -> list[torch.Tensor]:
    arrays = [part.array.weight for part in module.modules() if isinstance(part, AnalogTile)]
    return [*module.parameters(), *arrays]


def _digest(pipeline: Pipeline) -> str:
    digest = hashlib.sha256()
    for stage in pipeline.stages:
        for weight in _weights(stage.module):
            digest.update(weight.detach().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]
