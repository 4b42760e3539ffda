"""Data sets: sizes, splits, normalisation, order."""

import numpy as np
import pytest
import torch
from PIL import Image

from analogpipe.experiment import data, datasets
from analogpipe.files import FileError
from analogpipe.profile.sections import Dataset
from analogpipe.settings import ConfigError

DIGITS = Dataset(kind="digits", name="digits", validation=256)


def test_digits():
    digits = data.load(DIGITS)
    assert digits.shape == (1, 8, 8)
    assert (len(digits.train_inputs), len(digits.test_inputs), digits.classes) == (1280, 517, 10)
    inputs = digits.prepared(digits.train_inputs)
    assert abs(float(inputs.mean())) < 1e-4
    assert float(inputs.std()) == pytest.approx(1, abs=1e-3)
    counts = torch.bincount(digits.test_targets)
    assert counts.max() - counts.min() <= 3  # stratified


def test_validation_images_are_training_images_and_never_trained_on():
    whole, split = data.load(DIGITS), data.load(DIGITS, validation=True)
    assert (len(split.train_inputs), len(split.test_inputs)) == (1024, 256)
    labels = torch.cat([split.train_targets, split.test_targets])
    assert torch.equal(labels, whole.train_targets)


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


def image_folder(path):
    rng = np.random.default_rng(0)
    for split, count in (("train", 6), ("test", 2)):
        for label in ("cat", "dog"):
            folder = path / split / label
            folder.mkdir(parents=True)
            for i in range(count):
                Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)).save(
                    folder / f"{i}.png"
                )
    return path


def test_image_folder(tmp_path):
    image_folder(tmp_path)
    config = Dataset(kind="image_folder", name="pets", path=str(tmp_path), validation=2)
    images = data.load(config)
    assert images.shape == (3, 4, 4)
    assert (len(images.train_inputs), len(images.test_inputs), images.classes) == (12, 4, 2)
    assert sorted(images.train_targets.tolist()) == [0] * 6 + [1] * 6
    with pytest.raises(ConfigError, match=r"dataset\.path"):
        data.load(config.model_copy(update={"path": str(tmp_path / "train")}))


def test_file_gives_the_same_data(tmp_path):
    file = tmp_path / "digits.safetensors"
    datasets.write(datasets.read(DIGITS), DIGITS, file)
    direct, kept = data.load(DIGITS), data.load(DIGITS, file=file)
    for name, value in vars(direct).items():
        other = getattr(kept, name)
        assert torch.equal(value, other) if isinstance(value, torch.Tensor) else value == other
    assert direct.digest() == kept.digest() != data.load(DIGITS, validation=True).digest()
    other = DIGITS.model_copy(update={"name": "other"})
    with pytest.raises(FileError, match=r"digits\.safetensors: not the data of other: made for"):
        data.load(other, file=file)


def test_broken_files(tmp_path):
    file = tmp_path / "digits.safetensors"
    arrays = datasets.read(DIGITS)
    datasets.write(arrays, DIGITS, file)
    whole = file.read_bytes()
    for content in (b"", whole[:100], whole[:-10], b"\xff" * 200):
        file.write_bytes(content)
        with pytest.raises(FileError, match=r"digits\.safetensors: not the data of digits"):
            data.load(DIGITS, file=file)
    with pytest.raises(FileError, match="not the data of digits"):
        data.load(DIGITS, file=tmp_path / "missing")
    for wrong in (
        arrays._replace(train_inputs=arrays.train_inputs.astype(np.float32)),
        arrays._replace(test_targets=arrays.test_targets[:-1]),
    ):
        datasets.write(wrong, DIGITS, file)
        with pytest.raises(FileError, match=r"its (arrays|inputs)"):
            data.load(DIGITS, file=file)


def test_images_of_a_folder_that_differ(tmp_path):
    folder = image_folder(tmp_path)
    config = Dataset(kind="image_folder", name="pets", path=str(folder), validation=2)
    odd = folder / "test/cat/9.png"
    Image.fromarray(np.zeros((4, 5, 3), np.uint8)).save(odd)
    with pytest.raises(
        ConfigError, match=r"test/\w+/\d\.png: found \d x 4 pixels, allowed: \d x 4"
    ):
        data.load(config)
    odd.write_bytes(b"no image")
    with pytest.raises(ConfigError, match=r"test/cat/9\.png: found no readable image"):
        data.load(config)
    odd.unlink()
    (folder / "test/cat").rename(folder / "test/mouse")
    with pytest.raises(ConfigError, match="found classes dog, mouse, allowed: those of train"):
        data.load(config)


@pytest.mark.parametrize("kind", ["mnist", "cifar10"])
def test_folder_without_the_data(tmp_path, kind):
    with pytest.raises(ConfigError, match="does not hold"):
        data.load(Dataset(kind=kind, name=kind, path=str(tmp_path), validation=2))


def test_nothing_can_be_downloaded_says_so(tmp_path, monkeypatch):
    from torchvision.datasets import MNIST

    def refuse(self):
        raise RuntimeError("Error downloading train-images-idx3-ubyte.gz:\nunreachable")

    monkeypatch.setattr(MNIST, "download", refuse)
    config = Dataset(kind="mnist", name="mnist", path=str(tmp_path / "new"), validation=2)
    with pytest.raises(ConfigError, match="could not be downloaded: Error downloading train") as e:
        datasets.read(config, download=True)
    assert "\n" not in str(e.value)
