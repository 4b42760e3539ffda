"""Networks: shapes, blocks that can be cut anywhere, initial weights, gradients through all of them."""

import pytest
import torch
from torch import nn

from analogpipe.experiment import models
from analogpipe.layer.base import AnalogLayer
from analogpipe.pipeline.reads import reads
from analogpipe.profile.sections import Cnn, EvenResNet, Mlp, ResNet
from analogpipe.schedule.partition import balance, partition, stage_costs
from analogpipe.tile.config import TileConfig

IDEAL = TileConfig.parse(
    {"device": {"kind": "ideal"}, "forward": {"perfect": True}, "backward": {"perfect": True}}
)
NETWORKS = [
    (Mlp(kind="mlp", name="mlp", depth=4, width=6), (1, 8, 8), 4),
    (Cnn(kind="cnn", name="cnn", width=4), (1, 28, 28), 8),
    (ResNet(kind="resnet", name="resnet10", layers=10, width=4), (3, 32, 32), 10),
    (ResNet(kind="resnet", name="resnet18", layers=18, width=4), (3, 32, 32), 18),
    (EvenResNet(kind="even-resnet", name="even", pairs=4, width=4), (3, 32, 32), 8),
]
each = pytest.mark.parametrize(
    ("config", "shape", "blocks"), NETWORKS, ids=[config.name for config, *_ in NETWORKS]
)


def build(config, shape, tile=None, seed=0):
    return models.build(config, shape, 10, tile, seed)


@each
def test_blocks_and_shapes(config, shape, blocks):
    made = build(config, shape)
    assert len(made) == config.blocks == blocks
    assert nn.Sequential(*made)(torch.rand(2, *shape)).shape == (2, 10)
    for stages in range(1, min(blocks, 8) + 1):
        parts = partition(reads(made, torch.rand(1, *shape)), stages)
        assert [len(part) > 0 for part in parts] == [True] * stages


def test_layers_with_weights_on_the_longest_path():
    for layers in (10, 18):
        config = ResNet(kind="resnet", name="r", layers=layers, width=4)
        network = nn.Sequential(*build(config, (3, 32, 32)))
        weights = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
        assert len(weights) == layers


@each
def test_ideal_arrays_compute_what_digital_layers_do(config, shape, blocks):
    x = torch.rand(4, *shape)
    digital, analog = (nn.Sequential(*build(config, shape, tile)) for tile in (None, IDEAL))
    analog_layers = [m for m in analog.modules() if isinstance(m, AnalogLayer)]
    digital_layers = [m for m in digital.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    assert len(analog_layers) == len(digital_layers)
    outputs = []
    for network in (digital, analog):
        y = network(x)
        nn.functional.cross_entropy(y, torch.arange(4)).backward()
        for layer in analog_layers:
            layer.update(0.1)
        with torch.no_grad():
            for p in network.parameters():
                p -= 0.1 * p.grad
        outputs += [y, network(x)]
    assert torch.allclose(outputs[0], outputs[2], atol=1e-5)
    assert torch.allclose(outputs[1], outputs[3], atol=1e-4)
    assert not torch.allclose(outputs[0], outputs[1], atol=1e-3)


@each
def test_weights_follow_from_the_seed_and_leave_the_global_stream_alone(config, shape, blocks):
    before = torch.get_rng_state()
    states = [nn.Sequential(*build(config, shape, seed=seed)).state_dict() for seed in (0, 0, 1)]
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    assert any(not torch.equal(states[0][key], states[2][key]) for key in states[0])


def test_a_residual_block_starts_as_the_identity():
    blocks = build(ResNet(kind="resnet", name="r", layers=10, width=4), (3, 16, 16))
    x = torch.rand(3, 4, 16, 16)
    assert torch.equal(blocks[2](blocks[1](x)), x)
    y = blocks[4](blocks[3](x))
    assert torch.equal(y[:, :4], x[:, :, ::2, ::2])
    assert not y[:, 4:].any()


def test_stages_of_the_even_resnet_read_alike():
    """But for the classifier's one read; ResNet-18 shows that stages can be far from that."""
    even, other = (
        EvenResNet(kind="even-resnet", name="e"),
        ResNet(kind="resnet", name="r", layers=18),
    )
    for config, low, high in ((even, 1, 1.003), (other, 1.2, 2)):
        costs = reads(build(config, (3, 32, 32)), torch.zeros(1, 3, 32, 32))
        for stages in (4, 8):
            ratio = balance(stage_costs(costs, partition(costs, stages))).slowest_to_mean
            assert low <= ratio < high


def test_images_too_small():
    with pytest.raises(ValueError, match="4 x 4 pixels, allowed: 8 x 8"):
        build(Cnn(kind="cnn", name="cnn", width=4), (1, 4, 4))
