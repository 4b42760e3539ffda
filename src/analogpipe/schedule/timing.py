"""Time that a schedule takes when stages differ: event-driven, with the order of the table.

The paper (arXiv 2410.15155) counts clocks, in which all stages take the same time. On hardware the
time of a stage follows from its array reads: an analog matrix-vector product takes one read time for
each input vector, whatever the size of the matrix (``pipeline.reads`` counts them).

Each stage works through its slots in the order of the table and starts a slot as soon as it is free
and the messages are in. A slot is a forward or a backward. On full-duplex arrays it is what the
table has in one clock, a forward and a backward side by side, and takes as long as the longer one;
as in the clocked table, the last stage begins the backward of a micro-batch in the slot of its
forward.
Messages take no time, updates are part of the backward.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analogpipe.schedule.modes import FULL_DUPLEX, ScheduleError, slots_per_clock
from analogpipe.schedule.table import Action, Schedule

Times = NDArray[np.float64]


@dataclass(frozen=True)
class Timing:
    """When each action of a schedule begins and ends, in the unit of the costs, in table order."""

    start: Times
    end: Times
    makespan: float
    density: float
    speedup: float
    """Against the same work without a pipeline, one action after another."""


def simulate(
    schedule: Schedule, forward: Sequence[float], backward: Sequence[float] | None = None
) -> Timing:
    """Time a schedule whose stage m takes ``forward[m - 1]`` and ``backward[m - 1]`` a micro-batch.

    ``backward`` is as ``forward`` when not given: the transposed read of an array takes the same
    time. With equal stages the makespan is that of the table. Raises ScheduleError.
    """
    costs = (_check(schedule, forward), _check(schedule, forward if backward is None else backward))
    stages = schedule.stages
    free = [0.0] * (stages + 1)  # when a stage has finished its slots
    sent: dict[tuple[int, int, int], float] = {}  # (kind, stage, micro-batch): its end
    start, end = np.zeros(len(schedule.clock)), np.zeros(len(schedule.clock))
    columns = (schedule.clock, schedule.stage, schedule.kind, schedule.micro_batch)
    rows = list(zip(*(column.tolist() for column in columns), strict=True))
    partner = _partners(schedule)
    for a, (_, m, kind, b) in enumerate(rows):
        if kind == Action.U or (kind == Action.B and partner[a] >= 0):
            continue  # an update ends with its backward; of a pair the forward stands for both
        slot = [a] if partner[a] < 0 else [a, int(partner[a])]
        begin, length = free[m], 0.0
        for action in slot:
            _, _, kind, b = rows[action]
            before = (Action.F, m - 1, b) if kind == Action.F else (Action.B, m + 1, b)
            begin = max(begin, sent.get(before, 0.0))
            length = max(length, costs[kind][m - 1])
        free[m] = begin + length
        for action in slot:
            _, _, kind, b = rows[action]
            start[action], end[action] = begin, begin + length
            sent[kind, m, b] = begin + length
    for a in np.flatnonzero(schedule.kind == Action.U).tolist():
        _, m, _, b = rows[a]
        start[a] = end[a] = sent[Action.B, m, b]
    work = schedule.micro_batches * float(sum(map(sum, costs)))
    makespan = max(free)
    if makespan == 0:
        return Timing(start, end, 0.0, 1.0, 1.0)
    density = work / (slots_per_clock(schedule.name) * stages * makespan)
    return Timing(start, end, makespan, density, work / makespan)


def _check(schedule: Schedule, costs: Sequence[float]) -> list[float]:
    if len(costs) != schedule.stages:
        raise ScheduleError(f"{len(costs)} costs given for {schedule.stages} stages")
    if not all(0 <= cost < float("inf") for cost in costs):
        raise ScheduleError(f"costs are {list(costs)}, allowed is 0 or more, finite")
    return [float(cost) for cost in costs]


def _partners(schedule: Schedule) -> NDArray[np.int64]:
    """For each F and B the other of its slot on full-duplex arrays, else -1."""
    partner = np.full(len(schedule.clock), -1, dtype=np.int64)
    if schedule.name == FULL_DUPLEX:
        slot = schedule.clock * (schedule.stages + 1) + schedule.stage
        f, b = (np.flatnonzero(schedule.kind == kind) for kind in (Action.F, Action.B))
        _, i, j = np.intersect1d(slot[f], slot[b], assume_unique=True, return_indices=True)
        partner[f[i]], partner[b[j]] = b[j], f[i]
    return partner
