"""Samples and their targets, held in memory, and the order in which a run sees them."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from analogpipe.experiment import datasets
from analogpipe.profile.sections import Dataset
from analogpipe.seeds import generator
from analogpipe.settings import ConfigError


@dataclass(frozen=True)
class Data:
    """A split data set: images (N, C, H, W) uint8 with their classes (N,) int64, or characters
    (N, context) uint8 with those that follow (N, context) int64; targets are in 0..classes-1. Of images
    the mean and standard deviation per channel of training, (C, 1, 1) float32."""

    train_inputs: Tensor
    train_targets: Tensor
    test_inputs: Tensor
    test_targets: Tensor
    classes: int
    mean: Tensor
    deviation: Tensor

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one sample, (C, H, W) or (context,)."""
        return tuple(self.train_inputs.shape[1:])

    def prepared(self, inputs: Tensor) -> Tensor:
        """Return a batch of inputs as the network takes them.

        Images become float32, such that the channels of the training images have mean 0 and standard
        deviation 1; characters become int64.
        """
        if inputs.dim() == 2:
            return inputs.long()
        return inputs.float().sub_(self.mean).div_(self.deviation)

    def digest(self) -> str:
        """Return a digest of all samples and targets."""
        digest = hashlib.sha256()
        for part in (self.train_inputs, self.train_targets, self.test_inputs, self.test_targets):
            digest.update(part.numpy().data)
        return digest.hexdigest()

    def to(self, device: torch.device | str) -> "Data":
        """Return the data set with all its tensors on a device."""
        return Data(
            self.train_inputs.to(device),
            self.train_targets.to(device),
            self.test_inputs.to(device),
            self.test_targets.to(device),
            self.classes,
            self.mean.to(device),
            self.deviation.to(device),
        )


def load(config: Dataset, *, validation: bool = False, file: Path | None = None) -> Data:
    """Load a data set; with ``validation``, held-out *training* samples take the place of the test set.

    ``file`` is what the job ``data`` has made of it; without one the samples are read from where they
    are. Raises ConfigError or FileError when that does not hold the data, or has too few
    training samples.
    """
    arrays = datasets.open_file(file, config) if file else datasets.read(config)
    inputs, targets, test_inputs, test_targets = (torch.from_numpy(array) for array in arrays)
    codes = (
        (targets, test_targets)
        if inputs.dim() == 4
        else (inputs, targets, test_inputs, test_targets)
    )
    classes = 1 + max(int(part.max()) for part in codes)
    wanted = config.train or len(inputs)
    if wanted > len(inputs) or config.validation >= wanted:
        raise ConfigError(
            f"dataset: found train {wanted} with validation {config.validation}, "
            f"allowed: at most {len(inputs)} training samples, validation below that"
        )
    inputs, targets = inputs[:wanted], targets[:wanted]
    if config.test is not None:
        test_inputs, test_targets = test_inputs[: config.test], test_targets[: config.test]
    if validation:
        split = wanted - config.validation
        test_inputs, test_targets = inputs[split:], targets[split:]
        inputs, targets = inputs[:split], targets[:split]
    mean, deviation = _moments(inputs) if inputs.dim() == 4 else (torch.zeros(0), torch.zeros(0))
    return Data(inputs, targets, test_inputs, test_targets, classes, mean, deviation)


def _moments(images: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of each channel, (C, 1, 1)."""
    moments = [torch.std_mean(channel.float()) for channel in images.unbind(1)]
    deviation, mean = (torch.stack(each).view(-1, 1, 1) for each in zip(*moments, strict=True))
    return mean, deviation.clamp_min_(1e-6)


def order(samples: int, epoch: int, seed: int) -> Tensor:
    """Return the order (samples,) of an epoch: a fresh permutation, a function of seed and epoch."""
    return torch.randperm(samples, generator=generator(seed, "order", epoch))
