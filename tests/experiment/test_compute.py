"""Device and precision of a run."""

import pytest
import torch
from torch import nn

from analogpipe.experiment.machine import Autocast, prepare
from analogpipe.layer.convolution import AnalogConv2d
from analogpipe.layer.linear import AnalogLinear
from analogpipe.profile.sections import Compute
from analogpipe.settings import ConfigError
from analogpipe.tile.config import TileConfig


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_missing_gpu_is_a_line():
    with pytest.raises(ConfigError, match=r"compute\.device: found cuda, allowed: cpu"):
        prepare(Compute(device="cuda"))


def test_precision_of_products_is_that_of_the_last_run():
    for precision, expected in (("tf32", "high"), ("float32", "highest"), ("bf16", "highest")):
        assert prepare(Compute(precision=precision)) == torch.device("cpu")
        assert torch.get_float32_matmul_precision() == expected


def test_products_and_precision_are_one_choice():
    with pytest.raises(
        ValueError, match="found bfloat16 with precision tf32, allowed: one of both"
    ):
        Compute(precision="tf32", products="bfloat16")
    assert Compute(precision="tf32").products == "float32"


def test_bfloat16_inside_float32_outside():
    seen = []
    module = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 4))
    module[1].register_forward_hook(lambda module, args, y: seen.append(y.dtype))
    x = torch.rand(3, 8)
    y = Autocast(module)(x)
    assert (seen, y.dtype) == ([torch.bfloat16], torch.float32)
    assert torch.allclose(y, module(x), atol=0.02)
    assert not torch.equal(y, module(x))


def test_analog_layers_stay_in_float32():
    tile = TileConfig.parse({"device": {"kind": "ideal"}})
    layers = [
        AnalogConv2d(2, 3, 3, tile, seed=0, name="conv"),
        nn.Flatten(),
        AnalogLinear(3 * 4 * 4, 5, tile, seed=0, name="linear"),
    ]
    seen = []
    for layer in (layers[0], layers[2]):
        layer.register_forward_hook(lambda layer, args, y: seen.append((args[0].dtype, y.dtype)))
    module = nn.Sequential(nn.Conv2d(1, 2, 1), nn.Tanh(), *layers)
    Autocast(module)(torch.rand(2, 1, 6, 6)).sum().backward()
    assert seen == [(torch.float32, torch.float32)] * 2
    assert {e.dtype for layer in (layers[0], layers[2]) for e in layer.pending_state()} == {
        torch.float32
    }
