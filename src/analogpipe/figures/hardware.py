"""The figures of time and energy on accelerators, drawn from tables alone: at column width, readable in
grey."""

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

from analogpipe.figures.style import COLUMN, Tables, mode_styles

ACTIONS = {
    "forward": ("forward", "#c6dbef", ""),
    "backward": ("backward", "#6baed6", ""),
    "accumulate": ("gradient", "#fdae6b", "//"),
    "update": ("pulses", "#252525", ""),
    "program": ("program", "#e6550d", "xx"),
}
MARKERS = {"analog_sgd": "o", "ttv2": "s", "mixed_precision": "D"}
RULES = {"analog_sgd": "analog SGD", "ttv2": "Tiki-Taka", "mixed_precision": "mixed precision"}
SHADES = ("#08306b", "#4292c6", "#c6dbef")
"""Of accelerators, from dark to light."""


def speedup(tables: Tables) -> Figure:
    """Speed-up over no pipeline on as many accelerators, in time, against stages; dotted what the
    slowest stage allows."""
    table = _one_device(tables["hardware"])
    names, styles = _names(table), mode_styles(list(dict.fromkeys(table["mode"])))
    figure = Figure(figsize=(COLUMN, 0.5 + 1.3 * max(1, len(names))))
    panels = figure.subplots(max(1, len(names)), 1, sharex=True, squeeze=False)[:, 0]
    for axes, name in zip(panels, names, strict=False):
        here = table[table["hardware"] == name]
        wide = here.pivot_table("seconds", "stages", "mode")
        for mode, style in styles.items():
            if mode != "sequential":
                axes.plot(
                    wide.index, wide["sequential"] / wide[mode],
                    color=style["colour"], marker=style["marker"], linestyle=style["dashes"],
                    label=mode,
                )  # fmt: skip
        ceiling = here.groupby("stages")["ceiling"].mean()
        axes.plot(ceiling.index, ceiling, ":", color="black", linewidth=0.8, label="ceiling")
        counts = sorted(here["stages"].unique())
        axes.set_xscale("log", base=2)
        axes.set_yscale("log", base=2)
        axes.set_xticks(counts, counts)
        axes.set_yticks(counts, counts)
        axes.set(ylabel="times as fast")
        _name(axes, name)
        sns.despine(ax=axes)
    panels[-1].set_xlabel("stages M")
    _legend(panels[0], 3)
    return figure


def to_target(tables: Tables) -> Figure:
    """Time and energy to the lowest rung of the ladder at the largest stage count and the lowest rate of each
    mode; a bar spans the seeds. Samples are handled in the fastest micro-batches for the same updates."""
    table = _one_device(tables["hardware"])
    table = table[table["stages"] == table["stages"].max()]
    table = table[table["rate"] == table.groupby("mode")["rate"].transform("min")]
    ladder = tables["ladder"]
    lowest = ladder[ladder["rung"] == ladder.groupby("device")["rung"].transform("min")]
    keys = ["device", "mode", "stages", "rate", "seed"]
    reached = lowest[[*keys, "samples"]].replace(np.inf, np.nan)
    table = table.drop(columns="samples").merge(reached, on=keys)
    table["seconds_to_target"] = table["samples"] * table["best_seconds"]
    table["joules_to_target"] = table["samples"] * table["best_joules"]
    names, styles = _names(table), mode_styles(list(dict.fromkeys(table["mode"])))
    figure = Figure(figsize=(COLUMN, 3.4))
    panels = figure.subplots(2, 1, sharex=True)
    for axes, (column, unit) in zip(
        panels, (("seconds_to_target", "s"), ("joules_to_target", "J")), strict=True
    ):
        for k, (mode, style) in enumerate(styles.items()):
            own = table[table["mode"] == mode].dropna(subset=[column]).groupby("hardware")[column]
            band = own.agg(["min", "mean", "max"]).reindex(names)
            x = np.arange(len(names)) + 0.22 * (k - (len(styles) - 1) / 2)
            reach = np.array([band["mean"] - band["min"], band["max"] - band["mean"]])
            axes.errorbar(
                x, band["mean"], reach, fmt=style["marker"], color=style["colour"],
                linewidth=1, markersize=4, label=mode,
            )  # fmt: skip
        if table[column].notna().any():
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=20))
            axes.yaxis.set_major_formatter(EngFormatter(unit=unit))
            axes.yaxis.set_minor_formatter(NullFormatter())
        else:
            axes.text(0.5, 0.5, "not reached", ha="center", transform=axes.transAxes)
        axes.set(xticks=range(len(names)), xlim=(-0.5, max(0.5, len(names) - 0.5)))
        sns.despine(ax=axes)
    panels[0].set_ylabel("time to target")
    panels[1].set_ylabel("energy to target")
    panels[1].set_xticklabels(names)
    _legend(panels[0], 3)
    return figure


def stages(tables: Tables) -> Figure:
    """Where the time of a sample goes, by stage, at the largest stage count."""
    table = _one_device(tables["hardware_stages"])
    table = table[table["stages"] == table["stages"].max()]
    names = _names(table)
    figure = Figure(figsize=(COLUMN, 0.5 + 1.25 * max(1, len(names))))
    panels = figure.subplots(max(1, len(names)), 1, sharex=True, squeeze=False)[:, 0]
    for axes, name in zip(panels, names, strict=False):
        here = table[table["hardware"] == name].pivot_table("seconds", "stage", "action")
        bottom = np.zeros(len(here))
        for action, (label, colour, hatch) in ACTIONS.items():
            if table.loc[table["action"] == action, "seconds"].max() > 0:
                axes.bar(
                    here.index, here[action], bottom=bottom, color=colour, hatch=hatch,
                    edgecolor="white", linewidth=0.4, label=label,
                )  # fmt: skip
                bottom += here[action].to_numpy()
        axes.axhline(bottom.mean(), color="black", linewidth=0.7, linestyle="--")
        axes.yaxis.set_major_formatter(EngFormatter(unit="s"))
        axes.set_title(
            f"slowest {bottom.max() / bottom.mean():.2f} times the mean",
            fontsize=6,
            loc="right",
            pad=2,
        )
        _name(axes, name)
        sns.despine(ax=axes)
    panels[-1].set_xlabel("stage (a sample; dashed: mean)")
    panels[-1].set_xticks(sorted(table["stage"].unique()))
    _legend(panels[0], 3, above=1.12)
    return figure


def plane(tables: Tables) -> Figure:
    """How much faster async is than sync, over update over read time and micro-batches to a flush;
    accelerators with their update rules at the best sync and the best async."""
    table = tables["hardware_plane"].fillna({"hardware": ""})
    grid = table[table["hardware"] == ""]
    wide = grid.pivot_table("async_over_sync", "mini_batch", "update_over_read")
    figure = Figure(figsize=(COLUMN, 3.3))
    axes = figure.subplots()
    levels = [1.0, 1.05, 1.1, 1.2, 1.5, 2, 3, 5, 8]
    greys = [str(shade) for shade in np.linspace(1.0, 0.45, len(levels) - 1)]
    axes.contourf(wide.columns, wide.index, wide, levels=levels, colors=greys)
    lines = axes.contour(
        wide.columns, wide.index, wide, levels=levels[1:], colors="black", linewidths=0.5
    )
    axes.clabel(lines, fmt="%g", fontsize=6)
    ours = table[table["hardware"] != ""]
    for colour, name in zip(SHADES, _names(ours), strict=False):
        for rule, marker in MARKERS.items():
            row = ours[(ours["hardware"] == name) & (ours["rule"] == rule)]
            axes.plot(
                row["update_over_read"], row["mini_batch"], marker, color=colour, clip_on=False,
                markersize=5, markeredgecolor="black", markeredgewidth=0.5, zorder=3,
                label=f"{name}, {RULES[rule]}",
            )  # fmt: skip
    axes.set_xscale("log")
    axes.set_yscale("log", base=2)
    axes.yaxis.set_major_formatter("{x:g}")
    axes.set(xlabel="update time over read time", ylabel="micro-batches to a flush, n")
    axes.legend(
        frameon=False, fontsize=5.2, ncols=3, loc="lower center", bbox_to_anchor=(0.45, 1.0),
        columnspacing=0.6, handletextpad=0.1,
    )  # fmt: skip
    return figure


def _one_device(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of the first analog device, or of the digital one where there is no other with costs."""
    devices = list(dict.fromkeys(table["device"]))
    analog = [device for device in devices if device != "digital"]
    chosen: pd.DataFrame = table[table["device"] == (analog or devices or [""])[0]]
    return chosen


def _names(table: pd.DataFrame) -> list[str]:
    return list(dict.fromkeys(table["hardware"]))


def _legend(axes: Axes, columns: int, above: float = 1.0) -> None:
    axes.legend(
        frameon=False, ncols=columns, loc="lower center", bbox_to_anchor=(0.5, above),
        columnspacing=1,
    )  # fmt: skip


def _name(axes: Axes, name: str) -> None:
    """Name a panel at its right side."""
    axes.text(1.01, 0.5, name, rotation=270, va="center", transform=axes.transAxes)
