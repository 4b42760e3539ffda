"""Any stack of torch modules trains in M stages as in one process of plain torch."""

import copy
from contextlib import contextmanager
from functools import partial
from itertools import pairwise

import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from analogpipe.pipeline.errors import StageError
from analogpipe.pipeline.pipeline import Pipeline
from analogpipe.pipeline.randomness import first
from analogpipe.schedule.table import build
from stacks import batch_for, loss, may_round_otherwise, stacks
from tiny_network import same

K, SEED = 7, 5


def rate(b: int) -> float:
    return 0.1 / (1 + 0.1 * b)


def plain(blocks: list[nn.Module], n: int) -> list[Tensor]:
    """Plain torch: n micro-batches accumulated, then a step; the generators set for each micro-batch."""
    network = nn.Sequential(*copy.deepcopy(blocks))
    trained = [p for p in network.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=1.0)
    cpu = torch.device("cpu")
    for start in range(0, K, n):
        mini_batch = range(start, min(start + n, K))
        optimizer.zero_grad()
        for b in mini_batch:
            x, target = batch_for(blocks, b)
            torch.set_rng_state(first(SEED, "forward", b, cpu))
            value = loss(network(x.clone()), target)
            torch.set_rng_state(first(SEED, "backward", b, cpu))
            value.backward()
        optimizer.param_groups[0]["lr"] = rate(mini_batch[-1]) / len(mini_batch)
        optimizer.step()
    return list(network.state_dict().values())


def pipeline(blocks: list[nn.Module], mode: str, n: int, cuts: list[int]) -> Pipeline:
    own = copy.deepcopy(blocks)
    ends = pairwise([0, *cuts, len(blocks)])
    stages = [nn.Sequential(*own[a:b]) for a, b in ends]
    return Pipeline(
        stages,
        build(mode, len(stages), K, n),
        loss=loss,
        batch=lambda b: batch_for(blocks, b),
        lr=rate,
        seed=SEED,
    )


def state(run: Pipeline) -> list[Tensor]:
    return [t for stage in run.stages for t in stage.module.state_dict().values()]


@contextmanager
def torch_may_refuse():
    """Leave out stacks that change in place what torch's own backward needs, and norms that are computed
    once more in the backward."""
    try:
        yield
    except RuntimeError as error:
        refused = "modified by an inplace operation" in str(error)
    except StageError as error:
        refused = "changed in place" in str(error) or "this buffer in its backward" in str(error)
    else:
        return
    assume(not refused)


MODES = st.sampled_from([("sequential", 1), ("sync", 1), ("sync", 3), ("sync-1f1b", 3)])


@given(blocks=stacks(), mode=MODES, data=st.data())
@settings(deadline=None, max_examples=120)
def test_a_stack_in_stages_trains_as_plain_torch_does(blocks, mode, data):
    trained = any(p.requires_grad for block in blocks for p in block.parameters())
    assume(trained)
    inner = st.sets(st.integers(1, len(blocks) - 1), max_size=3)
    cuts = sorted(data.draw(inner, label="cuts"))
    clocks = data.draw(st.lists(st.integers(1, 40), max_size=2), label="checkpoints")
    with torch_may_refuse():
        reference = plain(blocks, mode[1])
        untouched = torch.get_rng_state()
        run = pipeline(blocks, *mode, cuts)
        for clock in clocks:
            run.run(until=clock)
            half = run.state_dict()
            run = pipeline(blocks, *mode, cuts)
            run.load_state_dict(half)
        run.run()
        assert torch.equal(torch.get_rng_state(), untouched)
        found = state(run)
        if may_round_otherwise(blocks):
            close = partial(torch.allclose, rtol=1e-9, atol=1e-12)
            assert all(map(close, found, reference))
        else:
            assert same(found, reference)
