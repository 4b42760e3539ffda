"""Pairs of one-sided elements: pulses, refresh, checkpoints, and the rules against each other."""

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from analogpipe.layer.convolution import AnalogConv2d
from analogpipe.layer.linear import AnalogLinear
from analogpipe.tile.config import TileConfig
from analogpipe.tile.pair import PairArray
from analogpipe.tile.tile import AnalogTile

ALIKE = {"dw_min_dtod": 0, "dw_min_std": 0, "w_max_dtod": 0, "w_min_dtod": 0, "up_down_dtod": 0}
STEPS = {"kind": "constant_step", "dw_min": 0.01, "w_max": 1.0, "w_min": 0.0} | ALIKE
EXACT = {"perfect": True}


def _tile(weight: Tensor, **entries: Any) -> AnalogTile:
    data: dict[str, Any] = {"preset": "PCM"} | entries
    return AnalogTile(weight, TileConfig.parse(data), seed=0, name="pair")


def _steps(weight: Tensor, **entries: Any) -> AnalogTile:
    """A pair of elements that are all alike, without noise in pulses, reads and resets."""
    data: dict[str, Any] = {"device": {"kind": "one_sided", "element": STEPS, "reset_std": 0}}
    data["refresh"] = {"forward": EXACT}
    return AnalogTile(weight, TileConfig.parse(data | entries), seed=0, name="pair")


def _array(tile: AnalogTile) -> PairArray:
    assert isinstance(tile.array, PairArray)
    return tile.array


def _state(tile: AnalogTile) -> tuple[Tensor, Tensor]:
    plus, minus = _array(tile).state.clone().tensor_split(2)
    return plus, minus


@pytest.mark.parametrize("rule", ["mean", "pulsed", "pulse_train"])
def test_each_request_raises_one_of_both(rule: str) -> None:
    tile = _steps(torch.tensor([[0.3, -0.3]]), update={"rule": rule})
    x, e = torch.tensor([[1.0, -1.0]]), torch.tensor([[-0.05]])  # up, down by 5 pulses
    tile.update(x, e, 1.0)
    plus, minus = _state(tile)
    torch.testing.assert_close(plus, torch.tensor([[0.35, 0.0]]))
    torch.testing.assert_close(minus, torch.tensor([[0.0, 0.35]]))
    torch.testing.assert_close(tile.weight, plus - minus)


def test_pulses_drawn_at_once_are_those_of_the_trains() -> None:
    """Both rules give the same distribution: three updates of PCM, without refresh."""
    x = torch.ones(1, 4)
    e = torch.full((1, 4000), -0.07)
    e[0, 0] = -0.14  # its train sets the length; the others fire in half the slots
    moments = []
    for rule in ("pulsed", "pulse_train"):
        tile = _tile(torch.zeros(4000, 4), update={"rule": rule}, refresh=None)
        for sign in (1, 1, -1):
            tile.update(x, sign * e, 1.0)
        rows = tile.weight[1:].double()
        square = (rows - rows.mean()).square().mean(1)
        moments.append([rows.mean(1), square])
    for ours, trains in zip(*moments, strict=True):
        error = ((ours.var() + trains.var()) / len(ours)) ** 0.5
        assert abs(float(ours.mean() - trains.mean())) < 4.5 * float(error)


def test_a_refresh_resets_what_is_due_and_writes_the_difference_back() -> None:
    tile = _steps(torch.zeros(1, 4))
    plus = torch.tensor([[0.9, 0.4, 0.9, 0.8]])
    minus = torch.tensor([[0.4, 0.9, 0.2, 0.8]])  # the third pair has one still near 0
    _array(tile).state.copy_(torch.cat([plus, minus]))
    tile.update(torch.zeros(1, 4), torch.zeros(1, 1), 1.0)
    after = _state(tile)
    # full trains (50 of 31 pulses): 31 pulses come for certain
    torch.testing.assert_close(after[0], torch.tensor([[0.31, 0.0, 0.9, 0.0]]))
    torch.testing.assert_close(after[1], torch.tensor([[0.0, 0.31, 0.2, 0.0]]))
    torch.testing.assert_close(tile.weight, after[0] - after[1])


def test_a_refresh_waits_for_its_turn_also_after_a_checkpoint() -> None:
    def due(tile: AnalogTile) -> AnalogTile:
        _array(tile).state.fill_(0.9)
        return tile

    def rest(tile: AnalogTile) -> None:
        tile.update(torch.zeros(1, 2), torch.zeros(1, 3), 1.0)

    first = due(_steps(torch.zeros(3, 2), refresh={"forward": EXACT, "every": 3}))
    rest(first)
    rest(first)
    assert float(_state(first)[0].min()) == pytest.approx(0.9)
    second = _steps(torch.ones(3, 2), refresh={"forward": EXACT, "every": 3})
    second.load_state_dict(first.state_dict())
    rest(second)
    assert float(_state(second)[0].max()) == 0


def test_a_restored_tile_goes_on_as_the_first() -> None:
    x, e = torch.rand(8, 5), torch.randn(8, 6)
    first = _tile(torch.randn(6, 5))
    for _ in range(5):
        first.update(x, e, 0.1)
    second = _tile(torch.zeros(6, 5))
    second.load_state_dict(first.state_dict())
    for tile in (first, second):
        tile.update(x, e, 0.1)
    assert torch.equal(first.weight, second.weight)
    assert torch.equal(torch.cat(_state(first)), torch.cat(_state(second)))


@pytest.mark.parametrize("kind", ["constant_step", "linear_step", "soft_bounds", "pow_step"])
def test_any_element_can_be_one_sided(kind: str) -> None:
    element = {"kind": kind, "dw_min": 0.01}
    tile = _tile(torch.zeros(20, 20), device={"kind": "one_sided", "element": element})
    tile.update(torch.ones(1, 20), torch.full((1, 20), -0.1), 1.0)
    assert float(tile.weight.mean()) > 0.03
    assert float(_state(tile)[1].abs().max()) == 0


@pytest.mark.parametrize("rule", ["mean", "pulsed", "pulse_train"])
def test_convolutions_take_pairs(rule: str) -> None:
    config = TileConfig.parse(
        {"preset": "PCM", "update": {"rule": rule}, "forward": EXACT, "backward": EXACT}
    )
    layer = AnalogConv2d(2, 3, 3, config, seed=0, name="conv")
    before = layer.tile.weight.clone()
    layer(torch.rand(4, 2, 6, 6)).sum().backward()
    layer.update(0.02)
    # the gradient is positive everywhere: all weights fall
    assert float((layer.tile.weight - before).mean()) < -0.1


def test_pairs_learn_through_refreshes() -> None:
    """Fine steps of constant size: the loss falls far below its start, and pairs were refreshed."""
    element = STEPS | {"dw_min": 0.002, "dw_min_dtod": 0.3, "dw_min_std": 0.3}
    data = {"device": {"kind": "one_sided", "element": element}, "refresh": {"lower": 0.5}}
    layer = AnalogLinear(8, 4, TileConfig.parse(data), bias=False, seed=0, name="fit")
    stream = torch.Generator().manual_seed(0)
    goal = torch.randn(4, 8, generator=stream) * 0.2
    losses, sums = [], []
    for _ in range(600):
        x = torch.randn(10, 8, generator=stream)
        loss = (layer(x) - x @ goal.t()).square().mean()
        loss.backward()
        layer.update(0.05)
        losses.append(loss.item())
        sums.append(sum(part.sum().item() for part in _state(layer.tile)))
    assert sum(losses[-100:]) < 0.1 * 100 * losses[0]
    assert min(later - sooner for sooner, later in pairwise(sums)) < -1.0
