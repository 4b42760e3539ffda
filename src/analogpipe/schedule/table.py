"""Pipeline schedules as one table of actions ``(clock, stage, F | B | U, micro-batch)``.

The same table drives execution, the distributed run, the timing, the metrics and the figures.
Stages count from 1, clocks, micro-batches and mini-batches from 0. Inside a clock the order is F,
then B, then U. An update takes no slot of its own: it is part of the slot of its backward.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from analogpipe.schedule.modes import (
    MODE,
    Ints,
    ScheduleError,
    check_sizes,
    closes_mini_batch,
    slots_per_clock,
)


class Action(IntEnum):
    """Forward, backward, update."""

    F = 0
    B = 1
    U = 2


class Row(NamedTuple):
    """The actions of one stage, in order."""

    clock: Ints
    kind: Ints
    micro_batch: Ints


@dataclass(frozen=True, eq=False)
class Schedule:
    """A table of actions, sorted by clock, kind and stage.

    ``name`` is that of its mode. ``clock``, ``stage``, ``kind`` (an Action) and ``micro_batch`` are
    integer arrays of one length. ``mini_batch`` is the number of micro-batches between two flushes
    in the synchronous modes, 1 in the others.
    """

    name: str
    stages: int
    micro_batches: int
    mini_batch: int
    clock: Ints
    stage: Ints
    kind: Ints
    micro_batch: Ints

    @property
    def cycles(self) -> int:
        """Number of clocks from the first action to the last."""
        return int(self.clock[-1]) + 1

    @property
    def density(self) -> float:
        """Computation density: busy stage-slots over all stage-slots."""
        busy = int(np.count_nonzero(self.kind != Action.U))
        return busy / (slots_per_clock(self.name) * self.stages * self.cycles)

    def row(self, stage: int) -> Row:
        """The actions of ``stage`` (1-based), in order."""
        here = self.stage == stage
        return Row(self.clock[here], self.kind[here], self.micro_batch[here])

    def finished(self) -> Ints:
        """For each micro-batch, the number of clocks after which its last backward is done."""
        row = self.row(1)
        clocks: Ints = row.clock[row.kind == Action.B] + 1
        return clocks

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Schedule):
            return NotImplemented
        return (
            (self.name, self.stages, self.micro_batches, self.mini_batch)
            == (other.name, other.stages, other.micro_batches, other.mini_batch)
            and np.array_equal(self.clock, other.clock)
            and np.array_equal(self.stage, other.stage)
            and np.array_equal(self.kind, other.kind)
            and np.array_equal(self.micro_batch, other.micro_batch)
        )

    __hash__ = None  # type: ignore[assignment]


def build(mode: str, stages: int, micro_batches: int, mini_batch: int = 1) -> Schedule:
    """The validated table of a mode. Raises ScheduleError on bad sizes."""
    check_sizes(mode, stages, micro_batches, mini_batch)
    m, b = np.indices((stages, micro_batches))
    sizes = (stages, micro_batches, mini_batch)
    forward, backward = MODE[mode].clocks(m[:, :1] + 1, b[:1], *sizes)
    closing = np.broadcast_to(closes_mini_batch(mode, micro_batches, mini_batch), m.shape)
    clock = np.concatenate([forward.ravel(), backward.ravel(), backward[closing]])
    stage = np.concatenate([m.ravel(), m.ravel(), m[closing]]) + 1
    micro_batch = np.concatenate([b.ravel(), b.ravel(), b[closing]])
    kind = np.repeat([Action.F, Action.B, Action.U], [m.size, m.size, int(closing.sum())])
    order = np.argsort(_key(clock, stage, kind, stages))
    schedule = Schedule(
        mode,
        stages,
        micro_batches,
        mini_batch,
        clock[order],
        stage[order],
        kind[order].astype(np.int64),
        micro_batch[order],
    )
    validate(schedule)
    return schedule


def common_clocks(one: Schedule, other: Schedule) -> int:
    """Return the number of clocks, from the first on, in which two schedules do the same."""
    count = min(len(one.clock), len(other.clock))
    names = ("clock", "stage", "kind", "micro_batch")
    differs = np.zeros(count, dtype=np.bool_)
    for name in names:
        differs |= getattr(one, name)[:count] != getattr(other, name)[:count]
    first = int(np.argmax(differs)) if differs.any() else count
    ends = [s.clock[first] if first < len(s.clock) else s.cycles for s in (one, other)]
    return int(min(ends))


def _key(clock: Ints, stage: Ints, kind: Ints, stages: int) -> Ints:
    """A number per action that sorts by clock, kind, stage."""
    return (clock * len(Action) + kind) * (stages + 1) + stage


def validate(schedule: Schedule) -> None:
    """Raise ScheduleError, naming the slot and showing the table, unless the table can run.

    Checked: ranges and order of the entries; each F and B exactly once; micro-batches pass a stage
    in ascending order; one action per slot (one F and one B on full-duplex arrays); neighbours'
    order; F before B; an update in the slot of each closing backward and nowhere else; no forward
    before the flush (sync) or before the previous micro-batch is through (sequential).
    """
    s = schedule
    check_sizes(s.name, s.stages, s.micro_batches, s.mini_batch)
    if len({len(s.clock), len(s.stage), len(s.kind), len(s.micro_batch)}) != 1:
        raise ScheduleError("the arrays of the table differ in length")
    bad = (s.clock < 0) | (s.stage < 1) | (s.stage > s.stages) | (s.kind < 0) | (s.kind > Action.U)
    bad |= (s.micro_batch < 0) | (s.micro_batch >= s.micro_batches)
    if bad.any():
        a = int(np.argmax(bad))
        entry = f"kind {s.kind[a]} of micro-batch {s.micro_batch[a]}"
        raise _error(s, int(s.stage[a]), int(s.clock[a]), f"{entry} is out of range")
    unsorted = np.diff(_key(s.clock, s.stage, s.kind, s.stages)) <= 0
    if unsorted.any():
        a = int(np.argmax(unsorted)) + 1
        raise _error(s, int(s.stage[a]), int(s.clock[a]), "out of order, or two of one kind")
    f, b = _dense(s, Action.F), _dense(s, Action.B)
    u = _dense(s, Action.U, closes_mini_batch(s.name, s.micro_batches, s.mini_batch))
    _require(s, np.diff(f, axis=1) > 0, f[:, 1:], "F{b1} does not come after F{b}")
    _require(s, np.diff(b, axis=1) > 0, b[:, 1:], "B{b1} does not come after B{b}")
    mode = MODE[s.name]
    if mode.full_duplex:
        _require(s, b >= f, b, "B{b} comes before F{b}")
    else:
        _require(s, b > f, b, "B{b} does not come after F{b}")
        row = s.cycles * np.arange(s.stages)[:, None]
        _require(s, ~np.isin(f + row, b + row), f, "F{b} shares its slot with a backward")
    _require(s, f[1:] > f[:-1], f[1:], "F{b} does not come after that of the stage before", 1)
    _require(s, b[:-1] > b[1:], b[:-1], "B{b} does not come after that of the next stage")
    _require(s, (u < 0) | (u == b), u, "U{b} is not in the slot of B{b}")
    if mode.flushes or not mode.pipelined:
        first = np.arange(s.mini_batch, s.micro_batches, s.mini_batch)
        through = f[:, first] > b[:, first - 1]
        if not through.all():
            m, j = (int(k) for k in np.argwhere(~through)[0])
            a = int(first[j])
            raise _error(s, m + 1, int(f[m, a]), f"F{a} comes before the update of U{a - 1}")


def _dense(s: Schedule, kind: Action, wanted: NDArray[np.bool_] | None = None) -> Ints:
    """Clocks of one kind of action, (stages, micro_batches), -1 where none is wanted."""
    here = s.kind == kind
    m, b = s.stage[here] - 1, s.micro_batch[here]
    counts = np.bincount(m * s.micro_batches + b, minlength=s.stages * s.micro_batches)
    expected = np.ones(s.micro_batches, np.int64) if wanted is None else wanted.astype(np.int64)
    wrong = counts.reshape(s.stages, -1) != expected
    clocks = np.full((s.stages, s.micro_batches), -1, dtype=np.int64)
    clocks[m, b] = s.clock[here]
    if wrong.any():
        i, j = (int(k) for k in np.argwhere(wrong)[0])
        found, right = int(counts[i * s.micro_batches + j]), int(expected[j])
        what = f"{kind.name}{j} is there {found} times, must be {right}"
        others = s.clock[(s.stage == i + 1) & (s.micro_batch == j)]
        at = clocks[i, j] if found else others.max(initial=0)
        raise _error(s, i + 1, int(at), what)
    return clocks


def _require(s: Schedule, ok: NDArray[np.bool_], at: Ints, what: str, row0: int = 0) -> None:
    """Raise for the first entry of ``ok`` that is false; ``at`` holds the clocks to name."""
    if not ok.all():
        m, b = (int(k) for k in np.argwhere(~ok)[0])
        raise _error(s, m + 1 + row0, int(at[m, b]), what.format(b=b, b1=b + 1))


def _error(s: Schedule, stage: int, clock: int, what: str, width: int = 16) -> ScheduleError:
    first = max(0, clock - width // 2)
    last = min(first + width, int(s.clock.max(initial=0)) + 1)
    lines = [
        f"{m:>4} | " + " ".join(f"{token:>8}" for token in row)
        for m, row in enumerate(tokens(s, first, last), start=1)
        if abs(m - stage) <= width // 4
    ]
    head = f"stage {stage}, clock {clock}: {what} (mode {s.name}; clocks {first} to {last - 1}:)"
    return ScheduleError("\n".join([head, *lines]))


def tokens(s: Schedule, first: int, last: int) -> list[list[str]]:
    """A token per clock in [first, last), for each stage."""
    rows = [["."] * max(0, last - first) for _ in range(s.stages)]
    here = (s.clock >= first) & (s.clock < last) & (s.stage >= 1) & (s.stage <= s.stages)
    columns = (s.clock[here] - first, s.stage[here] - 1, s.kind[here], s.micro_batch[here])
    for clock, stage, kind, b in zip(*(column.tolist() for column in columns), strict=True):
        action = f"{'FBU'[kind] if 0 <= kind < len(Action) else '?'}{b}"
        token = rows[stage][clock]
        rows[stage][clock] = action if token == "." else f"{token}+{action}"
    return rows
