"""Mixed precision against AIHWKit 1.1.0: pulse by pulse where that is certain, else mean and spread."""

from typing import Any

import pytest
import torch
from torch import Tensor

from analogpipe.layer.linear import AnalogLinear
from analogpipe.seeds import generator
from analogpipe.tile.config import TileConfig
from analogpipe.tile.mixed_precision import MixedPrecisionArray

pytest.importorskip("aihwkit")
from aihwkit.nn import AnalogLinear as PeerLinear
from aihwkit.optim import AnalogSGD
from aihwkit.simulator.configs import DigitalRankUpdateRPUConfig
from aihwkit.simulator.configs.compounds import MixedPrecisionCompound
from aihwkit.simulator.configs.devices import ConstantStepDevice, SoftBoundsDevice

pytestmark = pytest.mark.peer

PLAIN = {"dw_min_dtod": 0.0, "w_max_dtod": 0.0, "w_min_dtod": 0.0, "up_down_dtod": 0.0}
QUIET = {**PLAIN, "dw_min_std": 0.0}
SOFT = {"dw_min": 0.01, "w_max": 0.7, "w_min": -0.6}
PERFECT = {"forward": {"perfect": True}, "backward": {"perfect": True}}


def _pair(
    inputs: int, outputs: int, device: dict[str, Any], rule: dict[str, Any], **mapping: Any
) -> tuple[AnalogLinear, Any, Any]:
    """A layer of ours, one of AIHWKit's with the same weights, and its tile."""
    kinds = {"soft_bounds": SoftBoundsDevice, "constant_step": ConstantStepDevice}
    parts = {"device": device, "mixed_precision": rule, "mapping": mapping}
    tile = TileConfig.parse({**parts, **PERFECT})
    layer = AnalogLinear(inputs, outputs, tile, bias=False, seed=0, name="layer")
    own = {key: value for key, value in device.items() if key != "kind"}
    compound = MixedPrecisionCompound(device=kinds[device["kind"]](**own), **rule)
    config = DigitalRankUpdateRPUConfig(device=compound)
    config.forward.is_perfect = config.backward.is_perfect = True
    config.mapping.max_input_size = config.mapping.max_output_size = 0
    config.mapping.weight_scaling_omega = 0.0
    for key, value in mapping.items():
        setattr(config.mapping, key, value)
    peer = PeerLinear(inputs, outputs, bias=False, rpu_config=config)
    weight = torch.rand(outputs, inputs, generator=generator(1)) - 0.5
    layer.set_weight(weight)
    peer.set_weights(weight)
    array = next(peer.analog_tiles())
    # AIHWKit programs from the second sample on: the first has no error here
    array.set_learning_rate(1.0)
    array.update(torch.zeros(1, inputs), torch.zeros(1, outputs))
    return layer, peer, array


def _residual(layer: AnalogLinear) -> Tensor:
    assert isinstance(layer.tile.array, MixedPrecisionArray)
    return layer.tile.array.residual.detach()


def _peers(array: Any) -> Tensor:
    chi: Tensor = array.get_hidden_parameters()["hidden_weights_chi"]
    return -chi


@pytest.mark.parametrize("kind", ["soft_bounds", "constant_step"])
@pytest.mark.parametrize("size", [0.02, 0.2, 2.0])
@pytest.mark.parametrize(
    "rule",
    [
        {},
        {"transfer_lr": 2.0},
        {"granularity": 0.03},
        {"n_rows_per_transfer": 2},
        {"transfer_every": 3},
        {"n_x_bins": 5, "n_d_bins": 8, "stoc_round_x": False, "stoc_round_d": False},
    ],
    ids=str,
)
def test_pulses_are_those_of_aihwkit(rule: dict[str, Any], size: float, kind: str) -> None:
    """One input: each row has one element, whose number of pulses is certain. At the last size trains
    are too short for it."""
    layer, peer, array = _pair(1, 5, {"kind": kind, **SOFT, **QUIET}, rule)
    array.set_learning_rate(0.1)
    stream = generator(2)
    moved = 0.0
    for _ in range(12):
        x, e = torch.randn(1, 1, generator=stream), torch.randn(1, 5, generator=stream) * size * 10
        before = layer.tile.weight.clone()
        layer.apply_update(x, e, 0.1)
        array.update(x, e)
        torch.testing.assert_close(layer.weight.clone(), peer.get_weights()[0])
        torch.testing.assert_close(_residual(layer), _peers(array), rtol=1e-4, atol=1e-6)
        moved += float((layer.tile.weight - before).abs().sum())
    assert moved > 0.02


def test_rounded_signals_give_the_residual_of_aihwkit() -> None:
    rule = {"n_x_bins": 6, "n_d_bins": 3, "stoc_round_x": False, "stoc_round_d": False}
    layer, _, array = _pair(7, 4, {"kind": "constant_step", **SOFT, **QUIET}, rule)
    array.set_learning_rate(1.0)
    stream = generator(3)
    x, e = torch.randn(1, 7, generator=stream) * 0.01, torch.randn(1, 4, generator=stream) * 0.01
    layer.apply_update(x, e, 1.0)
    array.update(x, e)
    torch.testing.assert_close(_residual(layer), _peers(array), rtol=1e-4, atol=1e-8)
    assert 1 < len(_residual(layer).unique()) < 15


@pytest.mark.parametrize(
    ("rule", "top", "noise"),
    [
        ({}, 7.3, 0.0),
        ({}, 7.3, 0.4),
        ({}, 60.3, 0.0),
        ({"granularity": 0.0025}, 40.3, 0.0),
        ({"transfer_lr": 0.55}, 6.3, 0.0),
    ],
    ids=str,
)
def test_uncertain_pulses_have_the_spread_of_aihwkit(
    rule: dict[str, Any], top: float, noise: float
) -> None:
    """One element of each row wants ``top`` pulses, the others a part of that: binomial numbers of
    pulses, with the noise of each. Means and mean squares over 400 rows of 15 elements (those of a row
    fire together in AIHWKit, where a train has more slots than pulses) in 3 updates, for 3 shares of
    ``top``: they differ by less than 4.5 standard errors."""
    step, rows, columns = 0.005, 400, 16
    device = {"kind": "constant_step", "dw_min": step, "w_max": 9.0, "w_min": -9.0}
    layer, peer, array = _pair(columns, rows, {**device, **PLAIN, "dw_min_std": noise}, rule)
    array.set_learning_rate(1.0)
    shares = torch.tensor([0.25, 0.5, 0.75]).repeat(5)
    x = torch.cat([torch.ones(1), shares]).unsqueeze(0) * top * rule.get("granularity", step)
    e = torch.full((1, rows), -1.0)
    for _ in range(3):
        before = layer.weight.clone(), peer.get_weights()[0].clone()
        layer.apply_update(x, e, 1.0)
        array.update(x, e)
        torch.testing.assert_close(_residual(layer), _peers(array), rtol=1e-3, atol=2e-6)
        ours = (layer.weight - before[0]) / step
        theirs = (peer.get_weights()[0] - before[1]) / step
        for i in range(3):
            for power in (1, 2):
                means = [one[:, i + 1 :: 3].pow(power).mean(1) for one in (ours, theirs)]
                error = (sum(float(mean.var()) for mean in means) / rows) ** 0.5 + 1e-4
                assert abs(float(means[0].mean() - means[1].mean())) < 4.5 * error


@pytest.mark.parametrize(
    "mapping",
    [
        {"weight_scaling_omega": 0.6},
        {"weight_scaling_omega": 0.5, "weight_scaling_columnwise": True},
        {"weight_scaling_omega": 0.6, "weight_scaling_lr_compensation": True},
        {"weight_scaling_omega": 0.6, "learn_out_scaling": True},
    ],
    ids=str,
)
def test_pulses_at_a_scale_are_those_of_aihwkit(mapping: dict[str, Any]) -> None:
    """Forward, backward and step of both optimizers, with a learned scale, too."""
    layer, peer, array = _pair(1, 5, {"kind": "soft_bounds", **SOFT, **QUIET}, {}, **mapping)
    optimiser = AnalogSGD(peer.parameters(), lr=0.05)
    optimiser.regroup_param_groups(peer)
    own = torch.optim.SGD(layer.parameters(), 0.05)
    stream = generator(4)
    before = layer.tile.weight.clone()
    for _ in range(12):
        x, target = torch.randn(1, 1, generator=stream), torch.randn(1, 5, generator=stream)
        for net, step in ((layer, own), (peer, optimiser)):
            step.zero_grad()
            (net(x) - target).square().sum().backward()
            step.step()
        layer.update(0.05)
        weight = array.get_weights(apply_weight_scaling=False)[0]
        torch.testing.assert_close(layer.tile.weight.clone(), weight)
        # AIHWKit's residual is in units of the array
        alpha = layer.tile.scales.alpha
        assert alpha is not None
        ours = _residual(layer) / alpha.unsqueeze(1)
        torch.testing.assert_close(ours, _peers(array), rtol=1e-3, atol=1e-6)
    assert float((layer.tile.weight - before).abs().max()) > 0.05
