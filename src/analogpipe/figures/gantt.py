"""A schedule as a picture: what each stage does in each clock."""

from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from analogpipe.schedule.modes import slots_per_clock
from analogpipe.schedule.table import Action, Schedule
from analogpipe.schedule.timing import Timing

COLOURS = {Action.F: "#9ecae1", Action.B: "#e6550d", Action.U: "#636363"}
HEIGHT = 0.86


@dataclass(frozen=True)
class Cell:
    """One forward or backward pass; ``updates`` when the weights change after it."""

    stage: int
    clock: int
    kind: Action
    micro_batch: int
    updates: bool


def cells(schedule: Schedule, first: int, last: int) -> list[Cell]:
    """Return the passes in the clocks [first, last), in the order of the table."""
    here = (schedule.clock >= first) & (schedule.clock < last)
    columns = (schedule.stage, schedule.clock, schedule.kind, schedule.micro_batch)
    return _cells(zip(*(column[here].tolist() for column in columns), strict=True))


def executed_cells(record: pd.DataFrame) -> list[Cell]:
    """Return the passes of an executed schedule: rows of ``schedules.csv`` of one mode and M."""
    kinds = record["action"].map(lambda name: Action[name])
    columns = (record["stage"], record["clock"], kinds, record["micro_batch"])
    return _cells(zip(*(column.tolist() for column in columns), strict=True))


def _cells(rows: Iterable[tuple[int, int, int, int]]) -> list[Cell]:
    rows = list(rows)
    updates = {(stage, b) for stage, _, kind, b in rows if kind == Action.U}
    return [
        Cell(stage, clock, Action(kind), b, kind == Action.B and (stage, b) in updates)
        for stage, clock, kind, b in rows
        if kind != Action.U
    ]


def draw(axes: Axes, passes: Iterable[Cell], *, stages: int, slots: int, size: float) -> None:
    """Draw F light, B dark, the micro-batch as a number of ``size``, a bar where weights change.

    Where a clock has two ``slots``, on full-duplex arrays, it holds a forward above a backward.
    """
    height = HEIGHT / slots
    for cell in passes:
        top = cell.stage - HEIGHT / 2
        if slots == 2 and cell.kind == Action.B:
            top += height
        axes.barh(
            top, 1, left=cell.clock, height=height, align="edge",
            color=COLOURS[cell.kind], edgecolor="white", linewidth=size / 12,
        )  # fmt: skip
        axes.text(
            cell.clock + 0.5, top + height / 2, str(cell.micro_batch), ha="center", va="center",
            fontsize=size, color="white" if cell.kind == Action.B else "black",
        )  # fmt: skip
        if cell.updates:
            axes.plot([cell.clock + 1] * 2, [top, top + height], color="black", linewidth=size / 4)
    axes.set(ylim=(stages + 0.6, 0.4), yticks=range(1, stages + 1), ylabel="stage")
    axes.spines[["top", "right"]].set_visible(False)


def figure(schedule: Schedule, first: int = 0, clocks: int = 40) -> Figure:
    """Draw ``clocks`` clocks of a schedule, beginning with ``first``."""
    last = min(first + clocks, schedule.cycles)
    drawn = Figure(
        figsize=(max(0.9 + 0.28 * (last - first), 4.2), 0.7 + 0.32 * schedule.stages),
        layout="constrained",
    )
    axes = drawn.subplots()
    slots = slots_per_clock(schedule.name)
    draw(axes, cells(schedule, first, last), stages=schedule.stages, slots=slots, size=6)
    axes.set_xlim(first, last)
    axes.set_xlabel("clock (F light, B dark, number of the micro-batch, | update)", fontsize=8)
    axes.set_title(
        f"{schedule.name}: {schedule.cycles} cycles, density {schedule.density:.3f}",
        loc="left",
        fontsize=9,
    )
    return drawn


def timeline(schedule: Schedule, timing: Timing, until: float | None = None) -> Figure:
    """Draw when each action runs, in seconds: F light, B dark, updates grey, as long as they take.

    ``timing`` is that of ``timing.simulate`` for the schedule; ``until`` crops the time axis. On
    full-duplex arrays a forward lies above a backward, an update takes both rows.
    """
    last = timing.makespan if until is None else min(until, timing.makespan)
    drawn = Figure(figsize=(9.0, 0.9 + 0.36 * schedule.stages), layout="constrained")
    axes = drawn.subplots()
    slots = slots_per_clock(schedule.name)
    for kind in Action:
        here = (schedule.kind == kind) & (timing.start < last)
        height = HEIGHT if kind == Action.U else HEIGHT / slots
        top = (
            schedule.stage[here] - HEIGHT / 2 + (height if slots == 2 and kind == Action.B else 0.0)
        )
        axes.barh(
            top, (timing.end - timing.start)[here], left=timing.start[here], height=height,
            align="edge", color=COLOURS[kind], edgecolor="white", linewidth=0.5, label=kind.name,
        )  # fmt: skip
    axes.set(xlim=(0, last or 1), ylim=(schedule.stages + 0.6, 0.4), ylabel="stage")
    axes.set_yticks(range(1, schedule.stages + 1))
    axes.xaxis.set_major_formatter(EngFormatter(unit="s"))
    axes.set_title(
        f"{schedule.name}: {EngFormatter(unit='s')(timing.makespan)}, "
        f"stages busy {timing.density:.3f} of the time",
        loc="left",
        fontsize=9,
    )
    axes.legend(ncols=3, fontsize=7, loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    return drawn
