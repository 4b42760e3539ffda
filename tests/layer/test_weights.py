"""Weights in and out of arrays, and states that know their elements."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from analogpipe.layer.base import AnalogLayer, LayerError
from analogpipe.layer.convolution import AnalogConv2d
from analogpipe.layer.linear import AnalogLinear
from analogpipe.tile.config import TileConfig, digital
from analogpipe.tile.pair import PairArray
from analogpipe.tile.pulsed import PulsedArray, RewrittenArray
from analogpipe.tile.tile import AnalogTile
from analogpipe.tile.transfer import TransferArray

PULSED = {"device": {"kind": "soft_bounds"}}
TILES: dict[str, dict[str, Any]] = {
    "pulsed": PULSED,
    "rewritten": {"device": {"kind": "soft_bounds", "write_noise_std": 20.0}},
    "pair": {"preset": "PCM"},
    "tiki-taka": PULSED | {"transfer": {}},
    "gamma": PULSED | {"transfer": {"kind": "ttv1", "gamma": 0.5}},
    "agad": PULSED | {"transfer": {"kind": "agad"}},
}
WANTED = 0.3 * (torch.rand(5, 6, generator=torch.Generator().manual_seed(0)) - 0.5)


def _layer(tile: str, **options: Any) -> AnalogLinear:
    config = TileConfig.parse(TILES[tile])
    return AnalogLinear(6, 5, config, **{"seed": 0, "name": "fc"} | options)


def _step(layer: AnalogLayer) -> None:
    x = torch.rand(4, 6, generator=torch.Generator().manual_seed(1))
    layer(x).square().sum().backward()
    layer.update(0.05)


def _written(array: Any) -> Tensor:
    """The weight before the noise of writing."""
    if isinstance(array, TransferArray):
        return array.slow.weight
    if isinstance(array, PairArray):
        return array.state[:5] - array.state[5:]
    if isinstance(array, RewrittenArray):
        return array.state
    assert isinstance(array, PulsedArray)
    return array.weight


def _in_place(layer: AnalogLayer, weight: Tensor) -> None:
    with torch.no_grad():
        layer.weight.copy_(weight)


def _whole(layer: AnalogLayer, weight: Tensor) -> None:
    layer.weight = weight


def _parameter(layer: AnalogLayer, weight: Tensor) -> None:
    layer.weight = nn.Parameter(weight)


def _data(layer: AnalogLayer, weight: Tensor) -> None:
    layer.weight.data = weight


def _in_data(layer: AnalogLayer, weight: Tensor) -> None:
    layer.weight.data.copy_(weight)


def _tile(layer: AnalogLayer, weight: Tensor) -> None:
    layer.tile.weight = weight


def _memory(layer: AnalogLayer, weight: Tensor) -> None:
    array = layer.tile.array
    array.weight.data = weight.clone()


WAYS: list[Callable[[AnalogLayer, Tensor], None]] = [
    AnalogLinear.set_weight,
    _in_place,
    _whole,
    _parameter,
    _data,
    _in_data,
    _tile,
    _memory,
    lambda layer, weight: layer.load_state_dict({"weight": weight, "bias": layer.bias}),
]


@pytest.mark.parametrize("tile", TILES)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("trained", [False, True])
def test_a_weight_is_set_in_any_way(tile: str, way: Callable[..., None], trained: bool) -> None:
    """Also after an update, which has made its views of the memory; and the array learns on."""
    layer = _layer(tile)
    if trained:
        _step(layer)
    way(layer, WANTED)
    layer.tile.array.settle()
    torch.testing.assert_close(_written(layer.tile.array), WANTED, atol=1e-6, rtol=0)
    offset = (layer.weight - WANTED).std()
    assert float(offset) == pytest.approx(0.02 if tile == "rewritten" else 0, abs=0.012)
    before = layer.weight.clone()
    _step(layer)
    _step(layer)
    if tile not in ("tiki-taka", "agad"):  # pulses come with a buffer's delay
        assert not torch.equal(before, layer.weight)


@pytest.mark.parametrize("tile", TILES)
@pytest.mark.parametrize("way", WAYS)
def test_what_is_set_is_clipped_before_it_is_read(tile: str, way: Callable[..., None]) -> None:
    layer = _layer(tile, bias=False)
    _step(layer)
    if way is WAYS[-1]:
        layer.load_state_dict({"weight": torch.full((5, 6), 9.0)})
    else:
        way(layer, torch.full((5, 6), 9.0))
    read = layer.tile.read_forward(torch.ones(2, 6)) / 6
    assert float(read.max()) < 4.0
    behind = ".slow" if isinstance(layer.tile.array, TransferArray) else ""
    assert float(layer.state_dict()[f"tile.array{behind}.weight"].max()) < 4.0


def test_an_element_that_was_set_is_set() -> None:
    layer = _layer("pulsed")
    with torch.no_grad():
        layer.weight[2, 3] = 0.1
        layer.weight[0] += 50
    assert float(layer.weight[2, 3]) == pytest.approx(0.1)
    assert torch.equal(layer.weight[0], layer.tile.array.response.high[0])  # type: ignore[union-attr]
    nn.init.constant_(layer.weight, 0.05)
    assert float((layer.weight - 0.05).abs().max()) < 1e-6


def test_a_weight_of_another_shape_is_named() -> None:
    layer = _layer("pulsed")
    with pytest.raises(LayerError, match=r"fc: the weight has shape \(6, 5\), the layer \(5, 6\)"):
        layer.set_weight(WANTED.t())
    with pytest.raises(LayerError, match=r"fc: the bias has shape \(6,\), the layer \(5,\)"):
        layer.set_weight(WANTED, torch.zeros(6))
    with pytest.raises(LayerError, match="fc: a bias is given, the layer has none"):
        _layer("pulsed", bias=False).set_weight(WANTED, torch.zeros(5))
    layer.tile.array.weight.data = torch.zeros(2, 2)
    with pytest.raises(ValueError, match=r"memory of shape \(2, 2\), torch.float32; the array has"):
        layer(torch.rand(1, 6))


def test_what_is_computed_from_a_weight_is_an_ordinary_tensor() -> None:
    weight = _layer("pulsed").weight
    for value in (weight * 2, weight.t(), weight.clone(), copy.deepcopy(weight)):
        assert type(value) is Tensor
    assert torch.equal(pickle.loads(pickle.dumps(weight)), weight)
    with pytest.raises(ValueError, match=r"allowed: layer.requires_grad_\(False\)"):
        weight.requires_grad = False


@pytest.mark.parametrize("bias", [True, "analog", False])
def test_states_of_digital_layers_are_loaded(bias: Any) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(2, 4, 3, groups=2), nn.Flatten(), nn.Linear(36, 3))
    for part in (net[0], net[2]):
        if bias is False:
            part.bias = None
    tile = digital()
    analog = nn.Sequential(
        AnalogConv2d(2, 4, 3, tile, groups=2, bias=bias, seed=0, name="conv"),
        nn.Flatten(),
        AnalogLinear(36, 3, tile, bias=bias, seed=0, name="fc"),
    )
    analog.load_state_dict(net.state_dict())
    x = torch.rand(2, 2, 5, 5)
    torch.testing.assert_close(analog(x), net(x))
    analog[2].load_state_dict(net[2].state_dict())
    torch.testing.assert_close(analog(x), net(x))


def test_a_digital_state_that_does_not_fit_is_refused() -> None:
    layer = _layer("pulsed")
    before = layer.weight.clone()
    with pytest.raises(
        RuntimeError, match=r"fc: the weight has shape \(5, 7\), the layer \(5, 6\)"
    ):
        layer.load_state_dict(nn.Linear(7, 5).state_dict())
    with pytest.raises(RuntimeError, match=r'Missing key.*"bias"'):
        layer.load_state_dict(nn.Linear(6, 5, bias=False).state_dict())
    with pytest.raises(RuntimeError, match=r'Unexpected key.*"bias"'):
        _layer("pulsed", bias=False).load_state_dict(nn.Linear(6, 5).state_dict())
    layer.load_state_dict(_layer("pulsed", bias=False).state_dict(), strict=False)
    assert torch.equal(layer.weight, before)


@pytest.mark.parametrize("tile", TILES)
@pytest.mark.parametrize("assign", [False, True])
def test_a_loaded_state_learns_on_bit_by_bit(tile: str, assign: bool) -> None:
    straight = _layer(tile)
    _step(straight)
    state = {key: value.clone() for key, value in straight.state_dict().items()}
    resumed = _layer(tile)
    _step(resumed)
    _step(resumed)
    resumed.load_state_dict(state, assign=assign)
    for layer in (straight, resumed):
        _step(layer)
        _step(layer)
    ours, theirs = straight.state_dict(), resumed.state_dict()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


OTHERS: dict[str, tuple[dict[str, Any], str]] = {
    "seed": ({"seed": 1}, "seed 0, here 1"),
    "name": ({"name": "other"}, "name 'fc', here 'other'"),
    "kind": ({"tile": {"device": {"kind": "constant_step"}}}, "kind 'soft_bounds', here 'constant_step'"),
    "parameter": ({"tile": {"device": {"kind": "soft_bounds", "dw_min": 0.01}}}, "dw_min 0.001, here 0.01"),
    "ideal": ({"tile": {"device": {"kind": "ideal"}}}, "kind 'soft_bounds', here 'ideal'"),
}  # fmt: skip


@pytest.mark.parametrize("other", OTHERS)
def test_a_state_of_other_elements_is_refused_and_nothing_loaded(other: str) -> None:
    state = _layer("pulsed").state_dict()
    options, message = OTHERS[other]
    options = {"tile": PULSED, "seed": 0, "name": "fc"} | options
    tile = TileConfig.parse(options.pop("tile"))
    layer = AnalogLinear(6, 5, tile, **options)
    before = {key: value.clone() for key, value in layer.tile.state_dict().items()}
    with pytest.raises(RuntimeError, match="the state is of other elements") as error:
        layer.load_state_dict(state)
    assert message in str(error.value)
    assert len(str(error.value).splitlines()) == 2  # torch's heading, and this
    after = layer.tile.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_a_state_of_another_read_out_or_rule_is_loaded() -> None:
    state = _layer("pulsed").state_dict()
    tile = TileConfig.parse(PULSED | {"forward": {"perfect": True}, "update": {"rule": "mean"}})
    AnalogLinear(6, 5, tile, seed=0, name="fc").load_state_dict(state)


def test_a_state_without_its_elements_is_refused() -> None:
    state = _layer("pulsed").state_dict()
    del state["tile.elements"]
    with pytest.raises(RuntimeError, match=r'Missing key.*"tile.elements"'):
        _layer("pulsed").load_state_dict(state)


def test_what_is_lent_takes_changes_for_a_pass() -> None:
    """As a prediction of weights makes them: shifted beyond the bounds and back."""
    layer = _layer("rewritten")
    (weight,) = layer.weights()
    before, state = weight.clone(), layer.tile.array.state.clone()  # type: ignore[operator,union-attr]
    weight.add_(9.0)
    assert float(layer.tile.read_forward(torch.ones(1, 6)).min()) > 5
    weight.copy_(before)
    layer(torch.ones(1, 6))
    assert torch.equal(layer.tile.array.state, state)  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_another_precision_is_refused(dtype: torch.dtype) -> None:
    layer = _layer("pulsed")
    with pytest.raises(ValueError, match=f"cannot be made {dtype}"):
        layer.to(dtype)
    with pytest.raises(LayerError, match=f"fc: the input is {dtype}"):
        layer(torch.rand(2, 6).to(dtype))


def test_a_tile_made_in_inference_mode_trains() -> None:
    with torch.inference_mode():
        tile = AnalogTile(torch.zeros(3, 2), TileConfig(), seed=0, name="tile")
    tile.update(torch.ones(1, 2), torch.ones(1, 3), 0.1)
    assert bool(tile.weight.any())
