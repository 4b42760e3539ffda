"""The test of a network in training: loss and accuracy of its live weights, and the time that it takes."""

import time
from dataclasses import replace

from torch.nn.functional import cross_entropy

from analogpipe.experiment import data
from analogpipe.pipeline.pipeline import Pipeline
from analogpipe.tile.tile import AnalogTile

BATCH = 512


def evaluate(pipeline: Pipeline, images: data.Data) -> dict[str, float]:
    """Return test loss and accuracy of the live weights, read through the arrays with their noise."""
    loss = correct = 0.0
    device, labels = pipeline.losses.device, images.test_labels
    for start in range(0, len(labels), BATCH):
        part = slice(start, start + BATCH)
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
    count = min(BATCH, len(images.test_labels))
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
