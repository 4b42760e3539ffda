"""Images and labels, held in memory, and the order in which a run sees them."""

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
    """A split data set: images (N, C, H, W) uint8, labels (N,) int64 in 0..classes-1, and the
    training images' mean and standard deviation per channel, (C, 1, 1) float32."""

    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    classes: int
    mean: Tensor
    deviation: Tensor

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape (C, H, W) of one image."""
        return tuple(self.train_images.shape[1:])

    def normalised(self, images: Tensor) -> Tensor:
        """Return images (b, C, H, W) uint8 as float32, such that the channels of the training images
        have mean 0 and standard deviation 1."""
        return images.float().sub_(self.mean).div_(self.deviation)

    def digest(self) -> str:
        """Return a digest of all images and labels."""
        digest = hashlib.sha256()
        for part in (self.train_images, self.train_labels, self.test_images, self.test_labels):
            digest.update(part.numpy().data)
        return digest.hexdigest()

    def to(self, device: torch.device | str) -> "Data":
        """Return the data set with all its tensors on a device."""
        return Data(
            self.train_images.to(device),
            self.train_labels.to(device),
            self.test_images.to(device),
            self.test_labels.to(device),
            self.classes,
            self.mean.to(device),
            self.deviation.to(device),
        )


def load(config: Dataset, *, validation: bool = False, file: Path | None = None) -> Data:
    """Load a data set; with ``validation``, held-out *training* images take the place of the test set.

    ``file`` is what the job ``data`` has made of it; without one the images are read from where they
    are. Raises ConfigError or FileError when that does not hold the data, or has too few
    training images.
    """
    arrays = datasets.open_file(file, config) if file else datasets.read(config)
    images, labels, test_images, test_labels = (torch.from_numpy(array) for array in arrays)
    wanted = config.train or len(images)
    if wanted > len(images) or config.validation >= wanted:
        raise ConfigError(
            f"dataset: found train {wanted} with validation {config.validation}, "
            f"allowed: at most {len(images)} training images, validation below that"
        )
    images, labels = images[:wanted], labels[:wanted]
    if config.test is not None:
        test_images, test_labels = test_images[: config.test], test_labels[: config.test]
    if validation:
        split = wanted - config.validation
        test_images, test_labels = images[split:], labels[split:]
        images, labels = images[:split], labels[:split]
    moments = [torch.std_mean(channel.float()) for channel in images.unbind(1)]
    deviation, mean = (torch.stack(each).view(-1, 1, 1) for each in zip(*moments, strict=True))
    classes = int(labels.max()) + 1
    return Data(images, labels, test_images, test_labels, classes, mean, deviation.clamp_min_(1e-6))


def order(images: int, epoch: int, seed: int) -> Tensor:
    """Return the order (images,) of an epoch: a fresh permutation, a function of seed and epoch."""
    return torch.randperm(images, generator=generator(seed, "order", epoch))
