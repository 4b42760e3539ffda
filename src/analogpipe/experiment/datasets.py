"""Data sets as arrays of bytes: where the samples come from, and the file that a workflow keeps of them.

The job ``data`` downloads or decodes the data of a profile once; all its runs map that file into their
memory.
"""

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from analogpipe.experiment import own, text
from analogpipe.files import FileError, write_bytes
from analogpipe.profile.sections import Dataset
from analogpipe.settings import ConfigError

Bytes = NDArray[np.uint8]
Labels = NDArray[np.int64]

DIGITS_TEST = 517


class Arrays(NamedTuple):
    """Of training and test: images (N, C, H, W) and their classes (N,), or windows of characters
    (N, context) and at each place the one that follows. Targets are in 0..classes-1."""

    train_inputs: Bytes
    train_targets: Labels
    test_inputs: Bytes
    test_targets: Labels


def read(config: Dataset, *, download: bool = False) -> Arrays:
    """Return a data set from where its images are; with ``download``, fetch what is not there.

    Raises ConfigError when the folder does not hold the data, or it cannot be downloaded.
    """
    return _READERS[config.kind](config, download)


def _digits(config: Dataset, download: bool) -> Arrays:
    """scikit-learn's 1797 images of 8x8 pixels, split 1280 to 517, stratified and always the same."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    images, labels = load_digits(return_X_y=True)
    images = images.reshape(-1, 1, 8, 8).astype(np.uint8)
    train, test, train_targets, test_targets = train_test_split(
        images, labels.astype(np.int64), test_size=DIGITS_TEST, stratify=labels, random_state=0
    )
    return Arrays(train, train_targets, test, test_targets)


def _mnist(config: Dataset, download: bool) -> Arrays:
    from torchvision.datasets import MNIST

    return _torchvision(MNIST, config, download)


def _cifar10(config: Dataset, download: bool) -> Arrays:
    from torchvision.datasets import CIFAR10

    return _torchvision(CIFAR10, config, download)


def _torchvision(kind: Callable[..., Any], config: Dataset, download: bool) -> Arrays:
    """A data set of torchvision, which checks the checksums of what it downloads."""
    arrays: list[Any] = []
    for train in (True, False):
        try:
            split = kind(config.path, train=train, download=download)
        except RuntimeError as error:
            fault = f"does not hold {config.kind} as torchvision lays it out"
            if download:
                reason = str(error).splitlines()[0].rstrip(":")
                fault += f", and it could not be downloaded: {reason}"
            else:
                fault += "; `snakemake --config profile=NAME -- data` downloads it"
            raise ConfigError(f"dataset.path: {config.path} {fault}") from None
        except OSError as error:
            raise ConfigError(
                f"dataset.path: {config.path} cannot hold {config.kind}: {error}"
            ) from None
        images = np.asarray(split.data, dtype=np.uint8)
        images = images[:, None] if images.ndim == 3 else images.transpose(0, 3, 1, 2)
        arrays += [np.ascontiguousarray(images), np.asarray(split.targets, dtype=np.int64)]
    return Arrays(*arrays)


def _image_folder(config: Dataset, download: bool) -> Arrays:
    """``path/train/CLASS/*`` and ``path/test/CLASS/*``, all images of one size."""
    from torchvision.datasets import ImageFolder

    arrays: list[Any] = []
    classes: list[str] | None = None
    for split in ("train", "test"):
        folder = Path(str(config.path)) / split
        try:
            dataset = ImageFolder(str(folder))
        except OSError as error:
            raise ConfigError(f"dataset.path: {folder}: {str(error).splitlines()[0]}") from None
        if classes is not None and classes != dataset.classes:
            raise ConfigError(
                f"dataset.path: {folder}: found classes {', '.join(dataset.classes)}, "
                f"allowed: those of train, {', '.join(classes)}"
            )
        classes = dataset.classes
        images = np.empty((0, 0, 0, 3), np.uint8)
        # The files come class by class: shuffled once, so that a cut of them is a fair sample.
        shuffled = np.random.default_rng(0).permutation(len(dataset))
        for place, i in enumerate(shuffled):
            path = dataset.samples[i][0]
            try:
                pixels = np.asarray(dataset.loader(path))
            except (OSError, ValueError):
                raise ConfigError(f"dataset.path: {path}: found no readable image") from None
            if place == 0:
                images = np.empty((len(dataset), *pixels.shape), np.uint8)
            if pixels.shape != images.shape[1:]:
                raise ConfigError(
                    f"dataset.path: {path}: found {_size(pixels)} pixels, "
                    f"allowed: {_size(images[0])}, the size of the other images"
                )
            images[place] = pixels
        labels = np.asarray(dataset.targets, dtype=np.int64)[shuffled]
        arrays += [np.ascontiguousarray(images.transpose(0, 3, 1, 2)), labels]
    return Arrays(*arrays)


def _text(config: Dataset, download: bool) -> Arrays:
    train, test = text.read(Path(str(config.path)), int(config.context or 0), download=download)
    return Arrays(*train, *test)


def _python(config: Dataset, download: bool) -> Arrays:
    return Arrays(*own.arrays(str(config.path), str(config.function)))


def _size(pixels: Bytes) -> str:
    return f"{pixels.shape[1]} x {pixels.shape[0]}"


_READERS: dict[str, Callable[[Dataset, bool], Arrays]] = {
    "digits": _digits,
    "mnist": _mnist,
    "cifar10": _cifar10,
    "image_folder": _image_folder,
    "text": _text,
    "python": _python,
}


def write(arrays: Arrays, config: Dataset, path: Path) -> None:
    """Keep arrays as a safetensors file, with what they depend on."""
    write_bytes(path, save(arrays._asdict(), {"dataset": config.source}))


def open_file(path: Path, config: Dataset) -> Arrays:
    """Return the arrays of a file that :func:`write` made for the same data set.

    Raises FileError for any other file.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            found = (file.metadata() or {}).get("dataset")
            if found != config.source:
                raise ValueError(f"made for another data set: {found}")
            arrays = Arrays(*(file.get_tensor(name) for name in Arrays._fields))
        dimensions = {"text": (2,), "python": (2, 4)}.get(config.kind, (4,))
        for inputs, targets in (arrays[:2], arrays[2:]):
            if (
                inputs.dtype != np.uint8
                or targets.dtype != np.int64
                or inputs.ndim not in dimensions
            ):
                raise ValueError("its arrays are not inputs and targets")
            if targets.shape != inputs.shape[: targets.ndim] or not len(targets):
                raise ValueError("its inputs and targets differ in number")
    except (SafetensorError, OSError, ValueError, RecursionError, struct.error) as error:
        raise FileError(f"{path}: not the data of {config.name}: {error}") from None
    return arrays
