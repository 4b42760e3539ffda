"""Images and labels, held in memory, and the order in which a run sees them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from analogpipe.config import ConfigError, Dataset
from analogpipe.seeds import generator


@dataclass(frozen=True)
class Data:
    """A split data set: images (N, C, H, W) float32 with the training set's mean 0 and standard
    deviation 1 over all pixels, labels (N,) int64 in 0..classes-1."""

    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    classes: int

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape (C, H, W) of one image."""
        return tuple(self.train_images.shape[1:])


def load(config: Dataset, *, validation: bool = False) -> Data:
    """Load a data set; with ``validation``, held-out *training* images take the place of the test set.

    Raises ConfigError when the folder does not hold the data, or has too few training images.
    """
    images, labels, test_images, test_labels = _READERS[config.kind](config)
    wanted = config.train or len(images)
    if wanted > len(images) or config.validation >= wanted:
        raise ConfigError(
            f"dataset: found train {wanted} with validation {config.validation}, "
            f"allowed: at most {len(images)} training images, validation below that"
        )
    images, labels = images[:wanted], labels[:wanted]
    if validation:
        split = wanted - config.validation
        test_images, test_labels = images[split:], labels[split:]
        images, labels = images[:split], labels[:split]
    mean, spread = images.mean(), images.std()
    return Data(
        torch.from_numpy((images - mean) / spread),
        torch.from_numpy(labels),
        torch.from_numpy((test_images - mean) / spread),
        torch.from_numpy(test_labels),
        int(labels.max()) + 1,
    )


def order(images: int, epoch: int, seed: int) -> Tensor:
    """Return the order (images,) of an epoch: a fresh permutation, a function of seed and epoch."""
    return torch.randperm(images, generator=generator(seed, "order", epoch))


Arrays = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
DIGITS_TEST = 517


def _digits(config: Dataset) -> Arrays:
    """scikit-learn's 1797 images of 8x8 pixels, split 1280 to 517, stratified and always the same."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    images, labels = load_digits(return_X_y=True)
    images = images.reshape(-1, 1, 8, 8).astype(np.float32)
    train, test, train_labels, test_labels = train_test_split(
        images, labels.astype(np.int64), test_size=DIGITS_TEST, stratify=labels, random_state=0
    )
    return train, train_labels, test, test_labels


def _mnist(config: Dataset) -> Arrays:
    from torchvision.datasets import MNIST

    return _torchvision(MNIST, config)


def _cifar10(config: Dataset) -> Arrays:
    from torchvision.datasets import CIFAR10

    return _torchvision(CIFAR10, config)


def _torchvision(kind: type, config: Dataset) -> Arrays:
    arrays: list[np.ndarray] = []
    for train in (True, False):
        try:
            split = kind(config.path, train=train, download=False)
        except RuntimeError:
            raise ConfigError(
                f"dataset.path: {config.path} does not hold {config.kind} as torchvision lays it out"
            ) from None
        images = np.asarray(split.data, dtype=np.float32)
        images = images[:, None] if images.ndim == 3 else images.transpose(0, 3, 1, 2)
        arrays += [np.ascontiguousarray(images), np.asarray(split.targets, dtype=np.int64)]
    return arrays[0], arrays[1], arrays[2], arrays[3]


def _image_folder(config: Dataset) -> Arrays:
    """``path/train/CLASS/*`` and ``path/test/CLASS/*``, all images of one size and mode."""
    from torchvision.datasets import ImageFolder

    arrays: list[np.ndarray] = []
    for split in ("train", "test"):
        folder = Path(str(config.path)) / split
        try:
            dataset = ImageFolder(str(folder))
        except (FileNotFoundError, OSError) as error:
            raise ConfigError(f"dataset.path: {folder}: {str(error).splitlines()[0]}") from None
        # The files come class by class: shuffled once, so that a cut of them is a fair sample.
        shuffled = np.random.default_rng(0).permutation(len(dataset))
        images = np.stack([np.asarray(dataset[i][0].convert("RGB")) for i in shuffled])
        arrays += [
            np.ascontiguousarray(images.transpose(0, 3, 1, 2), dtype=np.float32),
            np.asarray(dataset.targets, dtype=np.int64)[shuffled],
        ]
    return arrays[0], arrays[1], arrays[2], arrays[3]


_READERS = {
    "digits": _digits,
    "mnist": _mnist,
    "cifar10": _cifar10,
    "image_folder": _image_folder,
}
