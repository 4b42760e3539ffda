"""The test of a network in training: loss and accuracy of its live weights, and the time that it takes."""

import time
from dataclasses import replace
from math import prod

from torch.nn.functional import cross_entropy

from analogpipe.experiment import data
from analogpipe.pipeline.pipeline import Pipeline
from analogpipe.tile.tile import AnalogTile

BATCH = 512
"""Samples of a batch, at most."""
POSITIONS = 2**17
"""Pixels or characters of a batch, at most: larger maps leave the cache, and the memory that the process
keeps (measured: docs/speed.md)."""


def batch_size(samples: data.Data) -> int:
    """Return the samples of a batch of the test."""
    shape = samples.test_inputs.shape
    return max(1, min(BATCH, POSITIONS // prod(shape[2:] or shape[1:])))


def evaluate(pipeline: Pipeline, samples: data.Data) -> dict[str, float]:
    """Return test loss and accuracy of the live weights, read through the arrays with their noise."""
    loss = correct = 0.0
    device, targets = pipeline.losses.device, samples.test_targets
    size = batch_size(samples)
    for start in range(0, len(targets), size):
        part = slice(start, start + size)
        x = samples.prepared(samples.test_inputs[part])
        scores, target = pipeline.predict(x.to(device)), targets[part].to(device)
        loss += cross_entropy(scores, target, reduction="sum").item()
        correct += (scores.argmax(1) == target).sum().item()
    count = targets.numel()
    return {"test_loss": loss / count, "test_accuracy": correct / count}


def evaluation_seconds(pipeline: Pipeline, samples: data.Data) -> float:
    """Return the time that an evaluation will take, from one batch of it. Disturbs no noise stream."""
    tiles = [
        part
        for stage in pipeline.stages
        for part in stage.module.modules()
        if isinstance(part, AnalogTile)
    ]
    streams = [tile.get_extra_state() for tile in tiles]
    since = time.monotonic()
    count = min(batch_size(samples), len(samples.test_targets))
    evaluate(
        pipeline,
        replace(
            samples,
            test_inputs=samples.test_inputs[:count],
            test_targets=samples.test_targets[:count],
        ),
    )
    seconds = time.monotonic() - since
    for tile, state in zip(tiles, streams, strict=True):
        tile.set_extra_state(state)
    return seconds * len(samples.test_targets) / count
