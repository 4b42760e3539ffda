"""Event-driven timing: closed forms with equal stages, hand-computed cases with unequal ones."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from analogpipe.device.parameters import SoftBounds
from analogpipe.layer.linear import AnalogLinear
from analogpipe.pipeline import reads as costs
from analogpipe.schedule import modes as schedule
from analogpipe.schedule.modes import ScheduleError
from analogpipe.schedule.table import Action, build
from analogpipe.schedule.timing import simulate
from analogpipe.tile.config import TileConfig
from schedule_sizes import sizes


@given(sizes())
@settings(deadline=None, max_examples=150)
def test_equal_stages_take_the_clocks_of_the_closed_form(s: tuple[str, int, int, int]) -> None:
    _, stages, k, _ = s
    timing = simulate(build(*s), [2.0] * stages)
    assert timing.makespan == 2.0 * schedule.cycles(*s)
    assert timing.density == pytest.approx(schedule.density(*s), rel=1e-12)
    no_pipeline = schedule.cycles("sequential", stages, k)
    assert timing.speedup == pytest.approx(no_pipeline / schedule.cycles(*s), rel=1e-12)


@given(sizes(), st.data())
@settings(deadline=None, max_examples=150)
def test_unequal_stages_keep_every_order(s: tuple[str, int, int, int], data: st.DataObject) -> None:
    mode, stages, k, _ = s
    cost = st.lists(st.integers(1, 9), min_size=stages, max_size=stages)
    forward, backward = data.draw(cost), data.draw(cost)
    table = build(*s)
    timing = simulate(table, forward, backward)
    rows = zip(table.stage.tolist(), table.kind.tolist(), table.micro_batch.tolist(), strict=True)
    when = {key: (timing.start[a], timing.end[a]) for a, key in enumerate(rows)}
    slot = [max(f, b) for f, b in zip(forward, backward, strict=True)]
    full_duplex = mode == "async-full-duplex"
    for (m, kind, b), (start, end) in when.items():
        if kind == Action.U:
            assert end == when[m, Action.B, b][1]
            continue
        own = (forward if kind == Action.F else backward)[m - 1]
        assert end - start in ((own, slot[m - 1]) if full_duplex else (own,))
        if kind == Action.F and m > 1:
            assert start >= when[m - 1, Action.F, b][1]
        if kind == Action.B and m < stages:
            assert start >= when[m + 1, Action.B, b][1]
    for m in range(1, stages + 1):
        here = sorted(when[key] for key in when if key[0] == m and key[1] != Action.U)
        if not full_duplex:
            assert all(x[1] <= y[0] for x, y in pairwise(here))
        fill, drain = sum(forward[: m - 1]), sum(backward[: m - 1])
        work = k * (slot[m - 1] if full_duplex else forward[m - 1] + backward[m - 1])
        if not full_duplex:
            assert timing.makespan >= fill + work + drain
    if mode == "sequential":
        assert timing.makespan == k * (sum(forward) + sum(backward))


def test_a_hand_computed_sync_mini_batch() -> None:
    # stage 1:  F0 0-1  F1 1-2              B0 8-9   B1 11-12
    # stage 2:  F0 1-3  F1 3-5  B0 5-8  B1 8-11
    timing = simulate(build("sync", 2, 2, 2), [1, 2], [1, 3])
    assert timing.makespan == 12
    assert timing.speedup == 14 / 12
    assert timing.density == 14 / 24
    assert timing.start.tolist() == [0, 1, 1, 3, 5, 8, 8, 11, 11, 12]


def test_a_hand_computed_async_run() -> None:
    # stage 1:  F0 0-4  F1 4-8  B0 8-12  F2 12-16  B1 16-20  B2 20-24
    # stage 2:  F0 4-5  B0 5-6  F1 8-9  B1 9-10  F2 16-17  B2 17-18
    timing = simulate(build("async", 2, 3), [4, 1])
    assert timing.makespan == 24
    assert timing.speedup == 30 / 24


def test_a_hand_computed_full_duplex_run() -> None:
    # stage 1:  F0 0-2  F1 2-4  F2+B0 5-7  B1 8-10  B2 11-13
    # stage 2:  F0+B0 2-5  F1+B1 5-8  F2+B2 8-11
    timing = simulate(build("async-full-duplex", 2, 3), [2, 3])
    assert timing.makespan == 13


def test_bad_costs_are_refused() -> None:
    with pytest.raises(ScheduleError, match="2 costs given for 3 stages"):
        simulate(build("async", 3, 2), [1, 1])
    with pytest.raises(ScheduleError, match="0 or more"):
        simulate(build("async", 2, 2), [1, -1])


def test_free_stages_take_no_time() -> None:
    timing = simulate(build("async", 2, 3), [0, 0])
    assert (timing.makespan, timing.density) == (0, 1)


def test_reads_count_input_vectors() -> None:
    analog = AnalogLinear(32, 5, TileConfig(device=SoftBounds()), seed=0, name="a")
    blocks = [
        nn.Sequential(nn.Conv2d(1, 2, 3, stride=2), nn.BatchNorm2d(2), nn.ReLU()),  # 9x9 -> 4x4
        nn.Flatten(),
        nn.Sequential(analog, nn.Tanh(), nn.Linear(5, 3)),
    ]
    blocks[0].train()
    before = blocks[0][1].running_mean.clone()
    stream = analog.tile.get_extra_state()
    assert costs.reads(blocks, torch.ones(7, 1, 9, 9)) == [7 * 16, 0, 14]
    assert blocks[0].training
    assert torch.equal(blocks[0][1].running_mean, before)
    assert torch.equal(analog.tile.get_extra_state()[1], stream[1])  # training noise untouched
