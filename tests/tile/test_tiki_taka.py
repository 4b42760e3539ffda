"""Tiki-Taka: what plain analog updates lose to the asymmetric bias, it does not."""

import pytest
import torch

from analogpipe.device.parameters import SoftBounds
from analogpipe.layer.convolution import AnalogConv2d
from analogpipe.layer.linear import AnalogLinear
from analogpipe.seeds import generator
from analogpipe.tile.config import TileConfig, TileConfigError
from analogpipe.tile.sections import ReadoutConfig, TransferConfig
from analogpipe.tile.tiki_taka import TikiTakaArray
from analogpipe.tile.tile import AnalogTile

DEVICE = SoftBounds(dw_min=0.002, up_down_dtod=0.01)
PERFECT = ReadoutConfig(perfect=True)


def _tile(kind: str | None, **options: object) -> TileConfig:
    transfer = None
    if kind is not None:
        transfer = TransferConfig(kind=kind, forward=PERFECT, **options)  # type: ignore[arg-type]
    return TileConfig(device=DEVICE, forward=PERFECT, backward=PERFECT, transfer=transfer)


def _array(tile: AnalogTile) -> TikiTakaArray:
    assert isinstance(tile.array, TikiTakaArray)
    return tile.array


def _floor(config: TileConfig) -> float:
    """Mean squared error of a linear regression with noisy targets, after training."""
    tile = AnalogTile(torch.zeros(4, 10), config, seed=0, name="tile")
    target = 0.3 * (torch.rand(4, 10, generator=generator(1)) * 2 - 1)
    stream = generator(2)
    errors = []
    for step in range(4000):
        x = torch.randn(4, 10, generator=stream)
        noise = 0.5 * torch.randn(4, 4, generator=stream)
        e = x @ (tile.weight - target).t() + noise
        tile.update(x, e, 0.02)
        if step >= 3000:
            errors.append(float((tile.weight - target).square().mean()))
    return sum(errors) / len(errors)


@pytest.mark.parametrize("kind", ["ttv1", "ttv2"])
def test_the_error_floor_is_lower_than_that_of_plain_updates(kind: str) -> None:
    assert _floor(_tile(kind, transfer_lr=5.0)) < 0.7 * _floor(_tile(None))


def test_ttv2_sends_whole_pulses_only() -> None:
    config = _tile("ttv2", momentum=0.0)
    tile = AnalogTile(torch.zeros(3, 2), config, seed=0, name="tile")
    tile.update(torch.tensor([[1.0, 0.0]]), torch.tensor([[-0.5, 0.0, 0.0]]), 0.01)
    # column 0 is read: 2.5 pulses of 0.002 at rate 0.01 do not reach the threshold
    assert not tile.weight.any()
    assert bool(_array(tile).buffer[0, 0] != 0)
    _array(tile).fast.add_(1.0)
    _array(tile).position.zero_()
    tile.update(torch.zeros(1, 2), torch.zeros(1, 3), 0.01)
    assert bool((tile.weight[:, 0] > 0).all())
    assert not tile.weight[:, 1].any()


def test_columns_take_turns_and_the_state_resumes() -> None:
    config = _tile("ttv1", every=2)
    tile = AnalogTile(torch.zeros(3, 4), config, seed=0, name="tile")
    x, e = torch.ones(2, 4), torch.ones(2, 3)
    for _ in range(5):
        tile.update(x, e, 0.1)
    assert _array(tile).position.tolist() == [2, 1]
    twin = AnalogTile(torch.zeros(3, 4), config, seed=0, name="tile")
    twin.load_state_dict({key: value.clone() for key, value in tile.state_dict().items()})
    for one in (tile, twin):
        one.update(x, e, 0.1)
    assert torch.equal(tile.weight, twin.weight)


@pytest.mark.parametrize("kind", ["ttv1", "ttv2"])
def test_with_gamma_both_arrays_are_read_as_one(kind: str) -> None:
    gamma = 0.6
    start = torch.linspace(-0.2, 0.2, 12).view(3, 4)
    tile = AnalogTile(start, _tile(kind, gamma=gamma), seed=0, name="tile")
    torch.testing.assert_close(tile.weight, start)
    reference = _array(tile).fast.clone()
    x = torch.randn(40, 4, generator=generator(1))
    e = torch.randn(40, 3, generator=generator(2))
    for i in range(40):
        tile.update(x[i : i + 1], e[i : i + 1], 0.05)
    array = _array(tile)
    assert float((array.fast - reference).abs().max()) > 0.02
    expected = gamma * (array.fast - reference) + array.slow.weight
    torch.testing.assert_close(tile.weight, expected)
    torch.testing.assert_close(tile.read_forward(x), x @ expected.t())
    torch.testing.assert_close(tile.read_backward(e), e @ expected)
    twin = AnalogTile(start, _tile(kind, gamma=gamma), seed=0, name="tile")
    twin.load_state_dict({key: value.clone() for key, value in tile.state_dict().items()})
    for one in (tile, twin):
        one.update(x, e, 0.05)
    assert torch.equal(tile.weight, twin.weight)


def test_gamma_lets_the_weight_follow_before_anything_is_transferred() -> None:
    """What the fast array takes is in the weight at once, and goes over to the slow array."""
    plain, learned = (
        AnalogTile(torch.zeros(1, 1), _tile("ttv1", gamma=gamma, every=200), seed=0, name="tile")
        for gamma in (0.0, 1.0)
    )
    for tile in (plain, learned):
        for _ in range(199):
            tile.update(torch.ones(1, 1), tile.weight - 0.2, 0.05)
    assert float(plain.weight) == 0
    assert float(learned.weight) == pytest.approx(0.2, abs=0.02)
    assert float(_array(learned).slow.weight) == 0


def test_reads_see_the_writing_noise_of_the_fast_array() -> None:
    device = DEVICE.model_copy(update={"write_noise_std": 20.0})
    config = _tile("ttv1").model_copy(update={"device": device})
    tile = AnalogTile(torch.zeros(60, 50), config, seed=0, name="tile")
    error = _array(tile).read(slice(0, 50)).t() - (_array(tile).fast - _array(tile)._reference)
    assert float(error.std()) == pytest.approx(20 * DEVICE.dw_min, rel=0.1)


def test_layers_train_by_transfer() -> None:
    linear = AnalogLinear(4, 3, _tile("ttv2"), seed=0, name="linear")
    conv = AnalogConv2d(2, 3, 3, _tile("ttv1"), seed=0, name="conv")
    for layer, x in ((linear, torch.randn(5, 4)), (conv, torch.randn(2, 2, 6, 6))):
        before = _array(layer.tile).fast.clone()
        layer(x).sum().backward()
        layer.update(0.1)
        assert not torch.equal(_array(layer.tile).fast, before)


def test_an_ideal_device_is_refused() -> None:
    with pytest.raises(TileConfigError, match="pulsed devices"):
        TileConfig.parse({"device": {"kind": "ideal"}, "transfer": {}})
