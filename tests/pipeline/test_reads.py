"""Blocks as the cost model knows them."""

import torch
from torch import nn

from analogpipe.experiment import models
from analogpipe.hardware.layers import Layer, Stage, attention, convolution, linear
from analogpipe.layer import mapped
from analogpipe.layer.convolution import AnalogConv2d
from analogpipe.layer.linear import AnalogLinear
from analogpipe.pipeline.reads import describe, reads
from analogpipe.profile.sections import Decoder, ResNet
from analogpipe.tile.config import TileConfig, digital


def _plain(layers: tuple[Layer, ...]) -> list[tuple[object, ...]]:
    """Layers without their names."""
    return [(one.kind, one.inputs, one.outputs, one.positions, one.stored_values) for one in layers]


def _same(found: tuple[Layer, ...], expected: list[Layer]) -> None:
    assert _plain(found) == _plain(tuple(expected))


def test_a_residual_network_is_its_convolutions_and_messages() -> None:
    config = ResNet(kind="resnet", name="r", layers=10, width=4)
    blocks = models.build(config, (3, 32, 32), 10, None, 0)
    found = describe(blocks, torch.randn(2, 3, 32, 32))
    _same(found[0].layers, [convolution(3, 4, 3, 32, 32)])
    # the first half of a block sends its path and its shortcut
    _same(found[3].layers, [convolution(4, 8, 3, 32, 32, stride=2)])
    assert found[3].sent == 2 * 8 * 16 * 16
    _same(found[-1].layers, [linear(32, 10)])
    assert [layer.returns_error for block in found for layer in block.layers] == [False] + 9 * [
        True
    ]


def test_a_decoder_is_its_projections_and_its_attention() -> None:
    config = Decoder(kind="decoder", name="d", layers=2, width=16, heads=4)
    blocks = models.build(config, (12,), 30, digital(), 0)
    found = describe(blocks, torch.zeros(1, 12, dtype=torch.int64))
    _same(found[0].layers, attention(16, 12))
    _same(found[1].layers, [linear(16, 64, 12), linear(64, 16, 12)])
    assert found[1].sent == 12 * 16
    # the embedding learns: the first projection has to return an error
    assert found[0].layers[0].returns_error


def test_analog_layers_are_as_digital_ones_but_for_a_bias_in_the_array() -> None:
    tile = TileConfig.parse({"device": {"kind": "constant_step"}})
    one = [
        AnalogConv2d(2, 3, (3, 5), tile, stride=2, bias="analog", seed=0, name="a"),
        nn.Sequential(nn.Flatten(), AnalogLinear(3 * 9, 4, tile, bias="analog", seed=0, name="b")),
    ]
    two = [nn.Conv2d(2, 3, (3, 5), stride=2), nn.Sequential(nn.Flatten(), nn.Linear(27, 4))]
    x = torch.randn(3, 2, 8, 9)
    analog, ordinary = describe(one, x), describe(two, x)
    for a, b in zip(analog, ordinary, strict=True):
        assert a.sent == b.sent
        (p,), (q,) = a.layers, b.layers
        assert (p.inputs, p.outputs, p.positions) == (q.inputs + 1, q.outputs, q.positions)
    assert analog[0].layers[0].inputs == 2 * 15 + 1
    assert [block.layers[0].name for block in ordinary] == ["0", "1.1"]


def test_reads_are_those_of_the_description() -> None:
    config = Decoder(kind="decoder", name="d", layers=2, width=16, heads=4)
    blocks = models.build(config, (12,), 30, None, 0)
    x = torch.zeros(3, 12, dtype=torch.int64)
    assert reads(blocks, x) == [3 * block.reads for block in describe(blocks, x)]


def test_what_has_no_matrix_is_an_empty_block() -> None:
    block = nn.Dropout(0.5)
    assert describe([block], torch.ones(2, 5)) == [Stage((), 5)]
    assert block.training


def test_a_layer_on_several_arrays_is_one_matrix() -> None:
    tile = TileConfig.parse(
        {"device": {"kind": "constant_step"}, "mapping": {"max_input_size": 10}}
    )
    block = mapped.linear(25, 4, tile, seed=0, name="a")
    (found,) = describe([block], torch.ones(2, 25))[0].layers
    assert (found.kind, found.inputs, found.outputs, found.positions) == ("linear", 25, 4, 1)
    assert reads([block], torch.ones(2, 25)) == [2]
