"""Time that a schedule takes when stages differ: event-driven, with the order of the table.

The paper (arXiv 2410.15155) counts clocks, in which all stages take the same time and updates none.
On hardware the time of a stage follows from its array reads and its pulses (``hardware.cost``): an
analog matrix-vector product takes one read time for each input vector, whatever the size of the
matrix (``pipeline.reads`` counts them).

Each stage works through its slots in the order of the table and starts a slot as soon as it is free
and the messages are in. A slot is a forward or a backward. On full-duplex arrays it is what the
table has in one clock, a forward and a backward side by side, and takes as long as the longer one;
as in the clocked table, the last stage begins the backward of a micro-batch in the slot of its
forward. Messages take no time.

An update follows the slot of its backward, whose message it does not hold up, and keeps the stage
busy. After a flush it is a phase: an analog array learns from the stored micro-batches one after
another. What a stage accumulates in digital, it accumulates right after each backward.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analogpipe.schedule.modes import MODE, ScheduleError, check_sizes, slots_per_clock
from analogpipe.schedule.table import Action, Schedule, build

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
    schedule: Schedule,
    forward: Sequence[float],
    backward: Sequence[float] | None = None,
    update: Sequence[float] | None = None,
    *,
    accumulate: Sequence[float] | None = None,
    program: Sequence[float] | None = None,
) -> Timing:
    """Time a schedule whose stage m takes ``forward[m - 1]`` and ``backward[m - 1]`` a micro-batch.

    ``backward`` is as ``forward`` when not given: the transposed read of an array takes the same
    time. An update takes ``update`` for each micro-batch that waits for it (analog SGD: n of them
    at a flush) and ``program`` once (mixed precision: the programming of the array); ``accumulate``
    follows each backward (mixed precision: the gradient in digital). They are 0 when not given.
    With equal stages the makespan is that of the closed form, ``makespan``. Raises ScheduleError.
    """
    none = [0.0] * schedule.stages
    costs = (_check(schedule, forward), _check(schedule, forward if backward is None else backward))
    pair, gradient, once = (_check(schedule, c or none) for c in (update, accumulate, program))
    free = [0.0] * (schedule.stages + 1)  # when a stage has finished its slots
    sent: dict[tuple[int, int, int], float] = {}  # (kind, stage, micro-batch): its end
    start, end = np.zeros(len(schedule.clock)), np.zeros(len(schedule.clock))
    columns = (schedule.clock, schedule.stage, schedule.kind, schedule.micro_batch)
    rows = list(zip(*(column.tolist() for column in columns), strict=True))
    partner = _partners(schedule)
    updates = 0.0
    for a, (_, m, kind, b) in enumerate(rows):
        if kind == Action.U:
            length = pair[m - 1] * (b % schedule.mini_batch + 1) + once[m - 1]
            start[a], end[a] = free[m], free[m] + length
            free[m] += length
            updates += length
            continue
        if kind == Action.B and partner[a] >= 0:
            continue  # of a pair the forward stands for both
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
            if kind == Action.B:
                free[m] += gradient[m - 1]
    updates += schedule.micro_batches * sum(gradient)
    return _timing(schedule, start, end, max(free), float(sum(map(sum, costs))), updates)


def _timing(
    schedule: Schedule, start: Times, end: Times, makespan: float, passes: float, updates: float
) -> Timing:
    """Add density and speed-up: ``passes`` is the time of a micro-batch's F and B on all stages."""
    if makespan == 0:
        return Timing(start, end, 0.0, 1.0, 1.0)
    work, slots = schedule.micro_batches * passes, slots_per_clock(schedule.name)
    busy = work + slots * updates  # an update keeps all slots of its stage
    density = busy / (slots * schedule.stages * makespan)
    return Timing(start, end, makespan, density, (work + updates) / makespan)


def makespan(
    mode: str,
    stages: int,
    micro_batches: int,
    mini_batch: int = 1,
    *,
    forward: float,
    backward: float,
    update: float = 0.0,
    accumulate: float = 0.0,
    program: float = 0.0,
) -> float:
    """Closed form of the time of a whole run whose stages are equal, as ``simulate`` gives it.

    With c = forward + backward, M stages and K micro-batches, and u all that follows a backward: no
    pipeline takes K (M c + u), async K (c + u) + (M - 1) c, and sync (n + M - 1) c + n u for each
    mini-batch of n (with one ``program`` instead of n). Full-duplex arrays take K (c / 2 + u) +
    (M - 1) c; their closed form is for a backward that takes as long as a forward. Per micro-batch
    of a long run that is M c + u, c + u, (1 + (M - 1) / n) c + u and c / 2 + u. Derived here.
    Raises ScheduleError.
    """
    check_sizes(mode, stages, micro_batches, mini_batch)
    both, after = forward + backward, update + accumulate
    if MODE[mode].flushes:
        full, rest = divmod(micro_batches, mini_batch)
        flushes = full * [mini_batch] + ([rest] if rest else [])
        return sum((n + stages - 1) * both + n * after + program for n in flushes)
    after += program
    if not MODE[mode].pipelined:
        return micro_batches * (stages * both + after)
    if MODE[mode].full_duplex and forward != backward:
        raise ScheduleError(
            f"forward and backward are {forward} and {backward}, allowed is the same in {mode}"
        )
    slot = max(forward, backward) if MODE[mode].full_duplex else both
    return micro_batches * (slot + after) + (stages - 1) * both


def period(
    mode: str,
    mini_batch: int,
    forward: Sequence[float],
    backward: Sequence[float],
    update: Sequence[float],
    *,
    accumulate: Sequence[float],
    program: Sequence[float],
) -> float:
    """Time that one more micro-batch adds to a long run, for stages of any times.

    In the modes without a flush it is the largest cycle mean of the event graph: of ``async`` the
    busiest stage, of full-duplex arrays the same with the longer of both passes, of ``sequential``
    the way from a stage to the last one and back, with its update (derived here; a cycle through
    several stages is a weighted mean of theirs). The synchronous modes are simulated for four
    mini-batches, of which the last one counts. Raises ScheduleError.
    """
    stages = range(len(forward))
    if MODE[mode].flushes:
        table = build(mode, len(forward), 4 * mini_batch, mini_batch)
        costs = (forward, backward, update)
        end = simulate(table, *costs, accumulate=accumulate, program=program).end
        third = end[(table.kind == Action.U) & (table.micro_batch == 3 * mini_batch - 1)].max()
        return float(end.max() - third) / mini_batch
    check_sizes(mode, len(forward), 1, mini_batch)
    after = [update[m] + accumulate[m] + program[m] for m in stages]
    if MODE[mode].full_duplex:
        return max(max(forward[m], backward[m]) + after[m] for m in stages)
    both = [forward[m] + backward[m] for m in stages]
    if not MODE[mode].pipelined:
        return max(sum(both[m:]) + after[m] for m in stages)
    return max(both[m] + after[m] for m in stages)


def duration(
    mode: str,
    micro_batches: int,
    mini_batch: int,
    forward: Sequence[float],
    backward: Sequence[float],
    update: Sequence[float],
    *,
    accumulate: Sequence[float],
    program: Sequence[float],
) -> float:
    """Makespan of a run of any length, for stages of any times.

    Its beginning and end are simulated, for some micro-batches more than the stages hold; each of
    the others adds a ``period``. Exact for equal stages and for a run that is simulated as a whole.
    Raises ScheduleError.
    """
    check_sizes(mode, len(forward), micro_batches, mini_batch)
    costs, after = (forward, backward, update), {"accumulate": accumulate, "program": program}
    simulated = mini_batch * max(2, -(-8 * len(forward) // mini_batch)) + micro_batches % mini_batch
    table = build(mode, len(forward), min(micro_batches, simulated), mini_batch)
    further = max(0, micro_batches - simulated)
    whole = simulate(table, *costs, **after).makespan
    return whole + further * period(mode, mini_batch, *costs, **after) if further else whole


def _check(schedule: Schedule, costs: Sequence[float]) -> list[float]:
    if len(costs) != schedule.stages:
        raise ScheduleError(f"{len(costs)} costs given for {schedule.stages} stages")
    if not all(0 <= cost < float("inf") for cost in costs):
        raise ScheduleError(f"costs are {list(costs)}, allowed is 0 or more, finite")
    return [float(cost) for cost in costs]


def _partners(schedule: Schedule) -> NDArray[np.int64]:
    """For each F and B the other of its slot on full-duplex arrays, else -1."""
    partner = np.full(len(schedule.clock), -1, dtype=np.int64)
    if MODE[schedule.name].full_duplex:
        slot = schedule.clock * (schedule.stages + 1) + schedule.stage
        f, b = (np.flatnonzero(schedule.kind == kind) for kind in (Action.F, Action.B))
        _, i, j = np.intersect1d(slot[f], slot[b], assume_unique=True, return_indices=True)
        partner[f[i]], partner[b[j]] = b[j], f[i]
    return partner
