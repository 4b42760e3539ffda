"""The figure of the ablation: each factor's share of the gap to digital, drawn from the table of shares."""

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analogpipe.figures.style import COLUMN, Tables

LABELS = {
    "log loss": "share of the gap in log training loss",
    "accuracy": "share of the gap in test accuracy (points)",
    "staleness": "share of what async adds to log loss",
}
NAMES = {
    "range": "range",
    "noise": "read noise",
    "granularity": "granularity",
    "mapping": "mapping",
    "rule": "update rule",
    "rest": "rest",
    "gap": "whole gap",
}
VALUES = {"none": "none", "pulses": "pulses", "mixed_precision": "mixed pr.", "ttv2": "TTv2"}
GREYS = {"sequential": "#333333", "async": "#b0b0b0"}
SUMS = ("rest", "gap")


def shares(tables: Tables) -> Figure:
    """Fig. 10: what each factor of a device takes of the gap between the array and digital."""
    table = tables["shares"]
    measures = list(dict.fromkeys(table["measure"]))
    factors = list(dict.fromkeys(table["factor"]))
    height = 0.45 + 0.19 * len(factors)
    figure = Figure(figsize=(COLUMN, height * len(measures) + 0.2))
    panels = figure.subplots(len(measures), 1, squeeze=False)[:, 0]
    for axes, measure in zip(panels, measures, strict=True):
        here = table[table["measure"] == measure]
        scale = 100.0 if measure == "accuracy" else 1.0
        _bars(axes, here, factors, scale)
        axes.set_xlabel(LABELS[measure])
        axes.set_yticks(range(len(factors)), [_label(here, factor) for factor in factors])
        sns.despine(ax=axes, left=True)
    if len(set(table["mode"])) > 1:
        panels[0].legend(frameon=False, loc="lower right", fontsize=6.5)
    return figure


def _bars(axes: Axes, table: pd.DataFrame, factors: list[str], scale: float) -> None:
    """Draw a bar per factor and mode, the sums apart from the factors and outlined."""
    modes = list(dict.fromkeys(table["mode"]))
    thick = 0.7 / len(modes)
    for k, mode in enumerate(modes):
        own = table[table["mode"] == mode].set_index("factor").loc[factors]
        places = [i + (k - (len(modes) - 1) / 2) * thick for i in range(len(factors))]
        share, low, high = (scale * own[name] for name in ("share", "low", "high"))
        bars = axes.barh(places, share, thick, color=GREYS.get(mode, "#777777"), label=mode)
        for bar, factor in zip(bars, factors, strict=True):
            if factor in SUMS:
                bar.set(facecolor="white", edgecolor=GREYS.get(mode, "#777777"), linewidth=0.8)
        axes.errorbar(
            share, places, xerr=[share - low, high - share], fmt="none",
            ecolor="black", elinewidth=2.2, capsize=0,
        )  # fmt: skip
        # a light core shows the interval on dark bars, too
        axes.errorbar(
            share, places, xerr=[share - low, high - share], fmt="none",
            ecolor="white", elinewidth=0.8, capsize=0,
        )  # fmt: skip
    axes.axvline(0, color="black", linewidth=0.6)
    sums = [i for i, factor in enumerate(factors) if factor in SUMS]
    if sums:
        axes.axhline(min(sums) - 0.5, color="black", linewidth=0.4, linestyle=":")
    axes.set_ylim(len(factors) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)


def _label(table: pd.DataFrame, factor: str) -> str:
    """Name of a factor with its two values."""
    row = table[table["factor"] == factor].iloc[0]
    if factor in SUMS:
        return NAMES[factor]
    own, better = (VALUES.get(str(row[name]), str(row[name])) for name in ("own", "better"))
    return f"{NAMES.get(factor, factor)}, {own} to {better}"
