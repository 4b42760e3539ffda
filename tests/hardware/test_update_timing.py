"""Schedules with updates that take time: closed forms for equal stages, hand-computed cases."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analogpipe.figures.gantt import timeline
from analogpipe.schedule.modes import MODES, SYNC_MODES, ScheduleError
from analogpipe.schedule.table import Action, build
from analogpipe.schedule.timing import makespan, period, simulate

Times = list[list[float]]
seconds = st.floats(1e-9, 1e-3)


@given(
    st.sampled_from(MODES),
    st.integers(1, 16),
    st.integers(1, 64),
    st.integers(1, 3),
    st.lists(seconds, min_size=5, max_size=5),
)
@settings(deadline=None, max_examples=150)
def test_equal_stages_take_the_closed_form(
    mode: str, stages: int, n: int, batches: int, times: list[float]
) -> None:
    f, b, u, a, p = times
    if mode == "async-full-duplex":
        b = f
    rest = n // 2  # the last mini-batch is short
    k, mini_batch = batches * n + rest, n if mode in SYNC_MODES else 1
    options = {"accumulate": a, "program": p}
    closed = makespan(mode, stages, k, mini_batch, forward=f, backward=b, update=u, **options)
    lists = {key: [value] * stages for key, value in options.items()}
    table = build(mode, stages, k, mini_batch)
    timing = simulate(table, [f] * stages, [b] * stages, [u] * stages, **lists)
    assert timing.makespan == pytest.approx(closed, rel=1e-12)


@given(st.integers(1, 16), st.integers(1, 64), seconds, seconds, seconds)
@settings(deadline=None, max_examples=100)
def test_a_long_run_takes_per_micro_batch_what_the_formulas_say(
    stages: int, n: int, f: float, b: float, u: float
) -> None:
    c, m = f + b, stages
    expected = {
        "sequential": m * c + u,
        "sync": (1 + (m - 1) / n) * c + u,
        "sync-1f1b": (1 + (m - 1) / n) * c + u,
        "async": c + u,
        "async-full-duplex": max(f, b) + u,
    }
    none = [0.0] * m
    for mode, value in expected.items():
        size = n if mode in SYNC_MODES else 1
        lists = [[x] * m for x in (f, b, u)]
        long = period(mode, size, *lists, accumulate=none, program=none)
        assert long == pytest.approx(value, rel=1e-12)


@given(st.sampled_from(MODES), st.integers(1, 5), st.integers(1, 6), st.data())
@settings(deadline=None, max_examples=100)
def test_the_period_is_the_slope_of_a_long_run(
    mode: str, stages: int, n: int, data: st.DataObject
) -> None:
    one = st.lists(st.integers(0, 5), min_size=stages, max_size=stages)
    f, b, u, a, p = (data.draw(one) for _ in range(5))
    size = n if mode in SYNC_MODES else 1
    rounds = 60 if mode in SYNC_MODES else 200
    ends = [
        simulate(build(mode, stages, k * size, size), f, b, u, accumulate=a, program=p).makespan
        for k in (rounds, 2 * rounds)
    ]
    slope = (ends[1] - ends[0]) / (rounds * size)
    assert period(mode, size, f, b, u, accumulate=a, program=p) == pytest.approx(slope, rel=1e-12)


def test_a_hand_computed_flush() -> None:
    # stage 1:  F0 0-1  F1 1-2              B0 8-9   B1 11-12  U 12-16
    # stage 2:  F0 1-3  F1 3-5  B0 5-8  B1 8-11  U 11-21
    table = build("sync", 2, 2, 2)
    timing = simulate(table, [1, 2], [1, 3], [2, 5])
    here = table.kind == Action.U
    assert timing.start[here].tolist() == [11, 12]
    assert timing.end[here].tolist() == [21, 16]
    assert timing.makespan == 21
    assert timing.speedup == (14 + 14) / 21
    assert timing.density == (14 + 14) / 42


def test_a_hand_computed_async_run_in_which_an_update_holds_up_a_forward() -> None:
    # stage 1:  F0 0-1  F1 1-2                      B0 4-6  U0 6-9  F2 9-10       B1 10-12 U1 12-15
    # stage 2:          F0 1-2  B0 2-4  U0 4-7  F1 7-8  B1 8-10  U1 10-13  F2 13-14 B2 14-16 U2 -19
    # stage 1 again:    B2 16-18  U2 18-21
    timing = simulate(build("async", 2, 3), [1, 1], [2, 2], [3, 3])
    assert timing.makespan == 21 == makespan("async", 2, 3, forward=1, backward=2, update=3)


def test_mixed_precision_programs_once_and_accumulates_behind_its_message() -> None:
    # F0 0-1 F1 1-2 | stage 2: F0 1-2 F1 2-3 B0 3-4 (gradient 4-6) B1 6-7 (7-9) U 9-19
    #                 stage 1: B0 4-5 (5-7) B1 7-8 (8-10) U 10-20
    table = build("sync", 2, 2, 2)
    timing = simulate(table, [1, 1], [1, 1], accumulate=[2, 2], program=[10, 10])
    assert timing.start[table.kind == Action.U].tolist() == [9, 10]
    assert timing.makespan == 20


def test_half_and_full_duplex_with_updates() -> None:
    # a slot of both passes takes 4, then the update of 2: twice as many slots as half-duplex needs
    half = period("async", 1, [4], [4], [2], accumulate=[0], program=[0])
    full = period("async-full-duplex", 1, [4], [4], [2], accumulate=[0], program=[0])
    assert (half, full) == (10, 6)
    timing = simulate(build("async-full-duplex", 3, 50), [4] * 3, [4] * 3, [2] * 3)
    assert timing.makespan == 50 * 6 + 2 * 8
    assert 0.9 < timing.density < 1


@pytest.mark.parametrize("mode", MODES)
def test_updates_of_no_time_change_nothing(mode: str) -> None:
    rng = np.random.default_rng(3)
    f, b = rng.random((2, 5)).tolist()
    table = build(mode, 5, 11, 3 if mode in SYNC_MODES else 1)
    with_updates, without = simulate(table, f, b, [0.0] * 5), simulate(table, f, b)
    assert with_updates.start.tobytes() == without.start.tobytes()
    assert with_updates.end.tobytes() == without.end.tobytes()
    assert with_updates.makespan == without.makespan


def test_bad_times_are_refused() -> None:
    with pytest.raises(ScheduleError, match="2 costs given for 3 stages"):
        simulate(build("async", 3, 2), [1, 1, 1], [1, 1, 1], [1, 1])
    with pytest.raises(ScheduleError, match="0 or more"):
        simulate(build("async", 2, 2), [1, 1], program=[1, float("nan")])
    with pytest.raises(ScheduleError, match="allowed is the same in async-full-duplex"):
        makespan("async-full-duplex", 2, 2, forward=1, backward=2)
    with pytest.raises(ScheduleError, match="mini_batch is 4, allowed is 1 in mode async"):
        period("async", 4, [1], [1], [1], accumulate=[0], program=[0])


def test_published_ratios_of_the_sensitivity() -> None:
    """M = n = 8: without updates 1.88 and 8; what an update takes of a stage's time, u, cuts it."""
    published = {0.0: (1.88, 8.0), 0.2: (1.70, 6.6), 0.28: (1.63, 6.0), 0.4: (1.52, 5.2)}
    published[0.974] = (1.02, 1.2)
    for u, ratios in published.items():
        times = [[x] * 8 for x in ((1 - u) / 2, (1 - u) / 2, u)]
        none = {"accumulate": [0.0] * 8, "program": [0.0] * 8}
        a, s, q = (period(m, 8 if m == "sync" else 1, *times, **none) for m in ORDER)
        assert (s / a, q / a) == pytest.approx(ratios, abs=0.05)


ORDER = ("async", "sync", "sequential")


def test_the_timeline_draws_every_action_as_long_as_it_takes() -> None:
    table = build("sync", 2, 2, 2)
    timing = simulate(table, [1e-7, 2e-7], [1e-7, 3e-7], [2e-7, 5e-7])
    axes = timeline(table, timing).axes[0]
    drawn = sorted((bar.get_x(), bar.get_width()) for bar in axes.patches)
    assert drawn == sorted(zip(timing.start, timing.end - timing.start, strict=True))
    assert "2.1 µs" in axes.get_title(loc="left")
    assert axes.get_xlim() == (0, timing.makespan)
    cropped = timeline(table, timing, until=2e-7).axes[0]
    assert len(cropped.patches) == 3
