"""AIHWKit's own layers in our pipeline: exactly its training where nothing is random, else alike."""

import os
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

import analogpipe as ap
from analogpipe.aihwkit.layers import AihwkitError, AihwkitLayer
from analogpipe.pipeline.errors import StageError

pytest.importorskip("aihwkit")
from aihwkit.nn import (
    AnalogConv2d,
    AnalogLinear,
    AnalogLinearMapped,
    AnalogLSTMCell,
    AnalogRNN,
    AnalogSequential,
)
from aihwkit.simulator.configs import (
    InferenceRPUConfig,
    SingleRPUConfig,
)
from aihwkit.simulator.configs.compounds import ChoppedTransferCompound, TransferCompound
from aihwkit.simulator.configs.devices import ConstantStepDevice, IdealDevice, SoftBoundsDevice
from aihwkit.simulator.parameters import IOParameters, UpdateParameters

from peer_lenet import LOSS, Digits, lenet, plain
from peer_pipelines import PLAIN, assert_same, exact, noisy, pair, pipeline, quiet, weights

pytestmark = pytest.mark.peer

# Where nothing is random


def test_one_stage_is_aihwkits_own_loop_to_the_bit() -> None:
    net, other = pair(lambda: lenet(exact))
    digits = Digits(0, 8)
    before = weights(net)
    pipe = pipeline(net, "sequential", 1, 12, digits, 0.1)
    pipe.run()
    plain(other, digits, 12, 0.1)
    assert not all(torch.equal(a, b) for a, b in zip(before, weights(net), strict=True))
    assert_same(net, other)


def test_four_stages_in_sync_are_a_batch_of_all_micro_batches() -> None:
    """Also those of learned and fixed scales and of the compounds, whose fast array has a rate of its
    own: it sees the mean of the errors."""
    net, other = pair(lambda: lenet(exact))
    digits, whole = Digits(0, 8), Digits(0, 32)
    pipe = pipeline(net, "sync", 4, 12, digits, 0.1, mini_batch=4)
    pipe.run()
    plain(other, whole, 3, 0.1)
    for one, two in zip(weights(net), weights(other), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-6)


def test_four_stages_in_async_train_as_torchs_layers_do() -> None:
    """One live copy of each weight, and the errors of the micro-batch that is due."""
    net, _ = pair(lambda: lenet(exact))
    shape = [(1, 8), (8, 16)]
    layers: list[nn.Module] = [nn.Conv2d(i, o, 3, padding=1) for i, o in shape]
    layers += [nn.Linear(64, 32), nn.Linear(32, 10)]
    own = iter(layers)
    digital = nn.Sequential(
        *(next(own) if isinstance(part, AihwkitLayer) else part for part in net)
    )
    with torch.no_grad():
        for layer, part in zip(
            layers, (p for p in net if isinstance(p, AihwkitLayer)), strict=True
        ):
            weight, bias = part.layer.get_weights()  # type: ignore[operator]
            layer.weight.copy_(weight.view_as(layer.weight))  # type: ignore[union-attr, operator]
            layer.bias.copy_(bias)  # type: ignore[union-attr, operator]
    digits = Digits(0, 8)
    for mode in ("async", "async-full-duplex"):
        for model in (net, digital):
            pipeline(model, mode, 4, 30, digits, 0.1).run()
        for layer, part in zip(
            layers, (p for p in net if isinstance(p, AihwkitLayer)), strict=True
        ):
            weight, bias = part.layer.get_weights()  # type: ignore[operator]
            torch.testing.assert_close(
                layer.weight, weight.view_as(layer.weight), rtol=0, atol=1e-5
            )
            torch.testing.assert_close(layer.bias, bias, rtol=0, atol=1e-5)


def _fast(kind: type, **options: Any) -> Any:
    steps = {"dw_min": 0.01, "w_max": 50.0, "w_min": -50.0, **PLAIN}
    cell = kind(unit_cell_devices=[ConstantStepDevice(**steps), ConstantStepDevice(**steps)])
    for key, value in {"transfer_forward": IOParameters(is_perfect=True), **options}.items():
        setattr(cell, key, value)
    return quiet(cell)


CASES: dict[str, Callable[[], nn.Module]] = {
    "ttv1": lambda: AnalogLinear(
        6,
        4,
        rpu_config=_fast(
            TransferCompound,
            fast_lr=9.0,
            transfer_update=UpdateParameters(
                desired_bl=1, update_management=False, update_bl_management=False
            ),
        ),
    ),
    "cttv2": lambda: AnalogLinear(
        6, 4, rpu_config=_fast(ChoppedTransferCompound, fast_lr=9.0, in_chop_prob=0.0)
    ),
    "scales": lambda: AnalogLinear(6, 4, rpu_config=_scaled()),
    "arrays": lambda: AnalogLinearMapped(6, 4, rpu_config=_scaled(max_input_size=4)),
    "convolution": lambda: nn.Sequential(
        nn.Unflatten(1, (1, 2, 3)), AnalogConv2d(1, 2, 2, rpu_config=exact()), nn.Flatten()
    ),
}


def _scaled(**sizes: int) -> Any:
    config = quiet(IdealDevice())
    config.mapping.weight_scaling_omega = 0.6
    config.mapping.weight_scaling_columnwise = config.mapping.learn_out_scaling = True
    for key, value in sizes.items():
        setattr(config.mapping, key, value)
    return config


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("count", [1, 3])
def test_an_update_is_that_of_analog_sgd(name: str, count: int) -> None:
    """By micro-batches, 3 of which are one batch in AIHWKit: arrays, hidden states and scales.

    Errors are given, and so large that every pulse of a gradient is sure; those of a ``ttv1``'s
    transfers are not, of which the fast array is compared."""
    net, other = pair(lambda: nn.Sequential(CASES[name]()))
    stream = torch.Generator().manual_seed(0)
    x = torch.rand(60, 6, generator=stream) + 0.5
    errors = (torch.rand(60, 4, generator=stream) + 0.5) * torch.randn(
        60, 4, generator=stream
    ).sign()

    def loss(y: Tensor, e: Tensor) -> Tensor:
        return (y * e).sum(1).mean()

    def batch(b: int, size: int = 4) -> tuple[Tensor, Tensor]:
        return x[size * b : size * (b + 1)], errors[size * b : size * (b + 1)]

    before = weights(net)
    pipeline(net, "sync", 1, 15, batch, 0.3, mini_batch=count, loss=loss).run()
    plain(other, lambda b: batch(b, 4 * count), 15 // count, 0.3, loss)
    ours, theirs = weights(net), weights(other)
    if name == "ttv1":
        place = _names(net).index("hidden_weights_0")
        ours, theirs, before = ([part[2][place]] for part in (ours, theirs, before))
    assert not all(torch.equal(a, b) for a, b in zip(before, ours, strict=True))
    for one, two in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-5)


def _names(net: nn.Module) -> list[str]:
    layer = next(part for part in net.modules() if isinstance(part, AihwkitLayer))
    tile = next(layer.layer.analog_tiles())  # type: ignore[operator]
    names: list[str] = tile.tile.get_hidden_parameter_names()
    return names


def test_a_layer_used_twice_gets_the_mean_over_micro_batches() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = AnalogLinear(4, 4, rpu_config=exact())

        def forward(self, x: Tensor) -> Tensor:
            return nn.functional.log_softmax(self.layer(torch.tanh(self.layer(x))), 1)

    net, other = pair(Twice)
    x, y = torch.rand(24, 4), torch.randint(4, (24,))
    plan = ap.plan("sync", stages=1, micro_batches=6, mini_batch=3)
    parts = [nn.Sequential(net)]

    def batch(b: int) -> tuple[Tensor, Tensor]:
        return x[4 * b : 4 * b + 4], y[4 * b : 4 * b + 4]

    ap.Pipeline(parts, plan, loss=LOSS, batch=batch, lr=lambda b: 0.5).run()
    plain(other, lambda b: (x[12 * b : 12 * b + 12], y[12 * b : 12 * b + 12]), 2, 0.5)
    for one, two in zip(weights(net), weights(other), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_two_processes_give_the_bits_of_one_where_nothing_is_random(tmp_path: Path) -> None:
    one, many = tmp_path / "one", tmp_path / "many"
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), *sys.path]),
        "OMP_NUM_THREADS": "1",
    }
    launcher = ["-m", "analogpipe.jobs.processes", "--stages", "2"]
    for start, file in (([], one), (launcher, many)):
        module = ["peer_job"] if start else ["-m", "peer_job"]
        command = [sys.executable, *start, *module, str(file)]
        subprocess.run(command, env=environment, check=True, timeout=150)
    state, other = load_file(one), load_file(many)
    assert state.keys() == other.keys()
    assert [key for key, value in state.items() if not torch.equal(value, other[key])] == []


# Alike where it is random

RUN: dict[bool, tuple[Callable[[], Any], float, int]] = {
    True: (noisy, 0.3, 100),
    False: (lambda: SingleRPUConfig(device=SoftBoundsDevice()), 0.05, 400),
}
"""Configuration, learning rate and steps of the small network and of the large one."""


def _ours(seed: int, stages: int, mode: str, *, small: bool = True) -> float:
    torch.manual_seed(seed)
    made, lr, steps = RUN[small]
    net, digits = ap.from_aihwkit(lenet(made, small=small)), Digits(seed, 8, small=small)
    pipe = pipeline(net, mode, stages, steps, digits, lr)
    pipe.run()
    return digits.accuracy(pipe.predict)


def _theirs(seed: int, *, small: bool = True) -> float:
    torch.manual_seed(seed)
    made, lr, steps = RUN[small]
    net, digits = lenet(made, small=small), Digits(seed, 8, small=small)
    plain(net, digits, steps, lr)
    return digits.accuracy(net.eval())


def _assert_alike(ours: list[float], theirs: list[float], t: float) -> None:
    spread = max(statistics.stdev(ours), statistics.stdev(theirs), 0.01)
    error = spread * (2 / len(ours)) ** 0.5
    assert abs(statistics.mean(ours) - statistics.mean(theirs)) < t * error, (ours, theirs)


def test_one_stage_learns_as_aihwkits_loop_does() -> None:
    """A two-sided t test at 1e-3 with 8 degrees of freedom."""
    ours = [_ours(seed, 1, "sequential") for seed in range(5)]
    theirs = [_theirs(seed) for seed in range(5)]
    _assert_alike(ours, theirs, 5.04)
    assert statistics.mean(ours) > 0.4  # chance is 0.1


@pytest.mark.slow
def test_the_network_of_the_example_learns_alike() -> None:
    """At its size, 400 steps: one stage as AIHWKit's loop, four stages in async within 5 points.

    A two-sided t test at 1e-3 with 6 degrees of freedom."""
    ours = [_ours(seed, 1, "sequential", small=False) for seed in range(4)]
    theirs = [_theirs(seed, small=False) for seed in range(4)]
    asynchronous = [_ours(seed, 4, "async", small=False) for seed in range(4)]
    print(ours, theirs, asynchronous)
    _assert_alike(ours, theirs, 5.96)
    assert statistics.mean(asynchronous) > statistics.mean(theirs) - 0.05


# What is a layer, and what is refused


def test_the_model_stays_the_same_and_is_given_back() -> None:
    net = AnalogSequential(AnalogLinear(4, 3, rpu_config=exact()), nn.Tanh())
    layer, x = net[0], torch.rand(2, 4)
    expected = net(x)
    assert ap.from_aihwkit(net) is net
    assert isinstance(net[0], AihwkitLayer)
    assert torch.equal(net(x), expected)
    assert [name for name, _ in net.named_parameters()] == ["0.anchor", "0.analog_module_bias"]
    net.eval()
    assert ap.to_aihwkit(net)[0] is layer
    assert not layer.training
    assert any("analog_tile_state" in key for key in net.state_dict())


def test_frozen_layers_stay_as_they_are() -> None:
    net = ap.from_aihwkit(lenet(exact))
    net[3].requires_grad_(False)
    before = [value.clone() for value in net[3].state_dict().values()]
    first = net[0].state_dict()["tiles.0.weight"].clone()
    pipeline(net, "async", 4, 4, Digits(0, 8), 0.1).run()
    assert all(torch.equal(a, b) for a, b in zip(before, net[3].state_dict().values(), strict=True))
    assert not torch.equal(first, net[0].state_dict()["tiles.0.weight"])


def test_cells_of_recurrent_networks_are_found() -> None:
    net = AnalogRNN(AnalogLSTMCell, 3, 5, num_layers=1, rpu_config=exact())
    ap.from_aihwkit(net)
    found = [part for part in net.modules() if isinstance(part, AihwkitLayer)]
    assert len(found) == 2
    before = found[0].state_dict()["tiles.0.weight"].clone()
    y, _ = net(torch.rand(4, 2, 3), net.get_zero_state(2))
    y.square().sum().backward()
    for layer in found:
        layer.update(0.1)
    assert not torch.equal(found[0].state_dict()["tiles.0.weight"], before)


def test_what_a_pipeline_cannot_train_is_refused() -> None:
    with pytest.raises(AihwkitError, match=r"^0: InferenceTile does not learn by updates"):
        ap.from_aihwkit(nn.Sequential(AnalogLinear(3, 2, rpu_config=InferenceRPUConfig())))
    with pytest.raises(AihwkitError, match="Linear: found no layer of AIHWKit's"):
        ap.from_aihwkit(nn.Linear(3, 2))
    net = ap.from_aihwkit(lenet(exact))
    digits = Digits(0, 8)
    with pytest.raises(AihwkitError, match="without prediction"):
        pipeline(net, "async", 4, 9, digits, 0.1, prediction=0.9)
    with pytest.raises(StageError, match="async-stash"):
        pipeline(net, "async-stash", 4, 9, digits, 0.1)
    with pytest.raises(AihwkitError, match="a copy of AIHWKit's tiles"):
        __import__("copy").deepcopy(net)

    def decaying(parameters: list[Tensor]) -> torch.optim.Optimizer:
        return torch.optim.SGD(parameters, weight_decay=0.1)

    with pytest.raises(StageError, match="weight decay does not reach"):
        pipeline(net, "async", 4, 9, digits, 0.1, optimizer=decaying)


def test_what_waits_for_aihwkits_optimizer_is_forgotten() -> None:
    layer = AnalogLinear(3, 2, rpu_config=exact())
    layer(torch.ones(1, 3)).sum().backward()
    ours = ap.from_aihwkit(layer)
    before = ours.state_dict()["tiles.0.weight"]
    ours.update(0.1)
    assert torch.equal(ours.state_dict()["tiles.0.weight"], before)


def test_the_weight_decays_with_each_update() -> None:
    """As AIHWKit's optimizer asks for it after its steps, at a rate of 0 too."""
    config = SingleRPUConfig(device=IdealDevice(lifetime=10.0))
    layer = ap.from_aihwkit(AnalogLinear(3, 2, rpu_config=config))
    before = layer.state_dict()["tiles.0.weight"]
    layer(torch.ones(1, 3)).sum().backward()
    layer.update(0.0)
    torch.testing.assert_close(layer.state_dict()["tiles.0.weight"], 0.9 * before)
