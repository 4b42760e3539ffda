"""What a network in training has learnt: loss and accuracy of its live weights, read with their noise."""

import time
from dataclasses import replace
from math import prod
from typing import NamedTuple

import torch
from torch import Tensor
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


class Tested(NamedTuple):
    """Losses and accuracies of samples, (samples,) float64 each; of text the mean over a sample's targets."""

    losses: Tensor
    accuracies: Tensor

    def means(self) -> dict[str, float]:
        """Return what metrics.csv says of the test samples."""
        return {
            "test_loss": self.losses.mean().item(),
            "test_accuracy": self.accuracies.mean().item(),
        }


def evaluate(pipeline: Pipeline, samples: data.Data) -> Tested:
    """Return loss and accuracy of each test sample by the live weights."""
    return _evaluate(pipeline, samples, samples.test_inputs, samples.test_targets)


def reading(pipeline: Pipeline, samples: data.Data, count: int) -> float:
    """Return the mean loss of the first ``count`` training samples by the live weights."""
    inputs, targets = samples.train_inputs[:count], samples.train_targets[:count]
    return _evaluate(pipeline, samples, inputs, targets).losses.mean().item()


def _evaluate(pipeline: Pipeline, samples: data.Data, inputs: Tensor, targets: Tensor) -> Tested:
    losses, accuracies = [], []
    device = pipeline.losses.device
    size = batch_size(samples)
    for x, y in zip(torch.split(inputs, size), torch.split(targets, size), strict=True):
        scores, target = pipeline.predict(samples.prepared(x).to(device)), y.to(device)
        loss = cross_entropy(scores, target, reduction="none")
        right = scores.argmax(1) == target
        losses.append(loss.double().flatten(1).mean(1) if loss.dim() > 1 else loss.double())
        accuracies.append(right.double().flatten(1).mean(1) if right.dim() > 1 else right.double())
    return Tested(torch.cat(losses).cpu(), torch.cat(accuracies).cpu())


def evaluation_seconds(pipeline: Pipeline, samples: data.Data, readings: int) -> float:
    """Return the time that the evaluations of an epoch will take, from one batch of the test.

    ``readings`` are the training samples of all readings of an epoch. Disturbs no noise stream.
    """
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
    return seconds * (len(samples.test_targets) + readings) / count
