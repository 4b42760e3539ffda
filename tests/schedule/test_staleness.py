"""Closed forms of versions and of micro-batches in flight, against counts in the table."""

import numpy as np
import pytest
from hypothesis import given, settings

from analogpipe.schedule import staleness
from analogpipe.schedule.modes import ScheduleError
from analogpipe.schedule.table import Action, build
from schedule_sizes import sizes


@given(sizes())
@settings(deadline=None, max_examples=200)
def test_closed_forms_equal_the_counts_in_the_table(s: tuple[str, int, int, int]) -> None:
    mode, stages, k, n = s
    table = build(*s)
    b = np.arange(k)
    for m in range(1, stages + 1):
        forward, backward = staleness.counted_versions(table, m)
        assert np.array_equal(staleness.forward_version(mode, stages, b, m, n), forward)
        used = forward if mode == "async-stash" else backward
        assert np.array_equal(staleness.backward_version(mode, stages, b, m, n), used)
        assert np.array_equal(staleness.gap(mode, stages, b, m, n), used - forward)
        assert np.array_equal(staleness.staleness(mode, stages, b, m, n), backward - forward)
        held = np.cumsum(
            np.select([(kind := table.row(m).kind) == Action.F, kind == Action.B], [1, -1])
        )
        assert staleness.in_flight(mode, stages, k, n, m) == held.max()


def test_hand_computed_versions() -> None:
    b = np.arange(6)
    assert staleness.forward_version("async", 4, b, 1).tolist() == [0, 0, 0, 0, 1, 2]
    assert staleness.gap("async", 4, b, 1).tolist() == [0, 1, 2, 3, 3, 3]
    assert staleness.forward_version("async-full-duplex", 3, b, 1).tolist() == [0, 0, 0, 0, 0, 1]
    assert staleness.backward_version("async-stash", 3, b, 1).tolist() == [0, 0, 0, 1, 2, 3]
    assert staleness.backward_version("sync", 3, b, 1, 4).tolist() == [0, 0, 0, 0, 1, 1]
    assert staleness.in_flight("async", 4, 100, 1, np.arange(1, 5)).tolist() == [4, 3, 2, 1]
    assert staleness.in_flight("sync", 4, 100, 8, np.arange(1, 5)).tolist() == [8, 8, 8, 8]
    assert staleness.in_flight("sync-1f1b", 4, 100, 8, np.arange(1, 5)).tolist() == [4, 3, 2, 1]


def test_versions_broadcast_over_stages_and_micro_batches() -> None:
    table = staleness.forward_version("async", 3, np.arange(4)[None], np.arange(1, 4)[:, None])
    assert table.tolist() == [[0, 0, 0, 1], [0, 0, 1, 2], [0, 1, 2, 3]]


def test_a_stage_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ScheduleError, match="stage is outside of 1 to 3"):
        staleness.forward_version("async", 3, 0, 4)
    with pytest.raises(ScheduleError, match="micro-batch is -1"):
        staleness.forward_version("async", 3, -1, 1)
