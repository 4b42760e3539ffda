"""Data sets: sizes, splits, normalisation, order."""

import numpy as np
import pytest
import torch
from PIL import Image

from analogpipe import data
from analogpipe.config import ConfigError, Dataset

DIGITS = Dataset(kind="digits", name="digits", validation=256)


def test_digits():
    digits = data.load(DIGITS)
    assert digits.shape == (1, 8, 8)
    assert (len(digits.train_images), len(digits.test_images), digits.classes) == (1280, 517, 10)
    inputs = digits.normalised(digits.train_images)
    assert abs(float(inputs.mean())) < 1e-4
    assert float(inputs.std()) == pytest.approx(1, abs=1e-3)
    counts = torch.bincount(digits.test_labels)
    assert counts.max() - counts.min() <= 3  # stratified


def test_validation_images_are_training_images_and_never_trained_on():
    whole, split = data.load(DIGITS), data.load(DIGITS, validation=True)
    assert (len(split.train_images), len(split.test_images)) == (1024, 256)
    labels = torch.cat([split.train_labels, split.test_labels])
    assert torch.equal(labels, whole.train_labels)


def test_order_is_a_permutation_that_differs_between_epochs_and_seeds():
    orders = [data.order(50, epoch, seed) for epoch, seed in ((0, 0), (1, 0), (0, 1))]
    for order in orders:
        assert sorted(order.tolist()) == list(range(50))
    assert len({tuple(order.tolist()) for order in orders}) == 3
    assert torch.equal(orders[0], data.order(50, 0, 0))


def test_too_few_images():
    with pytest.raises(ConfigError, match="1280"):
        data.load(DIGITS.model_copy(update={"train": 2000}))
    with pytest.raises(ConfigError, match="validation"):
        data.load(DIGITS.model_copy(update={"train": 256}))


def test_image_folder(tmp_path):
    rng = np.random.default_rng(0)
    for split, count in (("train", 6), ("test", 2)):
        for label in ("cat", "dog"):
            folder = tmp_path / split / label
            folder.mkdir(parents=True)
            for i in range(count):
                Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)).save(
                    folder / f"{i}.png"
                )
    config = Dataset(kind="image_folder", name="pets", path=str(tmp_path), validation=2)
    images = data.load(config)
    assert images.shape == (3, 4, 4)
    assert (len(images.train_images), len(images.test_images), images.classes) == (12, 4, 2)
    assert sorted(images.train_labels.tolist()) == [0] * 6 + [1] * 6
    with pytest.raises(ConfigError, match=r"dataset\.path"):
        data.load(config.model_copy(update={"path": str(tmp_path / "train")}))


@pytest.mark.parametrize("kind", ["mnist", "cifar10"])
def test_folder_without_the_data(tmp_path, kind):
    with pytest.raises(ConfigError, match="does not hold"):
        data.load(Dataset(kind=kind, name=kind, path=str(tmp_path), validation=2))
