"""A small network of MNIST's input size reaches the same accuracy as with AIHWKit."""

import statistics

import pytest
import torch
from torch import Tensor, nn

from analogpipe.device.parameters import SoftBounds
from analogpipe.layer.base import AnalogLayer
from analogpipe.layer.linear import AnalogLinear
from analogpipe.seeds import generator
from analogpipe.tile.config import TileConfig

pytest.importorskip("aihwkit")
from aihwkit.nn import AnalogLinear as PeerLinear
from aihwkit.optim import AnalogSGD
from aihwkit.simulator.configs import SingleRPUConfig
from aihwkit.simulator.configs.devices import SoftBoundsDevice

pytestmark = [pytest.mark.peer, pytest.mark.slow]

SEEDS, STEPS, BATCH, LR = 6, 400, 10, 0.05


def _data(seed: int, size: int) -> tuple[Tensor, Tensor]:
    """Images of 784 pixels in [0, 1]: one of ten patterns each, under noise."""
    patterns = torch.rand(10, 784, generator=generator(0, "patterns"))
    stream = generator(seed, "samples")
    labels = torch.randint(10, (size,), generator=stream)
    images = 0.5 * patterns[labels] + 0.9 * torch.rand(size, 784, generator=stream) - 0.2
    return images.clamp_(0, 1), labels


def _accuracy(net: nn.Module, step: object, seed: int) -> float:
    loss = nn.CrossEntropyLoss()
    x, y = _data(seed, STEPS * BATCH)
    for i in range(STEPS):
        part = slice(i * BATCH, (i + 1) * BATCH)
        loss(net(x[part]), y[part]).backward()
        step()  # type: ignore[operator]
    net.eval()
    x, y = _data(1000, 1000)
    with torch.no_grad():
        return float((net(x).argmax(1) == y).float().mean())


def _ours(tau: float, seed: int) -> float:
    device = SoftBounds(w_max=tau, w_min=-tau, dw_min=2 * tau / 1200)
    tile = TileConfig(device=device)
    net = nn.Sequential(
        AnalogLinear(784, 32, tile, seed=seed, name="first"),
        nn.Sigmoid(),
        AnalogLinear(32, 10, tile, seed=seed, name="second"),
    )
    optimiser = torch.optim.SGD(net.parameters(), LR)

    def step() -> None:
        optimiser.step()
        for layer in net:
            if isinstance(layer, AnalogLayer):
                layer.update(LR)
        optimiser.zero_grad()  # before, it would drop the updates

    return _accuracy(net, step, seed)


def _theirs(tau: float, seed: int) -> float:
    def config() -> SingleRPUConfig:
        device = SoftBoundsDevice(w_max=tau, w_min=-tau, dw_min=2 * tau / 1200)
        config = SingleRPUConfig(device=device)
        config.mapping.max_input_size = config.mapping.max_output_size = 0
        config.mapping.weight_scaling_omega = 0.0
        return config

    torch.manual_seed(seed)
    net = nn.Sequential(
        PeerLinear(784, 32, rpu_config=config()),
        nn.Sigmoid(),
        PeerLinear(32, 10, rpu_config=config()),
    )
    optimiser = AnalogSGD(net.parameters(), lr=LR)
    optimiser.regroup_param_groups(net)

    def step() -> None:
        optimiser.step()
        optimiser.zero_grad()

    return _accuracy(net, step, seed)


@pytest.mark.usefixtures("in_both_formats")
@pytest.mark.parametrize("tau", [0.6, 0.8])
def test_accuracies_agree_within_the_seed_spread(tau: float) -> None:
    ours = [_ours(tau, seed) for seed in range(SEEDS)]
    theirs = [_theirs(tau, seed) for seed in range(SEEDS)]
    spread = max(statistics.stdev(ours), statistics.stdev(theirs), 0.01)
    # two-sided t test at 1e-3 with 10 degrees of freedom: 4.59
    error = spread * (2 / SEEDS) ** 0.5
    assert abs(statistics.mean(ours) - statistics.mean(theirs)) < 4.59 * error, (ours, theirs)
    assert statistics.mean(ours) > 0.2  # chance is 0.1
