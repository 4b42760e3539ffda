"""Networks and data sets from a user's file: what they give, and what is refused before training."""

import numpy as np
import pytest
import torch

from analogpipe.device.parameters import SoftBounds
from analogpipe.experiment import data, datasets, models, own, provenance
from analogpipe.layer.base import AnalogLayer
from analogpipe.profile.profile import load_profile
from analogpipe.profile.sections import Dataset, PythonModel
from analogpipe.settings import ConfigError
from analogpipe.tile.config import TileConfig

NETWORK = """
from torch import nn
def blocks(shape, classes):
    return [nn.Flatten(), nn.Linear(shape[0] * shape[1] * shape[2], 5), nn.Linear(5, classes)]
def tokens(shape, classes):
    return ["a", "b", "c"]
def lstm(shape, classes):
    return [nn.Flatten(), nn.LSTM(4, 4), nn.Linear(4, classes)]
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(NETWORK)
    return path


def config(path, **changes):
    return PythonModel(
        **{"kind": "python", "name": "mine", "file": str(path), "blocks": 3, **changes}
    )


def test_the_seed_alone_decides_and_the_global_stream_is_put_back(file):
    before = torch.get_rng_state()
    one, same, other = (
        torch.nn.Sequential(*models.build(config(file), (1, 2, 2), 3, None, seed)).state_dict()
        for seed in (0, 0, 1)
    )
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["1.weight"], other["1.weight"])


def test_layers_go_on_arrays_but_for_those_named(file):
    tile = TileConfig(device=SoftBounds())
    blocks = models.build(config(file, digital=["2"]), (1, 2, 2), 3, tile, 0)
    assert [isinstance(block, AnalogLayer) for block in blocks] == [False, True, False]


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"blocks": 2}, "model.blocks: blocks of .* returned 3 blocks, allowed: 2 torch modules"),
        ({"function": "tokens"}, "returned a str"),
        ({"function": "missing"}, "found no function missing"),
        (
            {"file": "nowhere.py"},
            r"model.file: found nowhere\.py, allowed: an existing Python file",
        ),
    ],
)
def test_what_is_no_network(file, changes, fault):
    with pytest.raises(ConfigError, match=fault):
        models.build(config(file, **changes), (1, 2, 2), 3, None, 0)


def test_what_no_array_can_do_is_named(file):
    with pytest.raises(ValueError, match=r"1 .*LSTM"):
        models.build(config(file, function="lstm"), (1, 2, 2), 3, TileConfig(), 0)


def test_a_file_that_fails_is_one_line(tmp_path):
    (tmp_path / "bad.py").write_text("1 / 0")
    with pytest.raises(ConfigError, match=r"bad\.py: ZeroDivisionError: division by zero"):
        own.call(str(tmp_path / "bad.py"), "blocks", "model.file")


def test_an_edit_of_the_file_is_another_run(file, edited):
    settings = {"kind": "python", "name": "mine", "file": str(file), "blocks": 3}
    run = load_profile(edited("model", settings)).run("digital", "async", 3, 0)
    before = provenance.key(run, "data")
    assert provenance.key(run, "data") == before
    file.write_text(NETWORK + "\n# an edit\n")
    assert provenance.key(run, "data") != before


def source(tmp_path, expression: str) -> Dataset:
    (tmp_path / "data.py").write_text(f"import numpy as np\ndef mine():\n    return {expression}\n")
    return Dataset(
        kind="python", name="mine", path=str(tmp_path / "data.py"), function="mine", validation=1
    )


def test_a_data_set(tmp_path):
    images, targets = "np.full((4, 1, 2, 2), 7, np.uint8)", "np.arange(4)"
    mine = source(tmp_path, f"({images}, {targets}, {images}[:2], {targets}[:2])")
    datasets.write(datasets.read(mine), mine, tmp_path / "data.safetensors")
    samples = data.load(mine, file=tmp_path / "data.safetensors")
    assert (samples.shape, samples.classes) == ((1, 2, 2), 4)
    assert torch.equal(samples.test_targets, torch.arange(2))
    assert np.array_equal(samples.train_inputs.unique(), [7])


@pytest.mark.parametrize(
    ("expression", "fault"),
    [
        ("(np.zeros(3),) * 3", "returned 3 arrays, allowed: 4"),
        ("(np.zeros((3, 1, 2, 2)), np.arange(3)) * 2", r"returned float64 \(3, 1, 2, 2\)"),
        ("(np.zeros((3, 1, 2, 2), np.uint8), np.arange(2)) * 2", r"with int64 \(2,\)"),
    ],
)
def test_what_is_no_data_set(tmp_path, expression, fault):
    with pytest.raises(ConfigError, match=fault):
        datasets.read(source(tmp_path, expression))
