"""Every schedule of a profile, executed on the profile's network for up to one epoch and recorded."""

import hashlib
from pathlib import Path

import pandas as pd
import torch

from analogpipe.experiment import data
from analogpipe.experiment.run import make_pipeline
from analogpipe.pipeline.pipeline import Pipeline
from analogpipe.profile.profile import DIGITAL, Profile
from analogpipe.schedule.table import Action

LEARNING_RATE = 0.01
RECORDED = 160
"""Micro-batches that are executed at most: enough to fill and drain any pipeline many times."""


def execute(profile: Profile, file: Path | None = None) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Run each (mode, stages) of the profile with digital layers and seed 0, for one epoch or RECORDED
    micro-batches, whichever is less. ``file`` holds the data set (see data.load).

    Returns what was executed, a row per action (mode, stages, clock, stage, action, micro_batch,
    version: the updates in the weights that the action used, as the stage counted them), and the
    weights at the end, a row per (mode, stages): a digest, which shows where the stage count
    changes them, and whether each was still in its first storage, as one copy must be.
    """
    images = data.load(profile.dataset, file=file)
    records, ends = [], []
    for mode in profile.modes:
        for stages in profile.stages:
            run = profile.run(DIGITAL, mode, stages, seed=0, rate=LEARNING_RATE)
            count = min(len(images.train_targets) // run.training.micro_batch, RECORDED)
            pipeline = make_pipeline(run, images, count, trace=True)
            before = [weight.data_ptr() for weight in _weights(pipeline)]
            pipeline.run()
            frame = pd.DataFrame(
                pipeline.trace, columns=["clock", "stage", "action", "micro_batch", "version"]
            )
            frame["action"] = frame["action"].map(lambda kind: Action(kind).name)
            frame.insert(0, "mode", mode)
            frame.insert(1, "stages", stages)
            records.append(frame)
            after = [weight.data_ptr() for weight in _weights(pipeline)]
            ends.append((mode, stages, _digest(pipeline), before == after))
    weights = pd.DataFrame(ends, columns=["mode", "stages", "weights_digest", "in_place"])
    return pd.concat(records, ignore_index=True), weights


def _weights(pipeline: Pipeline) -> list[torch.Tensor]:
    return [weight for stage in pipeline.stages for weight in stage.module.parameters()]


def _digest(pipeline: Pipeline) -> str:
    digest = hashlib.sha256()
    for weight in _weights(pipeline):
        digest.update(weight.detach().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]
