"""A convolution whose positions are shared by several arrays."""

import pytest
import torch

from analogpipe.hardware.layers import Stage
from analogpipe.layer.base import LayerError
from analogpipe.layer.convolution import AnalogConv2d
from analogpipe.layer.replicated import ReplicatedConv2d
from analogpipe.pipeline.reads import describe, reads
from analogpipe.pipeline.stage import Stage as PipelineStage
from analogpipe.seeds import generator
from analogpipe.tile.config import TileConfig, digital

X = torch.randn(3, 2, 8, 8, generator=generator(0, "x"))
SOFT = TileConfig.parse({"device": {"kind": "soft_bounds"}})


def make(tile: TileConfig, replicas: int, **options: bool) -> ReplicatedConv2d:
    return ReplicatedConv2d(
        2, 4, 3, tile, replicas=replicas, padding=1, seed=0, name="a", **options
    )


def one() -> AnalogConv2d:
    """The one convolution that exact replicas stand for."""
    return AnalogConv2d(2, 4, 3, digital(), padding=1, seed=0, name="a.0")


def learn(layer: torch.nn.Module) -> None:
    stage = PipelineStage(layer, loss=lambda y, t: ((y - t) ** 2).mean())
    stage.forward(0, X, torch.ones(3, 4, 8, 8))
    stage.backward(0)
    stage.update(0.5)


@pytest.mark.parametrize("replicas", [1, 3, 4, 16, 64])
def test_shares_are_equal_and_scattered(replicas):
    share = make(digital(), replicas).share(8, 8)
    counts = torch.bincount(share.flatten(), minlength=replicas)
    assert counts.max() - counts.min() <= 1 + (replicas == 3)
    if 1 < replicas <= 8:
        assert all(len(share[row].unique()) == replicas for row in range(8))


@pytest.mark.parametrize("replicas", [1, 4])
def test_exact_arrays_with_one_weight_are_one_convolution(replicas):
    layer, plain = make(digital(), replicas), one()
    torch.testing.assert_close(layer(X), plain(X))


def test_each_array_learns_from_its_own_positions():
    layer, plain = make(digital(), 4), one()
    before = plain.matrix().clone()
    learn(layer)
    learn(plain)
    changes = torch.stack([array.matrix() - before for array in layer.parts])
    torch.testing.assert_close(changes.sum(0), plain.matrix() - before)
    assert (changes[0] - changes[1]).abs().max() > 1e-3
    torch.testing.assert_close(layer.bias, plain.bias)


def test_an_evaluation_takes_the_mean_of_all():
    layer = make(digital(), 4, averages=True)
    learn(layer)
    mean = layer.eval()(X)
    layer.averages = False
    own = layer(X)
    assert (mean - own).abs().max() > 1e-3
    layer.train()
    torch.testing.assert_close(own, layer(X))


def test_arrays_have_elements_of_their_own_and_the_same_beginning():
    first, second = make(SOFT, 2).parts
    assert not torch.equal(first.tile.array.response.high, second.tile.array.response.high)
    assert (first.matrix() - second.matrix()).abs().median() == 0


def test_the_cost_model_sees_one_layer_that_is_as_much_faster():
    layer = make(SOFT, 4)
    (block,) = describe([layer], X)
    (found,) = block.layers
    assert (found.kind, found.positions, found.replicas) == ("convolution", 64, 4)
    assert block == Stage(block.layers, 4 * 64)
    assert block.reads == 16
    assert reads([layer], X) == [3 * 16]


def test_none_is_refused():
    with pytest.raises(LayerError, match="replicas is 0, allowed is 1 or more"):
        make(SOFT, 0)
