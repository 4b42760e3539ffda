"""Weights at a scale, and layers on several arrays: against digital layers and worked numbers."""

import copy
import json

import pytest
import torch
import yaml
from torch import Tensor, nn

from analogpipe.layer.base import LayerError
from analogpipe.layer.convert import to_analog
from analogpipe.layer.convolution import AnalogConv2d
from analogpipe.layer.linear import AnalogLinear
from analogpipe.layer.mapped import AnalogConv2dMapped, AnalogLinearMapped, convolution, linear
from analogpipe.pipeline.reads import reads
from analogpipe.tile.config import TileConfig
from analogpipe.tile.mapping import pieces

PERFECT = {"forward": {"perfect": True}, "backward": {"perfect": True}}
WEIGHT = torch.tensor([[0.1, -0.2], [0.05, 0.3]])
EXACT = {"dw_min_dtod": 0, "dw_min_std": 0, "up_down_dtod": 0, "w_max_dtod": 0, "w_min_dtod": 0}
RULES = {
    "ideal": {"device": {"kind": "ideal"}},
    "mean": {
        "device": {"kind": "constant_step", "dw_min": 1e-5, "w_max": 9, "w_min": -9, **EXACT},
        "update": {"rule": "mean", "desired_bl": 100_000},
    },
    "mixed precision": {
        "device": {"kind": "constant_step", "dw_min": 1e-5, "w_max": 9, "w_min": -9, **EXACT},
        "mixed_precision": {},
        "update": {"rule": "mean", "desired_bl": 100_000},
    },
}


def _tile(rule: str = "ideal", **mapping: object) -> TileConfig:
    return TileConfig.parse({**PERFECT, **RULES[rule], "mapping": mapping})


def _step(layer: nn.Module, x: Tensor, e: Tensor, lr: float) -> tuple[Tensor, Tensor]:
    """One step of plain SGD; the output, and the gradient for ``x``."""
    x = x.clone().requires_grad_()
    y = layer(x)
    y.backward(e)
    with torch.no_grad():
        for p in layer.parameters():
            if p.grad is not None:
                p -= lr * p.grad
    layer.update(lr)  # type: ignore[operator]
    layer.zero_grad()
    assert x.grad is not None
    return y.detach(), x.grad


def test_the_worked_example_of_aihwkit() -> None:
    """Numbers of AIHWKit 1.1.0 for omega 0.6."""
    x, e = torch.tensor([[2.0, 1.0]]), torch.tensor([[0.1, 0.1 / 6 * -3]])
    layer = AnalogLinear(2, 2, _tile(weight_scaling_omega=0.6), bias=False, seed=0, name="a")
    layer.set_weight(WEIGHT)
    torch.testing.assert_close(layer.tile.weight.as_subclass(Tensor), 2 * WEIGHT)
    torch.testing.assert_close(layer.tile.scales.alpha, torch.tensor([0.5]))
    y, _ = _step(layer, x, e, 0.1)
    torch.testing.assert_close(y, torch.tensor([[0.0, 0.4]]))
    torch.testing.assert_close(layer.weight.clone(), WEIGHT - 0.1 * e.t() @ x)
    layer = AnalogLinear(
        2, 2, _tile(weight_scaling_omega=0.6, weight_scaling_columnwise=True),
        bias=False, seed=0, name="a",
    )  # fmt: skip
    layer.set_weight(WEIGHT)
    torch.testing.assert_close(layer.tile.scales.alpha, torch.tensor([1 / 3, 0.5]))
    expected = torch.tensor([[0.3, -0.6], [0.1, 0.6]])
    torch.testing.assert_close(layer.tile.weight.as_subclass(Tensor), expected)


MAPPINGS = {
    "omega": {"weight_scaling_omega": 0.6},
    "compensated": {"weight_scaling_omega": 0.6, "weight_scaling_lr_compensation": True},
    "rows": {"weight_scaling_omega": 0.4, "weight_scaling_columnwise": True},
    "learned": {"weight_scaling_omega": 0.6, "learn_out_scaling": True},
    "each": {"learn_out_scaling": True, "out_scaling_columnwise": True},
}


class Twin(nn.Module):
    """The digital network that a mapped layer is: ``s (V x) + b``, with V and s trained."""

    def __init__(self, layer: AnalogLinear | AnalogConv2d) -> None:
        super().__init__()
        self.v = nn.Parameter(layer.weight.clone())
        self.s = nn.Parameter(torch.ones_like(layer.tile.scales.learned))  # type: ignore[arg-type]
        self.b = nn.Parameter(layer.bias.detach().clone())  # type: ignore[union-attr]
        self.convolves = isinstance(layer, AnalogConv2d)

    def forward(self, x: Tensor) -> Tensor:
        if self.convolves:
            v = self.s.view(-1, 1, 1) * nn.functional.conv2d(x, self.v, padding=1)
            return v + self.b.view(-1, 1, 1)
        return self.s * nn.functional.linear(x, self.v) + self.b

    def update(self, lr: float) -> None:
        """Nothing more than the parameters."""


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("kind", ["linear", "convolution"])
@pytest.mark.parametrize("name", MAPPINGS)
def test_a_mapped_layer_trains_like_the_digital_one(name: str, kind: str, rule: str) -> None:
    tile = _tile(rule, **MAPPINGS[name])
    if kind == "linear":
        layer: AnalogLinear | AnalogConv2d = AnalogLinear(5, 4, tile, seed=0, name="layer")
        twin: nn.Module = nn.Linear(5, 4)
        x = torch.randn(6, 5)
    else:
        layer = AnalogConv2d(2, 4, 3, tile, padding=1, seed=0, name="layer")
        twin = nn.Conv2d(2, 4, 3, padding=1)
        x = torch.randn(2, 2, 5, 5)
    if layer.tile.scales.learned is not None:
        twin = Twin(layer)
    else:
        twin.load_state_dict({"weight": layer.weight.clone(), "bias": layer.bias})
    twin.update = lambda lr: None  # type: ignore[assignment]
    for _ in range(3):
        e = torch.randn(layer(x).shape)
        ours, theirs = _step(layer, x, e, 0.01), _step(twin, x, e, 0.01)
        close = {} if rule == "ideal" else {"rtol": 1e-3, "atol": 1e-3}
        torch.testing.assert_close(ours, theirs, **close)  # type: ignore[arg-type]
    expected = twin.weight if not isinstance(twin, Twin) else _whole(twin)
    close = {} if rule == "ideal" else {"rtol": 0, "atol": 1e-4}
    torch.testing.assert_close(layer.weight.clone(), expected.detach(), **close)


def _whole(twin: Twin) -> Tensor:
    return twin.s.view(-1, *[1] * (twin.v.dim() - 1)) * twin.v


@pytest.mark.parametrize("mapping", [{}, *MAPPINGS.values()], ids=str)
def test_several_arrays_train_like_a_digital_layer(mapping: dict[str, object]) -> None:
    """Without learned scales, of which each part has its own."""
    if "learn_out_scaling" in mapping:
        mapping = {**mapping, "learn_out_scaling": False}
    tile = _tile(max_input_size=20, max_output_size=4, **mapping)
    cases = [
        (linear(50, 9, tile, seed=0, name="a"), nn.Linear(50, 9), torch.randn(3, 7, 50), (3, 3)),
        (
            convolution(5, 6, 3, tile, stride=2, padding=1, seed=0, name="b"),
            nn.Conv2d(5, 6, 3, 2, 1),
            torch.randn(2, 5, 7, 8),
            (2, 3),
        ),
    ]
    for layer, twin, x, grid in cases:
        assert (len(layer.outputs), len(layer.inputs)) == grid  # type: ignore[union-attr]
        twin.load_state_dict({"weight": layer.weight.clone(), "bias": layer.bias})
        twin.update = lambda lr: None  # type: ignore[assignment]
        e = torch.randn(twin(x).shape)
        ours, theirs = _step(layer, x, e, 0.1), _step(twin, x, e, 0.1)
        torch.testing.assert_close(ours, theirs)
        torch.testing.assert_close(layer.weight.clone(), twin.weight.detach())


def test_parts_are_near_even() -> None:
    assert [(part.start, part.stop) for part in pieces(10, 4)] == [(0, 4), (4, 7), (7, 10)]
    assert pieces(10, 0) == pieces(10, 10) == [slice(0, 10)]
    assert [part.stop - part.start for part in pieces(784, 512)] == [392, 392]


def test_parts_have_elements_and_noise_of_their_own() -> None:
    tile = TileConfig.parse({"mapping": {"max_input_size": 4}})
    layer = linear(8, 3, tile, seed=0, name="layer")
    assert isinstance(layer, AnalogLinearMapped)
    one, two = layer.parts
    assert not torch.equal(one.tile.array.response.base, two.tile.array.response.base)
    x = torch.ones(2, 4)
    two.set_weight(one.weight)
    assert not torch.equal(one(x), two(x))
    whole = AnalogLinear(8, 3, TileConfig(), seed=0, name="layer")
    assert whole.tile.address == (0, "layer")
    assert [part.tile.address[1] for part in layer.parts] == ["layer[0,0]", "layer[0,1]"]


def test_the_parts_of_a_layer_are_read_at_the_same_time() -> None:
    tile = _tile(max_input_size=30, max_output_size=4)
    blocks = [
        nn.Sequential(convolution(5, 6, 3, tile, padding=1, seed=0, name="a"), nn.Flatten()),
        linear(6 * 16, 9, tile, seed=0, name="b"),
    ]
    assert reads(blocks, torch.randn(2, 5, 4, 4)) == [32, 2]


def test_a_model_is_put_on_several_arrays() -> None:
    net = nn.Sequential(nn.Conv2d(4, 6, 3), nn.Flatten(), nn.Linear(6 * 4, 3))
    tied = nn.Linear(24, 3)
    tied.weight = net[2].weight  # type: ignore[assignment]
    net.append(nn.Identity())
    analog = to_analog(net, _tile(max_input_size=20, weight_scaling_omega=0.6), seed=0)
    assert isinstance(analog[0], AnalogConv2dMapped)
    assert isinstance(analog[2], AnalogLinearMapped)
    x = torch.randn(2, 4, 4, 4)
    torch.testing.assert_close(analog(x), net(x))
    one, two = to_analog([net[2], tied], _tile(max_input_size=20), seed=0)
    assert one.parts is two.parts  # type: ignore[comparison-overlap]


def test_a_digital_state_is_loaded_into_mapped_layers() -> None:
    digital = nn.Linear(10, 3)
    for mapping in ({"weight_scaling_omega": 0.6}, {"max_input_size": 4}):
        layer = linear(10, 3, _tile(**mapping), seed=0, name="layer")
        layer.load_state_dict(digital.state_dict())
        torch.testing.assert_close(layer.weight.clone(), digital.weight.detach())
        torch.testing.assert_close(layer.bias, digital.bias)
        other = linear(10, 3, _tile(**mapping), seed=0, name="layer")
        other.load_state_dict(layer.state_dict())
        assert torch.equal(other.weight, layer.weight)
        assert torch.equal(copy.deepcopy(layer).weight, layer.weight)


def test_a_weight_at_a_scale_is_set_whole_or_not_at_all() -> None:
    layer = AnalogLinear(4, 3, _tile(**MAPPINGS["learned"]), seed=0, name="layer")
    with torch.no_grad():
        layer.tile.scales.learned.fill_(2.0)  # type: ignore[union-attr]
    layer.weight = torch.full((3, 4), 0.3)  # type: ignore[assignment]
    torch.testing.assert_close(layer.weight.clone(), torch.full((3, 4), 0.3))
    with pytest.raises(RuntimeError, match=r"[Ii]n-?place"):
        layer.weight.fill_(1.0)


def test_what_does_not_fit_is_named() -> None:
    tile = _tile(max_input_size=8)
    with pytest.raises(LayerError, match=r"layer: 3 outputs and 9 inputs .*layer\.mapped"):
        AnalogLinear(9, 3, tile, seed=0, name="layer")
    with pytest.raises(LayerError, match="max_input_size is 8, allowed: 9"):
        convolution(4, 3, 3, tile, seed=0, name="layer")
    with pytest.raises(LayerError, match="groups = 1, found 2"):
        convolution(4, 4, 2, _tile(max_output_size=2), groups=2, seed=0, name="layer")
    with pytest.raises(LayerError, match="analog bias needs one array"):
        linear(9, 3, tile, bias="analog", seed=0, name="layer")
    layer = linear(9, 3, tile, bias=False, seed=0, name="layer")
    with pytest.raises(LayerError, match="9 along axis -1"):
        layer(torch.randn(2, 8))


def test_a_tile_without_mapping_keeps_its_record() -> None:
    plain = TileConfig()
    assert "mapping" not in yaml.safe_load(plain.dump())
    assert "mixed_precision" not in json.loads(plain.model_dump_json())
    mapped = TileConfig.parse({"mapping": {"weight_scaling_omega": 0.6}, "mixed_precision": {}})
    assert TileConfig.parse(yaml.safe_load(mapped.dump())) == mapped


def test_a_layer_without_mapping_keeps_its_state() -> None:
    names = list(AnalogLinear(4, 3, TileConfig(), seed=0, name="layer").state_dict())
    assert names == [
        "bias",
        "tile._extra_state",
        "tile.elements",
        "tile.array.weight",
        "tile.array.slots",
    ]
