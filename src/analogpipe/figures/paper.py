"""The figures of the paper's claims, drawn from tables alone: at column width, readable in grey."""

from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analogpipe.figures import gantt
from analogpipe.figures.style import COLUMN, Tables, count_ticks, mode_styles


def schedules(tables: Tables, stages: int = 4, clocks: int = 26) -> Figure:
    """Fig. 1: what each stage did in each clock, from the record of the executed schedules."""
    executed = tables["schedules"]
    stages = stages if stages in set(executed["stages"]) else int(executed["stages"].max())
    modes = list(dict.fromkeys(executed["mode"]))
    table1 = tables["table1"].set_index(["mode", "stages"])
    figure = Figure(figsize=(COLUMN, 0.35 + 0.95 * len(modes)))
    panels = figure.subplots(len(modes), 1, sharex=True, squeeze=False)[:, 0]
    for axes, mode in zip(panels, modes, strict=True):
        here = executed[(executed["mode"] == mode) & (executed["stages"] == stages)]
        passes = here[here["action"] != "U"]
        slots = 2 if passes.duplicated(["stage", "clock"]).any() else 1
        shown = gantt.executed_cells(here[here["clock"] < clocks])
        gantt.draw(axes, shown, stages=stages, slots=slots, size=4.5)
        axes.set_xlim(0, clocks)
        row = table1.loc[(mode, stages)]
        axes.set_title(
            f"{mode}: density {row['density_executed']:.2f}", fontsize=7, loc="left", pad=2
        )
        axes.tick_params(length=2)
    panels[-1].set_xlabel("clock (F light, B dark, micro-batch as number, | update)")
    return figure


def convergence(tables: Tables) -> Figure:
    """Fig. 3: test accuracy against samples and against clock cycles, at the largest stage count."""
    runs, targets = tables["runs"], tables["targets"]
    most = int(runs["stages"].max())
    runs = runs[runs["stages"] == most]
    styles = mode_styles(list(dict.fromkeys(runs["mode"])))
    names = _devices(runs)
    figure = Figure(figsize=(2 * COLUMN, 0.4 + 1.9 * len(names)))
    panels = figure.subplots(len(names), 2, sharey="row", squeeze=False)
    for row, name in zip(panels, names, strict=True):
        for axes, x in zip(row, ("samples", "cycles"), strict=True):
            for mode, style in styles.items():
                band = _band(
                    runs[(runs["device"] == name) & (runs["mode"] == mode)], x, "test_accuracy"
                )
                _line(axes, band[x], band["min"], band["mean"], band["max"], style, mode)
            axes.axhline(
                targets.loc[targets["device"] == name, "target"].iloc[0],
                color="black",
                linewidth=0.6,
                linestyle=":",
            )
            axes.set(xlabel={"samples": "training samples", "cycles": f"clock cycles, M={most}"}[x])
            sns.despine(ax=axes)
        row[1].set_xscale("log")
        count_ticks(row[1].xaxis)
        row[0].set(ylabel="test accuracy")
        _name(row[1], name)
    _legend(panels[0, 0])
    return figure


def accuracy(tables: Tables) -> Figure:
    """Fig. 4: final test accuracy against the number of stages, a panel per device."""
    table = tables["table2"]
    names = _devices(table)
    styles = mode_styles(list(dict.fromkeys(table["mode"])))
    figure = Figure(figsize=(COLUMN, 0.4 + 1.5 * len(names)))
    panels = figure.subplots(len(names), 1, sharex=True, squeeze=False)[:, 0]
    for axes, name in zip(panels, names, strict=True):
        for mode, style in styles.items():
            here = table[(table["device"] == name) & (table["mode"] == mode)]
            _line(axes, here["stages"], here["low"], here["mean"], here["high"], style, mode)
        axes.set_xscale("log", base=2)
        axes.set_xticks(sorted(table["stages"].unique()), sorted(table["stages"].unique()))
        axes.set(ylabel="test accuracy")
        _name(axes, name)
        sns.despine(ax=axes)
    panels[-1].set_xlabel("stages M")
    _legend(panels[0])
    return figure


def speedup(tables: Tables) -> Figure:
    """Fig. 5: cycles to the target accuracy, and the ideal of each mode: the sequential samples
    in the cycles that the schedule needs for them."""
    targets, table1 = tables["targets"], tables["table1"].set_index(["mode", "stages"])
    names = _devices(targets)
    styles = mode_styles(list(dict.fromkeys(targets["mode"])))
    figure = Figure(figsize=(COLUMN, 0.5 + 1.7 * len(names)))
    panels = figure.subplots(len(names), 1, sharex=True, squeeze=False)[:, 0]
    for axes, name in zip(panels, names, strict=True):
        here = targets[targets["device"] == name]
        start = here[(here["mode"] == "sequential") & (here["stages"] == here["stages"].min())][
            "cycles"
        ].mean()
        for mode, style in styles.items():
            own = here[here["mode"] == mode]
            reached = own.groupby("stages")["cycles"].apply(lambda c: c.notna().all())
            band = _band(own[own["stages"].map(reached)], "stages", "cycles")
            _line(axes, band["stages"], band["min"], band["mean"], band["max"], style, mode)
            stages = np.array(sorted(own["stages"].unique()))
            least = table1.xs("sequential")["cycles"].min()
            ideal = start * np.array([table1.loc[(mode, m), "cycles"] for m in stages]) / least
            axes.plot(stages, ideal, color=style["colour"], linewidth=0.7, linestyle=":")
        axes.set_xscale("log", base=2)
        if here["cycles"].notna().any():
            axes.set_yscale("log")
            count_ticks(axes.yaxis)
        else:
            axes.set_yticks([])
            axes.text(0.5, 0.5, "not reached", ha="center", transform=axes.transAxes)
        axes.set_xticks(sorted(here["stages"].unique()), sorted(here["stages"].unique()))
        axes.set(ylabel=f"cycles to {here['target'].iloc[0]:.0%}")
        _name(axes, name)
        sns.despine(ax=axes)
    panels[-1].set_xlabel("stages M (dotted: ideal, see text)")
    _legend(panels[0])
    return figure


def _devices(runs: pd.DataFrame) -> list[str]:
    return list(dict.fromkeys(runs["device"]))


def _line(
    axes: Axes, x: Any, low: Any, middle: Any, high: Any, style: dict[str, Any], label: str
) -> None:
    axes.plot(
        x,
        middle,
        color=style["colour"],
        marker=style["marker"],
        markevery=0.15 if len(x) > 10 else 1,
        linestyle=style["dashes"],
        label=label,
    )
    axes.fill_between(x, low, high, color=style["colour"], alpha=0.2, linewidth=0)


def _legend(axes: Axes) -> None:
    """Put the legend above the panel, where it hides no data."""
    entries = len(axes.get_legend_handles_labels()[1])
    axes.legend(
        frameon=False,
        ncols=3 if entries == 3 else 2,
        loc="lower center",
        bbox_to_anchor=(0.5, 0.98),
        columnspacing=1,
    )


def _name(axes: Axes, name: str) -> None:
    """Name a panel at its right side."""
    axes.text(1.01, 0.5, name, rotation=270, va="center", transform=axes.transAxes)


def _band(frame: pd.DataFrame, by: str | list[str], value: str) -> pd.DataFrame:
    """Mean over seeds, with the range of all seeds as the band."""
    return frame.groupby(by)[value].agg(["min", "mean", "max"]).reset_index()
