"""Convolutions of every geometry that torch knows, and inputs of every size."""

from typing import Any

import pytest
import torch
from torch import nn

from analogpipe.device.parameters import SoftBounds
from analogpipe.layer.base import LayerError
from analogpipe.layer.convolution import AnalogConv2d
from analogpipe.layer.linear import AnalogLinear
from analogpipe.seeds import generator
from analogpipe.tile.config import TileConfig, digital
from analogpipe.tile.sections import UpdateConfig

GEOMETRIES: list[dict[str, Any]] = [
    {"kernel_size": 3, "padding": "same"},
    {"kernel_size": (2, 4), "padding": "same"},
    {"kernel_size": 3, "padding": "valid", "stride": (2, 1)},
    {"kernel_size": 3, "dilation": 2, "padding": 2},
    {"kernel_size": (3, 2), "dilation": (1, 3), "stride": 2, "groups": 2},
    {"kernel_size": (2, 3), "padding": "same", "dilation": (3, 2)},
    {"kernel_size": 3, "padding": 1, "padding_mode": "reflect"},
    {"kernel_size": 3, "padding": (2, 1), "padding_mode": "circular", "stride": 2},
    {"kernel_size": 4, "padding": "same", "padding_mode": "replicate"},
    {"kernel_size": 1, "stride": 3, "padding": 1},
]


def _pair(tile: TileConfig, geometry: dict[str, Any]) -> tuple[AnalogConv2d, nn.Conv2d]:
    options = dict(geometry)
    size = options.pop("kernel_size")
    layer = AnalogConv2d(4, 6, size, tile, seed=0, name="conv", **options)
    twin = nn.Conv2d(4, 6, size, **options)
    twin.load_state_dict({"weight": layer.weight, "bias": layer.bias})
    return layer, twin


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_a_digital_tile_trains_like_torch(geometry: dict[str, Any]) -> None:
    layer, twin = _pair(digital(), geometry)
    for shape in ((2, 4, 9, 8), (4, 9, 8)):
        x = torch.randn(shape, generator=generator(0, len(shape)))
        ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
        y, expected = layer(ours), twin(theirs)
        torch.testing.assert_close(y, expected)
        y.square().sum().backward()
        expected.square().sum().backward()
        torch.testing.assert_close(ours.grad, theirs.grad)
    layer.update(0.01)
    torch.testing.assert_close(layer.weight, twin.weight.data - 0.01 * twin.weight.grad)
    torch.testing.assert_close(layer.bias.grad, twin.bias.grad)  # type: ignore[union-attr]


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_reads_and_pulses_count_the_same_positions(geometry: dict[str, Any]) -> None:
    """The mean update by products is that patch by patch; a quiet read is near the exact one."""
    plain = {"dw_min_dtod": 0, "w_max_dtod": 0, "w_min_dtod": 0, "up_down_dtod": 0}
    device = SoftBounds(dw_min=1e-3, **plain)
    changes = []
    x = torch.rand(2, 4, 9, 8, generator=torch.Generator().manual_seed(0))
    for managed in (True, False):
        # a train of 10^6 slots clips nothing
        rule = UpdateConfig(rule="mean", update_management=managed, desired_bl=10**6)
        tile = TileConfig.parse(
            {"device": device, "update": rule, "forward": {"out_noise": 0}, "backward": {"perfect": True}}
        )  # fmt: skip
        if not managed and geometry.get("groups", 1) > 1:
            return
        layer, twin = _pair(tile, geometry)
        before = layer.weight.clone()
        y = layer(x)
        torch.testing.assert_close(y, twin(x), atol=0.08, rtol=0)
        y.backward(torch.sin(torch.arange(y.numel())).view(y.shape))
        layer.update(1e-4)
        changes.append(layer.weight - before)
    torch.testing.assert_close(*changes, atol=1e-7, rtol=1e-3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stride": 0}, "stride is an integer or two, 1 or more, found 0"),
        ({"kernel_size": 0}, "kernel_size is an integer or two, 1 or more"),
        ({"kernel_size": (3,)}, "Conv1d, of which there is no analog layer"),
        ({"kernel_size": (3, 3, 3)}, "Conv3d, of which there is no analog layer"),
        ({"dilation": (1, 0)}, "dilation is"),
        ({"padding": -1}, "padding is an integer or two, 0 or more, found -1"),
        ({"padding": "full"}, "'same' or 'valid', found 'full'"),
        ({"padding": "same", "stride": 2}, "padding 'same' needs stride 1"),
        ({"padding_mode": "constant"}, "zeros, reflect, replicate, circular, found 'constant'"),
        ({"groups": 3}, "3 groups"),
        ({"stride": 1.5}, "stride is an integer or two"),
    ],
)
def test_what_is_no_convolution_is_refused_when_it_is_made(
    options: dict[str, Any], message: str
) -> None:
    arguments = {"kernel_size": 3} | options
    with pytest.raises(LayerError, match=message) as error:
        AnalogConv2d(4, 6, tile=TileConfig(), seed=0, name="conv", **arguments)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "tile",
    [
        {"update": {"rule": "pulse_train"}},
        {"transfer": {"units_in_mbatch": False}},
        {"preset": "PCM", "update": {"update_management": False}},
    ],
)
def test_groups_that_could_not_be_updated_are_refused_when_they_are_made(
    tile: dict[str, Any],
) -> None:
    with pytest.raises(LayerError, match="conv: updates of this tile go patch by patch"):
        AnalogConv2d(4, 6, 3, TileConfig.parse(tile), groups=2, seed=0, name="conv")


@pytest.mark.parametrize("bias", [True, "analog", False])
@pytest.mark.parametrize("tile", [TileConfig(), digital()])
def test_empty_batches_pass_as_in_torch(bias: Any, tile: TileConfig) -> None:
    conv = AnalogConv2d(2, 3, 3, tile, bias=bias, seed=0, name="conv")
    linear = AnalogLinear(6, 5, tile, bias=bias, seed=0, name="fc")
    for layer, shape, out in ((conv, (0, 2, 5, 6), (0, 3, 3, 4)), (linear, (4, 0, 6), (4, 0, 5))):
        before = layer.weight.clone()
        x = torch.rand(shape, requires_grad=True)
        y = layer(x)
        assert y.shape == out
        y.sum().backward()
        assert x.grad is not None
        assert x.grad.shape == x.shape
        layer.update(0.1)
        assert torch.equal(layer.weight, before)


def test_vectors_and_sequences_are_inputs_of_a_linear_layer() -> None:
    layer = AnalogLinear(4, 3, digital(), seed=0, name="fc")
    x = torch.rand(2, 5, 4)
    torch.testing.assert_close(layer(x)[1, 3], layer(x[1, 3]))


@pytest.mark.parametrize("shape", [(2, 3), (4,), (2, 6, 2), ()])
def test_inputs_that_do_not_fit_are_named(shape: tuple[int, ...]) -> None:
    with pytest.raises(LayerError, match=r"fc: the input has shape .* allowed: 6 along axis -1"):
        AnalogLinear(6, 5, TileConfig(), seed=0, name="fc")(torch.rand(shape))
    conv = AnalogConv2d(2, 3, 3, TileConfig(), seed=0, name="conv")
    with pytest.raises(LayerError, match=r"conv: the input has shape .* allowed: 2 along axis -3"):
        conv(torch.rand(1, 3, 5, 5))
    with pytest.raises(LayerError, match="of 3 or 4"):
        conv(torch.rand(1, 1, 2, 5, 5))
    with pytest.raises(LayerError, match=r"2 x 5 pixels .* smaller than the kernel, \(3, 3\)"):
        conv(torch.rand(1, 2, 2, 5))


def test_the_repr_tells_sizes() -> None:
    conv = AnalogConv2d(
        4, 6, 3, TileConfig(), padding="same", groups=2, bias=False, seed=0, name="conv"
    )
    assert repr(conv).startswith(
        "AnalogConv2d(\n  4, 6, kernel_size=(3, 3), stride=(1, 1), padding='same', groups=2, "
        "bias=False, device=soft_bounds\n"
    )
    linear = AnalogLinear(4, 6, digital(), bias="analog", seed=0, name="fc")
    assert "4, 6, bias=analog, device=ideal" in repr(linear)
    assert "(array): IdealArray(6 x 5)" in repr(linear)
