"""The engine: what it executes, and the weights that come out, against independent recurrences."""

import dataclasses
from collections.abc import Callable
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss

from analogpipe.device.parameters import SoftBounds
from analogpipe.layer.convolution import AnalogConv2d
from analogpipe.pipeline.errors import StageError
from analogpipe.pipeline.pipeline import Pipeline
from analogpipe.schedule import modes as schedule
from analogpipe.schedule import staleness
from analogpipe.schedule.modes import MODES, SYNC_MODES, ScheduleError
from analogpipe.schedule.table import Action, build
from analogpipe.seeds import generator
from analogpipe.tile.config import TileConfig
from schedule_sizes import sizes
from tiny_network import (
    BATCH,
    WIDTH,
    Scale,
    batch,
    blocks,
    half_square,
    lr,
    pipeline,
    same,
    scalar_batch,
    weights,
)

torch.set_num_threads(1)  # threads slow tiny layers down by far


def check_execution(mode: str, stages: int, k: int, n: int) -> None:
    modules = [Scale(0.9) for _ in range(stages)]
    run = Pipeline(
        modules,
        build(mode, stages, k, n),
        loss=half_square,
        batch=scalar_batch,
        lr=lambda b: 0.01,
        trace=True,
    )
    run.run()
    assert run.trace is not None
    clocks, stage, kind, b, version = np.array(run.trace).T
    assert clocks.max() + 1 == schedule.cycles(mode, stages, k, n)
    slots = schedule.slots_per_clock(mode) * stages * (clocks.max() + 1)
    density = np.count_nonzero(kind != Action.U) / slots
    assert density == pytest.approx(schedule.density(mode, stages, k, n), rel=1e-12)
    forward, backward = kind == Action.F, kind == Action.B
    for here, predicted in (
        (forward, staleness.forward_version),
        (backward, staleness.backward_version),
    ):
        assert np.array_equal(version[here], predicted(mode, stages, b[here], stage[here], n))
    for m in range(1, stages + 1):
        held = np.cumsum(np.select([forward, backward], [1, -1])[stage == m])
        assert held.max() == staleness.in_flight(mode, stages, k, n, m)
    assert not run.losses.isnan().any()
    updates = -(-k // n) if mode in SYNC_MODES else k
    assert [s.version for s in run.stages] == [updates] * stages
    assert all(s.in_flight == () for s in run.stages)


@pytest.mark.parametrize("mode", MODES)
def test_an_executed_run_has_the_cycles_densities_and_versions_of_the_closed_forms(
    mode: str,
) -> None:
    sizes_n = (1, 2, 3, 5, 8) if mode in SYNC_MODES else (1,)
    for stages, k, n in product(range(1, 9), (1, 2, 3, 5, 8), sizes_n):
        check_execution(mode, stages, k, n)


@given(sizes())
@settings(deadline=None, max_examples=60)
def test_an_executed_run_has_the_closed_forms_for_any_size(s: tuple[str, int, int, int]) -> None:
    check_execution(*s)


def plain_sgd(k: int, n: int, *, norm: bool = False) -> list[Tensor]:
    """A plain loop: gradients of n micro-batches accumulated, then one step on their mean."""
    network = nn.Sequential(*blocks(norm=norm))
    optimiser = torch.optim.SGD(network.parameters(), lr=1.0)
    for first in range(0, k, n):
        mini_batch = range(first, min(first + n, k))
        optimiser.zero_grad()
        for b in mini_batch:
            x, target = batch(b)
            cross_entropy(network(x), target).backward()
        optimiser.param_groups[0]["lr"] = lr(mini_batch[-1]) / len(mini_batch)
        optimiser.step()
    return list(network.state_dict().values())


@pytest.mark.parametrize("mode", ["sequential", "async", "async-full-duplex", "async-stash"])
def test_one_stage_is_plain_sgd_bitwise(mode: str) -> None:
    run = pipeline(mode, 1, 12)
    run.run()
    assert same(weights(run), plain_sgd(12, 1))


@pytest.mark.parametrize("mode", SYNC_MODES)
@pytest.mark.parametrize("stages", [1, 2, 4, 8])
@pytest.mark.parametrize("norm", [False, True])
def test_sync_is_accumulation_of_the_mini_batch_bitwise(mode: str, stages: int, norm: bool) -> None:
    run = pipeline(mode, stages, 11, 4, norm=norm)
    run.run()
    assert same(weights(run), plain_sgd(11, 4, norm=norm))


@pytest.mark.parametrize("mode", MODES)
def test_running_statistics_see_the_micro_batches_in_order_whatever_the_mode(mode: str) -> None:
    modules = [nn.BatchNorm1d(WIDTH, affine=False), *blocks()[:2]]
    reference = nn.BatchNorm1d(WIDTH, affine=False)
    for b in range(9):
        reference(batch(b)[0])
    n = 4 if mode in SYNC_MODES else 1
    run = Pipeline(modules, build(mode, 3, 9, n), loss=cross_entropy, batch=batch, lr=lr)
    run.run()
    assert same(list(modules[0].state_dict().values()), list(reference.state_dict().values()))
    run.predict(batch(0)[0])  # uses the running statistics and leaves them as they are
    assert same(list(modules[0].state_dict().values()), list(reference.state_dict().values()))
    assert modules[0].training


@pytest.mark.parametrize("kinds", [{}, {"analog": True}, {"mixed": True}, {"norm": True}], ids=str)
def test_predicting_in_mid_flight_leaves_training_as_it_is(kinds: dict[str, bool]) -> None:
    disturbed, quiet = (pipeline("async", 4, 9, **kinds) for _ in range(2))
    disturbed.run(until=6)
    scores = disturbed.predict(batch(0)[0])
    disturbed.run()
    quiet.run()
    assert scores.shape == (BATCH, WIDTH)
    if not {"analog", "mixed"} & {
        *kinds
    }:  # reading an array in evaluation mode advances its evaluation noise
        assert same(weights(disturbed), weights(quiet))
    assert torch.equal(disturbed.losses, quiet.losses)


WITHOUT_STALENESS = [
    (mode, n, kinds)
    for mode, n in (("sequential", 1), ("sync", 4), ("sync-1f1b", 4))
    for kinds in ({}, {"norm": True}, {"analog": True}, {"mixed": True})
]


@pytest.mark.parametrize(("mode", "n", "kinds"), WITHOUT_STALENESS, ids=str)
def test_weights_without_staleness_do_not_depend_on_the_stages(
    mode: str, n: int, kinds: dict[str, bool]
) -> None:
    runs = [pipeline(mode, stages, 9, n, **kinds) for stages in (1, 3, 8)]
    for run in runs:
        run.run()
    assert all(same(weights(runs[0]), weights(run)) for run in runs[1:])
    assert all(torch.equal(runs[0].losses, run.losses) for run in runs[1:])


def test_both_sync_modes_give_the_same_weights() -> None:
    runs = [pipeline(mode, 4, 9, 4) for mode in SYNC_MODES]
    for run in runs:
        run.run()
    assert same(weights(runs[0]), weights(runs[1]))


def test_staleness_changes_the_weights() -> None:
    async_run, sequential = pipeline("async", 4, 9), pipeline("sequential", 4, 9)
    async_run.run()
    sequential.run()
    assert not same(weights(async_run), weights(sequential))


Recurrence = Callable[[int], tuple[float, float]]


def delayed(k: int) -> tuple[float, float]:
    """async, M = 2: F of b at stage 1 sees version b - 1, everything else version b."""
    w1, w2 = 0.8, -0.5
    old = w1
    for b in range(k):
        x, t = (float(v) for v in scalar_batch(b))
        y1 = old * x
        e2 = w2 * y1 - t
        e1 = w2 * e2  # before the update of stage 2
        old = w1  # F of b + 1 runs before the update of stage 1 by b
        w1, w2 = w1 - 0.1 * e1 * x, w2 - 0.1 * e2 * y1
    return w1, w2


def full_duplex(k: int) -> tuple[float, float]:
    """async-full-duplex, M = 2: F of b at stage 1 sees version b - 2."""
    w1, w2 = [0.8, 0.8, 0.8], -0.5  # w1[b]: before the forward of b
    for b in range(k):
        x, t = (float(v) for v in scalar_batch(b))
        y1 = w1[b] * x
        e2 = w2 * y1 - t
        w1.append(w1[-1] - 0.1 * w2 * e2 * x)
        w2 -= 0.1 * e2 * y1
    return w1[-1], w2


@pytest.mark.parametrize(
    ("mode", "reference"), [("async", delayed), ("async-full-duplex", full_duplex)]
)
def test_two_scalar_layers_follow_the_delayed_recurrence(mode: str, reference: Recurrence) -> None:
    for k in (1, 2, 3, 12):
        modules = [Scale(0.8), Scale(-0.5)]
        run = Pipeline(
            modules, build(mode, 2, k), loss=half_square, batch=scalar_batch, lr=lambda b: 0.1
        )
        run.run()
        found = [float(module.weight.detach()) for module in modules]
        assert found == pytest.approx(reference(k), rel=1e-12)


def three_layers(k: int, *, stash: bool) -> list[float]:
    """async, M = 3, with products e * w whose w is live, or as old as the forward (stash)."""
    history = [[0.8], [-0.5], [1.2]]
    for b in range(k):
        x, t = (float(v) for v in scalar_batch(b))
        old = [history[i][max(0, b - (2 - i))] for i in range(3)]
        now = old if stash else [history[i][b] for i in range(3)]
        inputs = [x, old[0] * x, old[1] * old[0] * x]
        e3 = old[2] * inputs[2] - t
        e2 = now[2] * e3
        errors = [now[1] * e2, e2, e3]
        for i in range(3):
            history[i].append(history[i][b] - 0.1 * errors[i] * inputs[i])
    return [weights[-1] for weights in history]


@pytest.mark.parametrize("mode", ["async", "async-stash"])
def test_three_scalar_layers_use_live_or_stashed_weights_in_the_backward(mode: str) -> None:
    modules = [Scale(0.8), Scale(-0.5), Scale(1.2)]
    run = Pipeline(
        modules, build(mode, 3, 12), loss=half_square, batch=scalar_batch, lr=lambda b: 0.1
    )
    run.run()
    found = [float(module.weight.detach()) for module in modules]
    assert found == pytest.approx(three_layers(12, stash=mode == "async-stash"), rel=1e-12)
    assert found != pytest.approx(three_layers(12, stash=mode != "async-stash"), rel=1e-3)


RESTORED = [
    (mode, kinds)
    for mode in MODES
    for kinds in ({}, {"norm": True}, {"analog": True}, {"mixed": True}, {"dropout": True})
    if not (mode == "async-stash" and {"analog", "mixed"} & {*kinds})
]


@pytest.mark.parametrize(("mode", "kinds"), RESTORED, ids=str)
def test_a_run_restored_in_mid_flight_is_bit_identical(mode: str, kinds: dict[str, bool]) -> None:
    n = 4 if mode in SYNC_MODES else 1
    whole = pipeline(mode, 4, 7, n, **kinds)
    whole.run()
    for clock in range(1, whole.schedule.cycles, 3):
        first = pipeline(mode, 4, 7, n, **kinds)
        first.run(until=clock)
        state = first.state_dict()
        first.run(until=clock + 3)  # must not reach into the state
        second = pipeline(mode, 4, 7, n, **kinds)
        second.load_state_dict(state)
        assert second.clock == clock
        assert same(list(second.state_dict().values()), list(state.values()))
        second.run()
        assert same(weights(second), weights(whole))
        assert torch.equal(second.losses, whole.losses)


def conv_pipeline(*, analog: bool) -> Pipeline:
    """Two convolutions and a classifier on images, three stages."""
    tile = TileConfig(device=SoftBounds())
    if analog:
        first: nn.Module = AnalogConv2d(1, 3, 3, tile=tile, seed=0, name="a", padding=1)
        second: nn.Module = AnalogConv2d(3, 4, 3, tile=tile, seed=0, name="b", stride=2)
    else:
        torch.manual_seed(0)
        first, second = nn.Conv2d(1, 3, 3, padding=1), nn.Conv2d(3, 4, 3, stride=2)
    torch.manual_seed(1)
    modules = [
        nn.Sequential(first, nn.BatchNorm2d(3), nn.ReLU()),
        nn.Sequential(second, nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
        nn.Linear(4, WIDTH),
    ]
    return Pipeline(
        modules,
        build("async", 3, 7),
        loss=cross_entropy,
        batch=lambda b: (
            torch.randn(BATCH, 1, 6, 6, generator=generator(5, "image", b)),
            batch(b)[1],
        ),
        lr=lr,
    )


@pytest.mark.parametrize("analog", [False, True])
def test_convolutions_restored_in_mid_flight_are_bit_identical(analog: bool) -> None:
    whole = conv_pipeline(analog=analog)
    whole.run()
    for clock in range(1, whole.schedule.cycles, 2):
        first, second = conv_pipeline(analog=analog), conv_pipeline(analog=analog)
        first.run(until=clock)
        second.load_state_dict(first.state_dict())
        second.run()
        assert same(weights(second), weights(whole))
        assert torch.equal(second.losses, whole.losses)


def test_running_in_pieces_equals_running_at_once() -> None:
    whole, pieces = pipeline("async", 4, 9), pipeline("async", 4, 9)
    whole.run()
    for clock in range(0, 40, 5):
        pieces.run(until=clock)
    assert same(weights(whole), weights(pieces))
    assert pieces.mean_loss(2, 5) == float(whole.losses[2:5].mean())


def test_weights_stay_in_their_storage() -> None:
    run = pipeline("async", 4, 9)
    before = [t.data_ptr() for t in weights(run)]
    run.run()
    assert [t.data_ptr() for t in weights(run)] == before


def test_a_schedule_with_other_stages_is_refused() -> None:
    with pytest.raises(StageError, match="2 modules given, the schedule has 3 stages"):
        Pipeline([Scale(1.0), Scale(1.0)], build("async", 3, 4), loss=mse_loss, batch=batch, lr=lr)


def test_a_table_that_cannot_run_is_refused_before_it_runs() -> None:
    table = build("async", 2, 4)
    broken = dataclasses.replace(table, micro_batch=np.roll(table.micro_batch, 1))
    with pytest.raises(ScheduleError, match="stage 1, clock"):
        Pipeline([Scale(1.0), Scale(1.0)], broken, loss=mse_loss, batch=batch, lr=lr)


def test_each_stage_may_have_its_own_learning_rate() -> None:
    modules = [Scale(0.8), Scale(-0.5)]
    run = Pipeline(
        modules,
        build("sequential", 2, 3),
        loss=half_square,
        batch=scalar_batch,
        lr=[lambda b: 0.1, lambda b: 0.0],
    )
    run.run()
    assert modules[0].weight != 0.8
    assert modules[1].weight == -0.5


def test_analog_layers_cannot_be_stashed() -> None:
    with pytest.raises(StageError, match="copies weights, which analog arrays cannot: found 8"):
        pipeline("async-stash", 1, 4, analog=True)
