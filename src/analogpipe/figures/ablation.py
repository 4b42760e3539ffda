"""The figure of the ablation: each factor's share of the gap to digital, drawn from the table of shares."""

from typing import Any

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analogpipe.figures.style import COLUMN, Tables

LABELS = {
    "log loss": "share of the gap in ln(training loss)",
    "accuracy": "share of the gap in accuracy (points)",
    "staleness": "share of async's price, ln(training loss)",
}
NAMES = {"noise": "read noise", "rest": "rest", "gap": "whole gap"}
VALUES = {"mixed_precision": "mixed", "ttv2": "TTv2"}
LOOKS: dict[str, dict[str, Any]] = {
    "sequential": {"facecolor": "#b8b8b8"},
    "async": {"facecolor": "white", "hatch": "/////"},
}
SUMS = ("rest", "gap")


def shares(tables: Tables) -> Figure:
    """Fig. 10: what each factor of a device takes of the gap between the array and digital."""
    table = tables["shares"]
    measures = list(dict.fromkeys(table["measure"]))
    factors = list(dict.fromkeys(table["factor"]))
    each = 0.5 + 0.19 * len(factors)
    figure = Figure(figsize=(COLUMN, each * len(measures) + 0.2))
    panels = figure.subplots(len(measures), 1, squeeze=False)[:, 0]
    for axes, measure in zip(panels, measures, strict=True):
        here = table[table["measure"] == measure]
        _bars(axes, here, factors, 100.0 if measure == "accuracy" else 1.0)
        axes.set_xlabel(LABELS[measure], x=1, ha="right")
        axes.set_yticks(range(len(factors)), [_label(here, factor) for factor in factors])
        sns.despine(ax=axes, left=True)
    if len(set(table["mode"])) > 1:
        panels[0].legend(
            frameon=False, ncols=2, loc="lower right", bbox_to_anchor=(1, 0.98), fontsize=6.5
        )
    return figure


def _bars(axes: Axes, table: pd.DataFrame, factors: list[str], scale: float) -> None:
    """Draw a bar with its interval per factor and mode, the sums below the factors."""
    modes = list(dict.fromkeys(table["mode"]))
    thick = 0.76 / len(modes)
    for k, mode in enumerate(modes):
        own = table[table["mode"] == mode].set_index("factor").loc[factors]
        places = [i + (k - (len(modes) - 1) / 2) * thick for i in range(len(factors))]
        share, low, high = (scale * own[name] for name in ("share", "low", "high"))
        axes.barh(
            places, share, thick, xerr=[share - low, high - share], label=mode,
            edgecolor="black", linewidth=0.5, **LOOKS.get(mode, {"facecolor": "#707070"}),
            error_kw={"elinewidth": 0.9, "capsize": 1.8, "capthick": 0.9},
        )  # fmt: skip
    axes.axvline(0, color="black", linewidth=0.6)
    first = min(i for i, factor in enumerate(factors) if factor in SUMS)
    axes.axhline(first - 0.5, color="black", linewidth=0.5, linestyle=":")
    axes.set_ylim(len(factors) - 0.45, -0.55)
    axes.tick_params(axis="y", length=0)


def _label(table: pd.DataFrame, factor: str) -> str:
    """Name of a factor with its two values."""
    row = table[table["factor"] == factor].iloc[0]
    name = NAMES.get(factor, factor)
    if factor in SUMS:
        return name
    own, better = (VALUES.get(str(row[key]), str(row[key])) for key in ("own", "better"))
    return f"{name}, {own} to {better}"
