"""The modes against each other, drawn from tables alone: at column width, readable in grey.

Offset error bars keep intervals apart; a mode keeps its colour, marker and dashes in all figures.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, LogLocator, NullFormatter

from analogpipe.figures.style import COLUMN, Tables, count_ticks, mode_styles
from analogpipe.results.terms import MARGIN, ONE_STAGE, SEQUENTIAL, TIME

Panel = Callable[[Axes, pd.DataFrame], None]


def convergence(tables: Tables) -> Figure:
    """Fig. 3: training loss against samples and against cycles of a sample, at the largest stage count and the
    common rate; lines are geometric means over seeds, bands their range."""
    curves = tables["curves"]
    names, styles = _unique(curves["device"]), mode_styles(_unique(curves["mode"]))
    figure = Figure(figsize=(2 * COLUMN, 0.4 + 1.9 * len(names)))
    panels = figure.subplots(len(names), 2, sharey="row", squeeze=False)
    for row, name in zip(panels, names, strict=True):
        for axes, x in zip(row, ("samples", "finest_cycles"), strict=True):
            for mode, style in styles.items():
                own = curves[(curves["device"] == name) & (curves["mode"] == mode)]
                own = own[own[x] > 0]
                axes.plot(
                    own[x], own["loss"], color=style["colour"], linestyle=style["dashes"],
                    marker=style["marker"], markevery=0.2, label=mode,
                )  # fmt: skip
                axes.fill_between(
                    own[x],
                    own["least"],
                    own["most"],
                    color=style["colour"],
                    alpha=0.15,
                    linewidth=0,
                )
            axes.set_xscale("log")
            axes.set_yscale("log")
            count_ticks(axes.xaxis, (1,) if x == "finest_cycles" else (1, 2, 5))
            sns.despine(ax=axes)
        row[0].set_ylabel("training loss")
        _name(row[1], name)
    most = int(curves["stages"].max())
    panels[-1, 0].set_xlabel("training samples")
    panels[-1, 1].set_xlabel(f"cycles of one sample, M={most}")
    _legend(panels[0, 0])
    return figure


def differences(tables: Tables) -> Figure:
    """Fig. 4: what a pipeline changes in test accuracy (of text, in loss), paired by seed, with the margin of
    equivalence and 90 % intervals: those of two one-sided tests."""
    table = tables["differences"]
    table = table[(table["base"] == SEQUENTIAL) & (table["terms"] != "grid")]
    measure = "accuracy" if (table["measure"] == "accuracy").any() else "loss"
    margin = MARGIN[measure]
    table = table[table["measure"] == measure]
    scale = 100 if measure == "accuracy" else 1

    def panel(axes: Axes, own: pd.DataFrame) -> None:
        axes.axhspan(-margin * scale, margin * scale, color="0.92", linewidth=0)
        axes.axhline(0, color="black", linewidth=0.6)
        _bars(axes, own.assign(**{k: own[k] * scale for k in ("difference", "low", "high")}),
              "difference", tables)  # fmt: skip

    unit = "points" if measure == "accuracy" else "nats"
    figure = _by_terms(table, panel, unit)
    figure.supylabel(f"test {measure} less that of no pipeline", fontsize=8)
    return figure


def speedup(tables: Tables) -> Figure:
    """Fig. 5: how many times as fast as no pipeline on as many accelerators, in cycles and in time, to the
    ladder of losses; each mode at its best rate. The line is M times as fast."""
    table = tables["ratios"]
    table = table[(table["base"] == SEQUENTIAL) & (table["terms"] == "best") & table["rung"].isna()]
    timed = [q for q in _unique(table["quantity"]) if q.startswith(TIME)][:1]
    titles = {"finest_cycles": "cycles"} | {q: q.replace(TIME, "time, ") for q in timed}
    names = _unique(table["device"])
    figure = Figure(figsize=(COLUMN, 0.5 + 1.5 * len(names)))
    panels = figure.subplots(len(names), len(titles), sharex=True, sharey=True, squeeze=False)
    inverted = table.assign(fast=1 / table["ratio"], low=1 / table["high"], high=1 / table["low"])
    missed = inverted[(inverted["fast"] == 0) & (inverted["stages"] == inverted["stages"].max())]
    for row, name in zip(panels, names, strict=True):
        for axes, (quantity, title) in zip(row, titles.items(), strict=True):
            own = inverted[(inverted["device"] == name) & (inverted["quantity"] == quantity)]
            counts = sorted(own["stages"].unique())
            axes.plot(counts, counts, color="black", linewidth=0.7, linestyle=":")
            _bars(axes, own[own["fast"] > 0], "fast", tables)
            never = missed[(missed["device"] == name) & (missed["quantity"] == quantity)]
            for row_of in never.to_dict("records"):
                count = f"{row_of['seeds'] - row_of['reached']} of {row_of['seeds']} seeds"
                axes.text(
                    0.97, 0.04, f"{row_of['mode']}: {count}\nmiss a rung", ha="right", fontsize=6,
                    transform=axes.transAxes,
                )  # fmt: skip
            if own.empty:
                axes.text(0.5, 0.5, "no costs", ha="center", transform=axes.transAxes)
            axes.set_yscale("log", base=2)
            axes.set_ylim(0.4, max(2, *counts) * 1.3)
            axes.yaxis.set_major_locator(FixedLocator([0.5, 1, 2, 4, 8, 16]))
            axes.yaxis.set_major_formatter("{x:g}")
            axes.set_title(title, pad=2)
        row[0].set_ylabel("times as fast")
        _name(row[-1], name)
    for axes in panels[-1]:
        axes.set_xlabel("stages M")
    _legend(panels[0, 0], above=1.12)
    return figure


def price(tables: Tables) -> Figure:
    """Fig. 15: samples that an asynchronous pipeline needs over those of itself in one stage, against the loss
    that is to be reached, at the largest stage count and one rate for both."""
    table = tables["ratios"]
    table = table[(table["base"] == ONE_STAGE) & (table["terms"] == "common")]
    table = table[table["rung"].notna() & (table["quantity"] == "samples")]
    table = table[table["stages"] == table["stages"].max()]
    names, styles = _unique(table["device"]), mode_styles(_unique(table["mode"]))
    figure = Figure(figsize=(COLUMN, 0.5 + 1.3 * max(1, len(names))))
    panels = figure.subplots(max(1, len(names)), 1, squeeze=False)[:, 0]
    for axes, name in zip(panels, names, strict=False):
        axes.axhline(1, color="black", linewidth=0.6)
        for k, (mode, style) in enumerate(styles.items()):
            own = table[(table["device"] == name) & (table["mode"] == mode)]
            own = own[np.isfinite(own["ratio"])]
            shift = 1.03 ** (k - (len(styles) - 1) / 2)
            _errors(axes, own["rung"] * shift, own, "ratio", style, mode)
        axes.set_xscale("log")
        rungs = sorted(table.loc[table["device"] == name, "rung"].unique())
        axes.xaxis.set_major_locator(FixedLocator(rungs))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.invert_xaxis()
        axes.set_ylabel("samples over\none stage")
        _name(axes, name)
        sns.despine(ax=axes)
    panels[-1].set_xlabel("training loss to reach")
    _legend(panels[0])
    return figure


def staleness(tables: Tables) -> Figure:
    """Fig. 16: what staleness changes against learning rate times stages: test accuracy (of text, loss) and
    samples to the ladder, each mode against itself in one stage at the same rate."""
    gaps, ratios = tables["differences"], tables["ratios"]
    gaps = gaps[(gaps["base"] == ONE_STAGE) & (gaps["terms"] != "best")]
    measure = "accuracy" if (gaps["measure"] == "accuracy").any() else "loss"
    gaps = gaps[gaps["measure"] == measure]
    ratios = ratios[(ratios["base"] == ONE_STAGE) & (ratios["terms"] != "best")]
    ratios = ratios[ratios["rung"].isna() & (ratios["quantity"] == "samples")]
    names, styles = _unique(gaps["device"]), mode_styles(_unique(gaps["mode"]))
    figure = Figure(figsize=(2 * COLUMN, 0.5 + 1.5 * max(1, len(names))))
    panels = figure.subplots(max(1, len(names)), 2, sharex=True, squeeze=False)
    for row, name in zip(panels, names, strict=False):
        for axes, table, value, neutral in zip(
            row, (gaps, ratios), ("difference", "ratio"), (0, 1), strict=True
        ):
            axes.axhline(neutral, color="black", linewidth=0.6)
            for k, (mode, style) in enumerate(styles.items()):
                own = table[(table["device"] == name) & (table["mode"] == mode)]
                own = own[np.isfinite(own[value])].sort_values("stages")
                x = own["rate"] * own["stages"] * 1.03 ** (k - (len(styles) - 1) / 2)
                _errors(axes, x, own, value, style, mode)
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.xaxis.set_major_formatter("{x:g}")
            axes.xaxis.set_minor_formatter(NullFormatter())
            sns.despine(ax=axes)
        row[0].set_ylabel(f"{measure} less\none stage")
        row[1].set_ylabel("samples over\none stage")
        _name(row[1], name)
    for axes in panels[-1]:
        axes.set_xlabel("learning rate times stages")
    _legend(panels[0, 0])
    return figure


def _by_terms(table: pd.DataFrame, panel: Panel, label: str) -> Figure:
    """Panels of devices (rows) by terms (columns) against the stages."""
    names, terms = _unique(table["device"]), _unique(table["terms"])
    figure = Figure(figsize=(COLUMN, 0.5 + 1.4 * len(names)))
    panels = figure.subplots(len(names), len(terms), sharex=True, sharey="row", squeeze=False)
    titles = {"common": "one rate for all", "best": "each at its best"}
    for row, name in zip(panels, names, strict=True):
        for axes, term in zip(row, terms, strict=True):
            panel(axes, table[(table["device"] == name) & (table["terms"] == term)])
        row[0].set_ylabel(label)
        _name(row[-1], name)
    for axes, term in zip(panels[0], terms, strict=True):
        axes.set_title(titles[term], pad=2)
    for axes in panels[-1]:
        axes.set_xlabel("stages M")
    _legend(panels[0, 0], above=1.12)
    return figure


def _bars(axes: Axes, table: pd.DataFrame, value: str, tables: Tables) -> None:
    """Draw each mode's values with intervals against the stages, side by side."""
    styles = mode_styles(
        _unique(tables["differences" if "differences" in tables else "ratios"]["mode"])
    )
    counts = sorted(table["stages"].unique())
    for k, (mode, style) in enumerate(styles.items()):
        own = table[(table["mode"] == mode) & np.isfinite(table[value])].sort_values("stages")
        shift = 1.06 ** (k - (len(styles) - 1) / 2)
        _errors(axes, own["stages"] * shift, own, value, style, mode)
    axes.set_xscale("log", base=2)
    axes.set_xticks(counts, [str(count) for count in counts])
    axes.xaxis.set_minor_formatter(NullFormatter())
    sns.despine(ax=axes)


def _errors(
    axes: Axes, x: Any, table: pd.DataFrame, value: str, style: dict[str, Any], label: str
) -> None:
    if table.empty:
        return
    low = (table[value] - table["low"]).clip(0).replace(np.inf, 0)
    high = (table["high"] - table[value]).clip(0).replace(np.inf, 0)
    axes.errorbar(
        x, table[value], [low, high], color=style["colour"], marker=style["marker"],
        linestyle="none", elinewidth=0.8, capsize=1.5, label=label,
    )  # fmt: skip


def _unique(values: Any) -> list[str]:
    return [str(value) for value in dict.fromkeys(values)]


def _legend(axes: Axes, above: float = 1.0) -> None:
    """Put the legend above the panel, where it hides no data."""
    entries = len(axes.get_legend_handles_labels()[1])
    axes.legend(
        frameon=False, ncols=3 if entries > 2 else 2, loc="lower left", bbox_to_anchor=(0, above),
        columnspacing=1, handletextpad=0.4,
    )  # fmt: skip


def _name(axes: Axes, name: str) -> None:
    """Name a panel at its right side."""
    axes.text(1.01, 0.5, name, rotation=270, va="center", transform=axes.transAxes)
