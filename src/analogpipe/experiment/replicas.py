"""Data-parallel training on arrays: replicas of a network that learn from their own samples, and are
brought together by reading, averaging and programming their weights every so many steps."""

from dataclasses import dataclass
from itertools import count

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from analogpipe.experiment import data, models
from analogpipe.experiment.copy import program, read_out
from analogpipe.pipeline.stage import Stage
from analogpipe.profile.profile import Run
from analogpipe.tile.tile import AnalogTile

APART = 1000
"""Between the seeds of replicas: no two have the same elements."""


@dataclass(frozen=True)
class Copying:
    """How weights are brought together: after every ``every`` steps, by so many iterations of program
    and verify, each value the mean of ``reads``."""

    every: int
    iterations: int
    reads: int


class Replicas:
    """Networks of one run on arrays of their own, which begin with the weights of the first.

    A step trains each by one micro-batch. Digital parameters are averaged exactly.
    """

    def __init__(self, run: Run, samples: data.Data, replicas: int, copying: Copying) -> None:
        self._run, self._samples, self._copying = run, samples, copying
        self.stages = []
        for g in range(replicas):
            shape = samples.shape, samples.classes, run.tile
            blocks = models.build(run.model, *shape, run.seed + APART * g)
            self.stages.append(Stage(nn.Sequential(*blocks), loss=cross_entropy))
        self._tiles = [
            [part for part in stage.module.modules() if isinstance(part, AnalogTile)]
            for stage in self.stages
        ]
        self.copies, self.slots = 0, 0.0
        """Copies so far, and their slots of a column's pulse train, mean over all that was programmed."""
        self._bring_together([0])
        self.copies, self.slots = 0, 0.0

    def train(self, epochs: int, lr: float) -> list[dict[str, float]]:
        """Train for so many epochs at a decaying rate; return epoch, samples, copies and accuracy of
        the first replica, a row each."""
        size, replicas = self._run.training.micro_batch, len(self.stages)
        training = len(self._samples.train_targets)
        per_epoch = training // (size * replicas)
        rows = []
        steps = count(1)
        for epoch in range(epochs):
            order = data.order(training, epoch, self._run.seed)
            for batches in order[: per_epoch * size * replicas].view(-1, replicas, size):
                step = next(steps)
                part = (step - 1) / (per_epoch * epochs)
                rate = lr * (1 + float(torch.cos(torch.tensor(torch.pi * part)))) / 2
                for g, stage in enumerate(self.stages):
                    self._learn(stage, step, batches[g], rate)
                if replicas > 1 and step % self._copying.every == 0:
                    self._bring_together(range(replicas))
            rows.append(
                {
                    "epoch": epoch + 1,
                    "samples": (epoch + 1) * per_epoch * size * replicas,
                    "copies": self.copies,
                    "test_accuracy": self.accuracy(),
                }
            )
        return rows

    @torch.no_grad()
    def accuracy(self) -> float:
        """Return the test accuracy of the first replica, read through its arrays."""
        x = self._samples.prepared(self._samples.test_inputs)
        scores = self.stages[0].predict(x)
        return float((scores.argmax(1) == self._samples.test_targets).float().mean())

    def _learn(self, stage: Stage, step: int, chosen: Tensor, rate: float) -> None:
        x = self._samples.prepared(self._samples.train_inputs[chosen])
        stage.forward(step, x, self._samples.train_targets[chosen], keep=False)
        stage.backward(step)
        stage.update(rate)

    @torch.no_grad()
    def _bring_together(self, sources: "range | list[int]") -> None:
        """Program the mean of the sources' weights, as read, to all replicas."""
        how = self._copying
        slots, programmed = 0.0, 0
        for tiles in zip(*self._tiles, strict=True):
            mean = sum((read_out(tiles[g], how.reads) for g in sources), torch.tensor(0.0))
            mean = mean / len(sources)
            others = tiles if len(sources) > 1 else tiles[1:]
            for tile in others:
                for after in program(tile, mean, iterations=how.iterations, reads=how.reads):
                    slots, programmed = slots + after.slots, programmed + 1
        for parameters in zip(*(stage.parameters for stage in self.stages), strict=True):
            mean = torch.stack([parameters[g] for g in sources]).mean(0)
            for one in parameters:
                one.copy_(mean)
        self.copies += 1
        if programmed:
            self.slots += (slots / programmed - self.slots) / self.copies
