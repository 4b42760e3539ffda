"""Optimizers of stages: as one optimizer of the whole network, to the bit, in every schedule without
staleness, over a checkpoint too."""

from functools import partial

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from analogpipe.pipeline.pipeline import Pipeline
from tiny_network import batch, blocks, lr, pipeline_parts, same, weights

MAKERS = {
    "momentum": partial(torch.optim.SGD, lr=0.0, momentum=0.9, nesterov=True),
    "decay": partial(torch.optim.SGD, lr=0.0, weight_decay=0.01),
    "adamw": partial(torch.optim.AdamW, betas=(0.9, 0.95), weight_decay=0.1),
}
K = 12


def run(mode: str, stages: int, n: int, maker: str, **kinds: bool) -> Pipeline:
    modules, options = pipeline_parts(mode, stages, K, n, **kinds)
    return Pipeline(modules, **options, optimizer=MAKERS[maker])


def plain(n: int, maker: str) -> list[torch.Tensor]:
    """A loop of torch: the mean gradient of n micro-batches, then a step of one optimizer."""
    network = nn.Sequential(*blocks())
    optimizer = MAKERS[maker](list(network.parameters()))
    for first in range(0, K, n):
        optimizer.zero_grad()
        for b in range(first, first + n):
            x, target = batch(b)
            cross_entropy(network(x), target).backward()
        if n > 1:
            for p in network.parameters():
                p.grad /= n
        optimizer.param_groups[0]["lr"] = lr(first + n - 1)
        optimizer.step()
    return list(network.state_dict().values())


@pytest.mark.parametrize("maker", MAKERS)
@pytest.mark.parametrize(
    ("mode", "stages", "n"),
    [("sequential", 1, 1), ("sequential", 4, 1), ("async", 1, 1), ("sync", 1, 4), ("sync", 8, 4),
     ("sync-1f1b", 4, 3)],
)  # fmt: skip
def test_stages_step_as_one_optimizer(mode, stages, n, maker):
    pipeline = run(mode, stages, n, maker)
    pipeline.run()
    assert same(weights(pipeline), plain(n, maker))


@pytest.mark.parametrize("maker", MAKERS)
@pytest.mark.parametrize("kinds", [{}, {"mixed": True}], ids=str)
@pytest.mark.parametrize("mode", ["async", "sync"])
def test_a_checkpoint_holds_the_optimizer(mode, maker, kinds):
    whole = run(mode, 4, 4 if mode == "sync" else 1, maker, **kinds)
    whole.run()
    for clock in (0, 3, 9, 17):
        first = run(mode, 4, 4 if mode == "sync" else 1, maker, **kinds)
        first.run(until=clock)
        state = first.state_dict()
        second = run(mode, 4, 4 if mode == "sync" else 1, maker, **kinds)
        second.load_state_dict(state)
        second.run()
        assert same(weights(whole), weights(second))


def test_the_residuals_of_stages_step_as_one_network_does():
    """Four stages between two flushes, and one: the same bits, arrays, scales and residuals alike."""
    one, many = (run("sync", stages, 4, "adamw", mixed=True) for stages in (1, 4))
    one.run()
    many.run()
    assert same(weights(one), weights(many))


def test_momentum_is_not_plain_sgd():
    one, other = run("async", 4, 1, "momentum"), Pipeline(*pipeline_parts("async", 4, K, 1)[:1],
                                                          **pipeline_parts("async", 4, K, 1)[1])  # fmt: skip
    one.run()
    other.run()
    assert not same(weights(one), weights(other))
