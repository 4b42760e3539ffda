"""Text as a data set: what a window holds, and what is refused."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch

from analogpipe.experiment import data, datasets, text
from analogpipe.profile.sections import Dataset
from analogpipe.settings import ConfigError

LINE = "abcdefghij"


def config(path: Path, **changes) -> Dataset:
    return Dataset(
        **{
            "kind": "text",
            "name": "mine",
            "path": str(path),
            "context": 4,
            "validation": 3,
            **changes,
        }
    )


@pytest.fixture
def book(tmp_path):
    path = tmp_path / "book.txt"
    path.write_text(LINE * 20, encoding="utf-8")
    return path


def test_targets_are_the_characters_that_follow(book):
    samples = data.load(config(book))
    assert samples.shape == (4,)
    assert samples.classes == 10
    # 180 characters of training: the last one has no follower
    assert samples.train_inputs.shape == (44, 4)
    assert samples.test_inputs.shape == (4, 4)
    for inputs, targets in (
        (samples.train_inputs, samples.train_targets),
        (samples.test_inputs, samples.test_targets),
    ):
        assert torch.equal(targets, (inputs.long() + 1) % 10)
    assert samples.train_inputs.flatten().tolist() == [i % 10 for i in range(176)]
    assert samples.prepared(samples.train_inputs).dtype == torch.int64


def test_held_out_windows_are_the_last_of_training(book):
    whole, split = data.load(config(book)), data.load(config(book), validation=True)
    assert torch.equal(whole.train_inputs[-3:], split.test_inputs)
    assert torch.equal(whole.train_targets[-3:], split.test_targets)


def test_the_file_of_the_workflow_is_of_one_context(book, tmp_path):
    datasets.write(datasets.read(config(book)), config(book), tmp_path / "data.safetensors")
    samples = data.load(config(book), file=tmp_path / "data.safetensors")
    assert samples.digest() == data.load(config(book)).digest()
    with pytest.raises(ValueError, match="made for another data set"):
        data.load(config(book, context=5), file=tmp_path / "data.safetensors")


@pytest.mark.parametrize(
    ("content", "context", "fault"),
    [
        (b"\xff\xfe", 4, "is not UTF-8 text"),
        (
            "".join(map(chr, range(300, 700))).encode(),
            4,
            "found 400 characters, allowed: at most 256",
        ),
        (b"ab" * 20, 4, "dataset.context: found 4, allowed: less than the 4 characters"),
    ],
)
def test_what_is_no_text(tmp_path, content, context, fault):
    (tmp_path / "book.txt").write_bytes(content)
    with pytest.raises(ConfigError, match=fault):
        data.load(config(tmp_path / "book.txt", context=context))


def test_a_missing_text_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"book\.txt: cannot be read: No such file"):
        data.load(config(tmp_path / "book.txt"))


def test_a_download_is_checked(tmp_path, monkeypatch):
    source = tmp_path / "source.txt"
    source.write_text(LINE * 20)
    monkeypatch.setattr(text, "SHAKESPEARE", source.as_uri())
    with pytest.raises(ConfigError, match="could not be downloaded: invalid hash value"):
        text.read(tmp_path / "below" / "book.txt", 4, download=True)
    assert not (tmp_path / "below" / "book.txt").exists()
    monkeypatch.setattr(text, "CHECKSUM", hashlib.sha256(source.read_bytes()).hexdigest())
    (inputs, _), _ = text.read(tmp_path / "below" / "book.txt", 4, download=True)
    assert np.array_equal(inputs[0], [0, 1, 2, 3])


@pytest.mark.parametrize(
    ("changes", "fault"),
    [({"context": None}, "context is required"), ({"kind": "digits"}, "context is required")],
)
def test_a_context_is_for_text(tmp_path, changes, fault):
    with pytest.raises(ValueError, match=fault):
        config(tmp_path, **changes)
