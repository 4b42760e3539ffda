"""Scales and limited arrays against AIHWKit 1.1.0, exactly: ideal devices and perfect converters."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from analogpipe.layer.mapped import convolution, linear
from analogpipe.tile.config import TileConfig

pytest.importorskip("aihwkit")
from aihwkit.nn import AnalogConv2d as PeerConv
from aihwkit.nn import AnalogConv2dMapped, AnalogLinearMapped
from aihwkit.nn import AnalogLinear as PeerLinear
from aihwkit.optim import AnalogSGD
from aihwkit.simulator.configs import SingleRPUConfig
from aihwkit.simulator.configs.devices import IdealDevice

pytestmark = pytest.mark.peer

LR = 0.01
OMEGA = {"weight_scaling_omega": 0.6}
ROWS = {**OMEGA, "weight_scaling_columnwise": True}
LEARNED = {"learn_out_scaling": True}
EACH = {**LEARNED, "out_scaling_columnwise": True}
MAPPINGS = {
    "omega": OMEGA,
    "columnwise": ROWS,
    "compensated": {**ROWS, "weight_scaling_lr_compensation": True},
    "learned": LEARNED,
    "learned each": {**EACH, **ROWS},
}
PERFECT = {"forward": {"perfect": True}, "backward": {"perfect": True}}


def _tile(mapping: dict[str, Any]) -> TileConfig:
    return TileConfig.parse({"device": {"kind": "ideal"}, "mapping": mapping, **PERFECT})


def _config(mapping: dict[str, Any], digital_bias: bool = True) -> SingleRPUConfig:
    config = SingleRPUConfig(device=IdealDevice())
    config.forward.is_perfect = config.backward.is_perfect = True
    config.mapping.max_input_size = config.mapping.max_output_size = 0
    config.mapping.digital_bias = digital_bias
    for key, value in mapping.items():
        setattr(config.mapping, key, value)
    return config


def _arrays(peer: nn.Module) -> list[Tensor]:
    """What the arrays hold, those of a row of outputs beside each other."""
    tiles = list(peer.analog_tiles())
    return [tile.get_weights(apply_weight_scaling=False)[0] for tile in tiles]


def _compare(layer: Any, peer: Any, x: Tensor, steps: int = 3) -> None:
    """Train both alike, and compare everything that can be seen of them."""
    optimiser = AnalogSGD(peer.parameters(), lr=LR)
    optimiser.regroup_param_groups(peer)
    own = torch.optim.SGD(layer.parameters(), LR)
    for _ in range(steps):
        ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
        y, expected = layer(ours), peer(theirs)
        torch.testing.assert_close(y, expected)
        optimiser.zero_grad()
        own.zero_grad()
        y.square().sum().backward()
        expected.square().sum().backward()
        torch.testing.assert_close(ours.grad, theirs.grad)
        scales = [tile.get_learned_out_scales() for tile in peer.analog_tiles()]
        scales = [scale for scale in scales if isinstance(scale, nn.Parameter)]
        learned = [p for name, p in layer.named_parameters() if name.endswith("scales.learned")]
        assert len(scales) == len(learned)
        for one, other in zip(learned, _in_our_order(layer, scales), strict=True):
            torch.testing.assert_close(one.grad, other.grad)
        optimiser.step()
        own.step()
        layer.update(LR)
        weight, bias = peer.get_weights(apply_weight_scaling=True)
        torch.testing.assert_close(layer.weight, weight.view(layer.weight.shape))
        if layer.bias is not None:
            torch.testing.assert_close(layer.bias, bias)
        parts = list(layer.parts) if hasattr(layer, "parts") else [layer]
        for part, array in zip(parts, _in_our_order(layer, _arrays(peer)), strict=True):
            torch.testing.assert_close(part.matrix().flatten(1), array)


def _in_our_order(layer: Any, of_tiles: list[Any]) -> list[Any]:
    """AIHWKit counts tiles along the outputs first."""
    if not hasattr(layer, "parts") or not of_tiles:
        return of_tiles
    rows = len(layer.outputs)
    return [one for i in range(rows) for one in of_tiles[i::rows]]


@pytest.mark.parametrize("name", MAPPINGS)
def test_a_mapped_layer_is_that_of_aihwkit(name: str) -> None:
    mapping = MAPPINGS[name]
    layer = linear(5, 4, _tile(mapping), seed=0, name="layer")
    peer = PeerLinear(5, 4, rpu_config=_config(mapping))
    weight, bias = torch.randn(4, 5) * 0.3, torch.randn(4) * 0.1
    layer.set_weight(weight, bias)
    peer.set_weights(weight, bias)
    _compare(layer, peer, torch.randn(6, 5))


def test_an_analog_bias_counts_in_the_scale() -> None:
    layer = linear(3, 2, _tile(OMEGA), bias="analog", seed=0, name="layer")
    peer = PeerLinear(3, 2, rpu_config=_config(OMEGA, digital_bias=False))
    weight, bias = torch.randn(2, 3) * 0.1, torch.tensor([0.4, -0.1])
    layer.set_weight(weight, bias)
    peer.set_weights(weight, bias)
    x = torch.randn(4, 3)
    torch.testing.assert_close(layer(x), peer(x))
    alpha = torch.tensor([float(torch.cat([weight.flatten(), bias]).abs().max()) / 0.6])
    torch.testing.assert_close(layer.tile.scales.alpha, alpha)
    torch.testing.assert_close(next(peer.analog_tiles()).get_scales(), alpha)


@pytest.mark.parametrize("name", MAPPINGS)
def test_a_layer_on_several_arrays_is_that_of_aihwkit(name: str) -> None:
    mapping = {**MAPPINGS[name], "max_input_size": 4, "max_output_size": 3}
    layer = linear(10, 7, _tile(mapping), seed=0, name="layer")
    peer = AnalogLinearMapped(10, 7, rpu_config=_config(mapping))
    weight, bias = torch.randn(7, 10) * 0.3, torch.randn(7) * 0.1
    layer.set_weight(weight, bias)
    peer.set_weights(weight, bias)
    assert [part.shape for part in layer.parts] == [  # type: ignore[union-attr]
        (rows, columns) for rows in (3, 2, 2) for columns in (4, 3, 3)
    ]
    _compare(layer, peer, torch.randn(6, 10))


@pytest.mark.parametrize("name", MAPPINGS)
def test_a_mapped_convolution_is_that_of_aihwkit(name: str) -> None:
    mapping = MAPPINGS[name]
    layer = convolution(2, 4, 3, _tile(mapping), padding=1, seed=0, name="layer")
    peer = PeerConv(2, 4, 3, padding=1, rpu_config=_config(mapping))
    weight, bias = torch.randn(4, 2, 3, 3) * 0.2, torch.randn(4) * 0.1
    layer.set_weight(weight, bias)
    peer.set_weights(weight, bias)
    _compare(layer, peer, torch.randn(2, 2, 5, 5), steps=2)


@pytest.mark.parametrize("name", ["omega", "columnwise", "learned"])
def test_a_convolution_on_several_arrays_is_that_of_aihwkit(name: str) -> None:
    mapping = {**MAPPINGS[name], "max_input_size": 20, "max_output_size": 4}
    # AIHWKit multiplies learned scales of each output along the width of the image here
    options = {"stride": 2, "padding": 1}
    layer = convolution(5, 6, 3, _tile(mapping), seed=0, name="layer", **options)
    peer = AnalogConv2dMapped(5, 6, 3, rpu_config=_config(mapping), **options)
    weight, bias = torch.randn(6, 5, 3, 3) * 0.2, torch.randn(6) * 0.1
    layer.set_weight(weight, bias)
    peer.set_weights(weight, bias)
    assert [part.shape[:2] for part in layer.parts] == [  # type: ignore[union-attr]
        (3, columns) for _ in range(2) for columns in (2, 2, 1)
    ]
    _compare(layer, peer, torch.randn(2, 5, 6, 6), steps=2)
