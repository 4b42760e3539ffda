"""The schedule table: closed forms, text form, and what the validator refuses."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analogpipe.schedule import modes as schedule
from analogpipe.schedule.modes import ScheduleError
from analogpipe.schedule.table import Action, Schedule, build, common_clocks, tokens, validate
from analogpipe.schedule.text import from_text, to_text
from schedule_sizes import sizes

ASYNC = """\
# mode=async stages=3 micro_batches=4 mini_batch=1
F0 . F1 . F2 B0+U0 F3 B1+U1 . B2+U2 . B3+U3
. F0 . F1 B0+U0 F2 B1+U1 F3 B2+U2 . B3+U3 .
. . F0 B0+U0 F1 B1+U1 F2 B2+U2 F3 B3+U3 . .
"""
FULL_DUPLEX = """\
# mode=async-full-duplex stages=3 micro_batches=4 mini_batch=1
F0 F1 F2 F3 B0+U0 B1+U1 B2+U2 B3+U3
. F0 F1 F2+B0+U0 F3+B1+U1 B2+U2 B3+U3 .
. . F0+B0+U0 F1+B1+U1 F2+B2+U2 F3+B3+U3 . .
"""
SYNC = """\
# mode=sync stages=2 micro_batches=3 mini_batch=2
F0 F1 . . B0 B1+U1 F2 . . B2+U2
. F0 F1 B0 B1+U1 . . F2 B2+U2 .
"""
SYNC_1F1B = """\
# mode=sync-1f1b stages=2 micro_batches=3 mini_batch=2
F0 . F1 B0 . B1+U1 F2 . . B2+U2
. F0 B0 F1 B1+U1 . . F2 B2+U2 .
"""
SEQUENTIAL = """\
# mode=sequential stages=2 micro_batches=2 mini_batch=1
F0 . . B0+U0 F1 . . B1+U1
. F0 B0+U0 . . F1 B1+U1 .
"""


@pytest.mark.parametrize("text", [ASYNC, FULL_DUPLEX, SYNC, SYNC_1F1B, SEQUENTIAL])
def test_tables_worked_out_by_hand(text: str) -> None:
    table = from_text(text)
    assert build(table.name, table.stages, table.micro_batches, table.mini_batch) == table
    assert to_text(table) == text


@given(sizes())
@settings(deadline=None, max_examples=200)
def test_a_built_table_is_valid_and_has_the_closed_forms(s: tuple[str, int, int, int]) -> None:
    table = build(*s)
    validate(table)
    assert table.cycles == schedule.cycles(*s)
    assert table.density == pytest.approx(schedule.density(*s), rel=1e-12)
    assert from_text(to_text(table)) == table


@given(sizes(), st.integers(1, 10))
@settings(deadline=None, max_examples=100)
def test_common_clocks_are_those_in_which_two_tables_do_the_same(
    s: tuple[str, int, int, int], more: int
) -> None:
    mode, stages, k, n = s
    one, other = build(*s), build(mode, stages, k + more, n)
    found = common_clocks(one, other)
    assert found == common_clocks(other, one)
    a, b = (tokens(table, 0, min(one.cycles, other.cycles) + 1) for table in (one, other))
    alike = [x == y for x, y in zip(zip(*a, strict=True), zip(*b, strict=True), strict=True)]
    assert all(alike[:found])
    assert not alike[found]
    # apart from a short last mini-batch all of one is in the other but for the draining pipeline
    if k % n == 0:
        assert found >= one.cycles - 2 * stages
    assert common_clocks(one, one) == one.cycles


@given(sizes(), st.data())
@settings(deadline=None, max_examples=200)
def test_a_table_with_one_action_moved_or_dropped_is_refused(
    s: tuple[str, int, int, int], data: st.DataObject
) -> None:
    table = build(*s)
    a = data.draw(st.integers(0, len(table.clock) - 1))
    if data.draw(st.booleans()):
        keep = np.arange(len(table.clock)) != a
        columns = [c[keep] for c in (table.clock, table.stage, table.kind, table.micro_batch)]
    else:  # to the slot of another action of this stage: taken, or too early, or too late
        others = np.flatnonzero((table.stage == table.stage[a]) & (table.clock != table.clock[a]))
        if len(others) == 0:
            return
        clock = table.clock.copy()
        clock[a] = table.clock[data.draw(st.sampled_from(others.tolist()))]
        order = np.lexsort((table.stage, table.kind, clock))
        columns = [c[order] for c in (clock, table.stage, table.kind, table.micro_batch)]
        if s[0] == "async-full-duplex" and table.kind[a] != Action.U:
            return  # its slots hold two actions, some moves are harmless
    with pytest.raises(ScheduleError, match="clock"):
        validate(Schedule(*s, *columns))


@pytest.mark.parametrize(
    ("text", "old", "new", "message"),
    [
        (ASYNC, "F2 B0+U0 F3", "F1 B0+U0 F3", "stage 1, clock 4: F1 is there 2 times, must be 1"),
        (
            ASYNC,
            ". . F0 B0+U0 F1",
            ". . B0+U0 F0 F1",
            "stage 3, clock 2: B0 does not come after F0",
        ),
        (ASYNC, "B0+U0 F3 B1+U1 .", "B0 F3 B1+U1 U0", "stage 1, clock 8: U0 is not in the slot"),
        (ASYNC, "B0+U0 F3 B1+U1 .", "B0 F3 B1+U1 .", "stage 1, clock 5: U0 is there 0 times"),
        (
            ASYNC,
            ". F0 . F1",
            "F0 . . F1",
            "stage 2, clock 0: F0 does not come after that of the st",
        ),
        (ASYNC, "F0 . F1 . F2", "F0 . F2 . F1", "stage 1, clock 2: F2 does not come after F1"),
        (ASYNC, "F0 . F1 . F2", "F0 F1 . . F7", "stage 1, clock 4: kind 0 of micro-batch 7"),
        (ASYNC, "F2 B0+U0 F3", ". F2+B0+U0 F3", "stage 1, clock 5: F2 shares its slot"),
        (SYNC, "B0 B1+U1 F2 .", "B0 F2+B1+U1 . .", "stage 1, clock 5: F2 shares its slot"),
        (SYNC, "F0 F1 . . B0 B1+U1 F2", "F0 F1 F2 . B0 B1+U1 .", "stage 1, clock 2: F2 comes bef"),
        (SEQUENTIAL, "F0 . . B0+U0 F1", "F0 F1 . B0+U0 .", "stage 1, clock 1: F1 comes before the"),
        (SEQUENTIAL, "B1+U1 .", "B1+U1 . X3", "stage 2, clock 8: 'X3' is no action"),
        (SEQUENTIAL, "stages=2", "stages=3", "found 2 lines of actions, the header says 3 stages"),
        (
            SEQUENTIAL,
            "mode=sequential",
            "mode=fast",
            "mode is 'fast', allowed are sequential, sync",
        ),
        (SEQUENTIAL, "# mode", "mode", "the first line must be"),
    ],
)
def test_a_broken_table_is_refused_with_the_slot_named(
    text: str, old: str, new: str, message: str
) -> None:
    assert old in text
    with pytest.raises(ScheduleError, match="(?s)^" + message.replace("+", r"\+")):
        from_text(text.replace(old, new, 1))


def test_the_error_shows_the_table_cropped() -> None:
    table = build("async", 16, 1000)
    moved = (table.stage == 5) & (table.micro_batch == 500) & (table.kind == Action.F)
    kind = np.where(moved, Action.B, table.kind)
    order = np.lexsort((table.stage, kind, table.clock))
    columns = [c[order] for c in (table.clock, table.stage, kind, table.micro_batch)]
    with pytest.raises(ScheduleError, match="stage 5, clock 1027: F500 is there 0 times") as error:
        validate(Schedule("async", 16, 1000, 1, *columns))
    lines = str(error.value).splitlines()
    assert "B500+U500" in lines[5]
    assert len(lines) == 10
    assert max(len(line) for line in lines) < 200


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("async", 0, 1), "stages is 0, allowed is 1 or more"),
        (("async", 1, 0), "micro_batches is 0"),
        (("sync", 1, 1, 0), "mini_batch is 0"),
        (("async", 2, 8, 4), "mini_batch is 4, allowed is 1 in mode async"),
        (("gpipe", 2, 8), "mode is 'gpipe', allowed are"),
    ],
)
def test_bad_sizes_are_refused(arguments: tuple[str, int, int], message: str) -> None:
    with pytest.raises(ScheduleError, match=message):
        build(*arguments)


def test_rows_hold_the_actions_of_one_stage_in_order() -> None:
    row = build("async", 3, 4).row(3)
    assert row.clock.tolist() == [2, 3, 3, 4, 5, 5, 6, 7, 7, 8, 9, 9]
    assert row.kind.tolist() == [Action.F, Action.B, Action.U] * 4
    assert row.micro_batch.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]


def test_pipelines_need_fewer_cycles_than_no_pipeline() -> None:
    for stages, k in product(range(2, 9), (8, 40)):
        no_pipeline = schedule.cycles("sequential", stages, k)
        sync = schedule.cycles("sync", stages, k, 4)
        assert schedule.cycles("async", stages, k) < sync < no_pipeline
