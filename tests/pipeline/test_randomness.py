"""Dropout and other global randomness: each micro-batch has its own streams, in any number of stages."""

import random

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from analogpipe.pipeline.errors import StageError
from analogpipe.pipeline.pipeline import Pipeline
from analogpipe.schedule.modes import MODES, SYNC_MODES
from analogpipe.schedule.table import build
from tiny_network import WIDTH, batch, lr, pipeline, pipeline_parts, same, weights


@pytest.mark.parametrize("mode", ["sequential", *SYNC_MODES])
def test_dropout_is_the_same_in_any_number_of_stages(mode: str) -> None:
    n = 4 if mode in SYNC_MODES else 1
    runs = [pipeline(mode, stages, 9, n, dropout=True) for stages in (1, 2, 4, 8)]
    for run in runs:
        run.run()
    assert all(same(weights(runs[0]), weights(run)) for run in runs[1:])
    assert all(torch.equal(runs[0].losses, run.losses) for run in runs[1:])
    without = pipeline(mode, 1, 9, n)
    without.run()
    assert not torch.equal(without.losses, runs[0].losses)


def test_a_run_neither_hears_nor_changes_the_global_stream() -> None:
    ends = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        run = pipeline("async", 4, 9, dropout=True)
        before = torch.get_rng_state()
        run.run()
        assert torch.equal(torch.get_rng_state(), before)
        ends.append(weights(run))
    assert same(*ends)


def test_the_seed_of_a_pipeline_says_what_it_draws() -> None:
    ends = []
    for seed in (0, 0, 1):
        modules, options = pipeline_parts("sync", 2, 8, 4, dropout=True)
        run = Pipeline(modules, **options, seed=seed)
        run.run()
        ends.append(weights(run))
    assert same(ends[0], ends[1])
    assert not same(ends[0], ends[2])


def test_micro_batches_draw_differently() -> None:
    masks = []
    modules, options = pipeline_parts("async", 2, 6, dropout=True)
    first = modules[0][0][-2]
    assert isinstance(first, nn.Dropout)
    first.register_forward_hook(lambda m, args, y: masks.append(y == 0))
    Pipeline(modules, **options).run()
    assert len({tuple(mask.flatten().tolist()) for mask in masks}) == 6


@pytest.mark.parametrize("mode", MODES)
def test_dropout_that_starts_between_two_runs_is_heard(mode: str) -> None:
    """Nothing was drawn before, so that a stage was taken for one that never draws."""
    n = 4 if mode in SYNC_MODES else 1
    ends = []
    for pieces in ((8,), (4, 8), (2, 4, 6, 8)):
        run = pipeline(mode, 4, 9, n, dropout=True)
        for part in (part for stage in run.stages for part in stage.module.modules()):
            if isinstance(part, nn.Dropout):
                part.eval()
        for clock in pieces:
            run.run(until=clock)
        for stage in run.stages:
            stage.module.train()
        run.run()
        ends.append(weights(run))
    assert same(ends[0], ends[1])
    assert same(ends[0], ends[2])


def drawn_batch(b: int) -> tuple[Tensor, Tensor]:
    return torch.randn(4, WIDTH), torch.randint(WIDTH, (4,))


def test_a_batch_that_is_drawn_is_a_function_of_its_number() -> None:
    ends = []
    for stages, clocks in ((1, ()), (4, ()), (4, range(1, 40, 3))):
        modules, options = pipeline_parts("sync", stages, 8, 4)
        run = Pipeline(modules, **options | {"batch": drawn_batch})
        for clock in clocks:
            run.run(until=clock)
        run.run()
        assert len(set(run.losses.tolist())) == 8
        ends.append(weights(run))
    assert same(ends[0], ends[1])
    assert same(ends[0], ends[2])


class Draws(nn.Module):
    """Calls ``draw`` from micro-batch ``start`` on."""

    def __init__(self, draw, start: int = 0) -> None:
        super().__init__()
        self.draw, self.start = draw, start
        self.register_buffer("count", torch.tensor(0))

    def forward(self, x: Tensor) -> Tensor:
        self.count += 1
        if self.count > self.start:
            self.draw()
        return x


@pytest.mark.parametrize(
    ("draw", "start", "message"),
    [
        (lambda: torch.rand(1), 3, "began to draw random numbers after its first micro-batch"),
        (random.random, 0, "draws from the global generator of Python or NumPy"),
        (np.random.rand, 0, "draws from the global generator of Python or NumPy"),
    ],
    ids=["late", "python", "numpy"],
)
@pytest.mark.parametrize("stages", [1, 2])
def test_what_no_stream_can_stand_for_is_refused(draw, start: int, message: str, stages) -> None:
    blocks = [nn.Linear(WIDTH, WIDTH), Draws(draw, start)]
    modules = blocks if stages == 2 else [nn.Sequential(*blocks)]
    table = build("sync", stages, 8, 4)
    run = Pipeline(modules, table, loss=cross_entropy, batch=batch, lr=lr)
    with pytest.raises(StageError, match=message):
        run.run()


@pytest.mark.gpu
def test_dropout_on_a_gpu_is_the_same_in_any_number_of_stages_and_over_a_checkpoint() -> None:
    def made(stages: int) -> Pipeline:
        modules, options = pipeline_parts("sync", stages, 9, 4, dropout=True)
        own = options | {"batch": lambda b: tuple(t.cuda() for t in batch(b))}
        return Pipeline([module.cuda() for module in modules], **own)

    one, many, first, second = made(1), made(4), made(4), made(4)
    before = torch.cuda.get_rng_state()
    one.run()
    many.run()
    first.run(until=13)
    second.load_state_dict(first.state_dict())
    second.run()
    assert torch.equal(torch.cuda.get_rng_state(), before)
    assert same(weights(one), weights(many))
    assert same(weights(one), weights(second))
