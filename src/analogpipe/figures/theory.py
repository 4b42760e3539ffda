"""The theory's figures, drawn from tables alone: points are measured, lines are predicted."""

from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, LogLocator, NullFormatter, StrMethodFormatter

from analogpipe.figures.style import COLUMN, Tables, count_ticks, mode_styles

MODES = ["sequential", "sync", "async"]
STYLES = mode_styles(MODES)
EXACT = {"colour": "#666666", "marker": "D", "dashes": (0, (3, 1, 1, 1))}
Style = dict[str, Any]


def _points(axes: Axes, frame: pd.DataFrame, x: str, y: str, style: Style, label: str) -> None:
    """Draw measured values with their intervals, and the predicted line if there is one."""
    frame = frame.sort_values(x)
    if f"{y}_expected" in frame:
        axes.plot(
            frame[x],
            frame[f"{y}_expected"],
            color=style["colour"],
            linestyle=style["dashes"],
            linewidth=0.9,
        )
    spread = [(frame[y] - frame[f"{y}_low"]).clip(0), (frame[f"{y}_high"] - frame[y]).clip(0)]
    axes.errorbar(
        frame[x],
        frame[y],
        yerr=spread,
        color=style["colour"],
        marker=style["marker"],
        linestyle="none" if f"{y}_expected" in frame else style["dashes"],
        linewidth=0.9,
        elinewidth=0.8,
        capsize=1.5,
        label=label,
    )


def _guide(axes: Axes, x: Any, anchor: float, order: float, label: str) -> None:
    """Draw a power law of the predicted order through (first x, anchor)."""
    x = np.asarray([min(x), max(x)], dtype=float)
    y = anchor * (x / x[0]) ** order
    axes.plot(x, y, color="black", linewidth=0.6, linestyle=":")
    axes.annotate(
        label, (x[1], y[1]), xytext=(2, 0), textcoords="offset points", fontsize=6, va="center"
    )


def _log_ticks(axes: Axes, values: Any, name: str = "x") -> None:
    """Put ticks at the values that were measured, as plain numbers."""
    axis = axes.xaxis if name == "x" else axes.yaxis
    axis.set_major_locator(FixedLocator(sorted(set(values))))
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_formatter(NullFormatter())
    axis.set_minor_locator(FixedLocator([]))


def _fitted(table3: pd.DataFrame, device: str, mode: str, stages: int) -> str:
    """Exponent of the error in samples with its interval, as text."""
    rows = table3[
        (table3["quantity"] == "error in samples")
        & (table3["device"] == device)
        & (table3["mode"] == mode)
        & (table3["stages"] == stages)
    ]
    row = rows.iloc[0]
    name = f"{mode}, M={stages}" if mode == "async" else mode
    return f"{name}: {row['measured']:.3f} ({row['low']:.3f} to {row['high']:.3f})"


def slopes(tables: Tables) -> Figure:
    """Fig. 6: mean squared gradient norm against samples, with the best step for each length."""
    rates, table3 = tables["theory_rates"], tables["table3"]
    figure = Figure(figsize=(COLUMN, 4.6))
    panels = figure.subplots(2, 1, sharex=True)
    for axes, device in zip(panels, ("digital", "linear"), strict=True):
        here = rates[rates["device"] == device]
        most = here["stages"].max()
        for mode, style in STYLES.items():
            own = here[(here["mode"] == mode) & here["stages"].isin([1, most])]
            if len(own):
                label = _fitted(table3, device, mode, int(own["stages"].max()))
                _points(
                    axes,
                    own[own["stages"] == own["stages"].max()],
                    "samples",
                    "error",
                    style,
                    label,
                )
        axes.set(xscale="log", yscale="log", ylabel="mean squared gradient")
        floor = here["floor"].iloc[0]
        title = "digital" if device == "digital" else "linear device; exponents above the floor"
        if floor:
            axes.axhline(floor, color="black", linewidth=0.6, linestyle="--")
            axes.annotate(
                "floor (predicted)", (here["samples"].max(), floor), xytext=(0, -2),
                textcoords="offset points", fontsize=6, ha="right", va="top",
            )  # fmt: skip
            axes.set_ylim(bottom=floor * 0.8)
        else:
            _guide(axes, here["samples"], 0.8 * here["error"].max(), -0.5, "-1/2")
        axes.set_title(title, loc="left")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
        _log_ticks(axes, rates["samples"])
        axes.legend(
            frameon=False, fontsize=6, title="fitted exponent (95 % interval)", title_fontsize=6
        )
        sns.despine(ax=axes)
    panels[-1].set_xlabel("micro-batches K (lines: predicted)")
    return figure


def floor(tables: Tables) -> Figure:
    """Fig. 7: error floor at a fixed step against tau, sigma and |w*|, analog and digital."""
    table = tables["theory_floor"]
    linear = table[np.isfinite(table["tau"])]
    base = linear.iloc[0]
    exact = table[~np.isfinite(table["tau"]) & (table["mode"] == "sequential")]
    figure = Figure(figsize=(COLUMN, 5.4))
    panels = figure.subplots(3, 1)
    names = {"tau": r"dynamic range $\tau$", "sigma": r"noise of a target $\sigma$", "size": "|w*|"}
    for axes, (swept, name) in zip(panels, names.items(), strict=True):
        fixed = [c for c in ("tau", "dw_min", "noise", "sigma", "size") if c != swept]
        here = linear[(linear[fixed] == base[fixed]).all(axis=1)]
        for mode in ("sequential", "async"):
            _points(
                axes, here[here["mode"] == mode], swept, "floor", STYLES[mode], f"analog, {mode}"
            )
        others = [c for c in ("sigma", "size") if c != swept]
        digital = exact[(exact[others] == base[others]).all(axis=1)]
        if swept == "tau":
            digital = digital.loc[digital.index.repeat(here["tau"].nunique())]
            digital = digital.assign(tau=sorted(here["tau"].unique()))
        _points(axes, digital, swept, "floor", EXACT, "digital, sequential")
        axes.set(xscale="log", yscale="log", xlabel=name, ylabel="error floor")
        _log_ticks(axes, here[swept])
        sns.despine(ax=axes)
    panels[0].legend(frameon=False, fontsize=6.5)
    panels[0].set_title("points measured, lines predicted", loc="left")
    return figure


def price(tables: Tables) -> Figure:
    """Fig. 8: price of staleness (settled error, async less sequential) against step and stages."""
    table = tables["theory_price"]
    digital = table[table["device"] == "digital"]
    figure = Figure(figsize=(COLUMN, 4.6))
    top, bottom = figure.subplots(2, 1)
    shades = mode_styles(["async", "async-2", "async-3"]).values()
    counts = sorted(digital["stages"].unique(), reverse=True)
    for style, stages in zip(shades, counts, strict=False):
        here = digital[digital["stages"] == stages]
        _points(top, here, "step", "price", style, f"digital, M={stages}")
    linear = table[table["device"] == "linear"]
    _points(top, linear, "step", "price", EXACT, f"linear device, M={linear['stages'].max()}")
    steps = digital["step"]
    _guide(top, steps, 0.5 * digital["price"].min(), 2, "2")
    top.set(xscale="log", yscale="log", xlabel="step", ylabel="price of staleness")
    _log_ticks(top, [float(f"{s:.2g}") for s in steps])
    top.set_ylim(top=8 * table["price"].max())
    top.legend(frameon=False, fontsize=6.5, loc="upper left", ncols=2)
    shades = mode_styles(["async", "async-2", "async-3", "async-4"]).values()
    chosen = sorted(steps.unique())[:: -max(1, len(steps.unique()) // 2)]
    for style, step in zip(shades, chosen, strict=False):
        here = digital[digital["step"] == step].assign(behind=lambda t: t["stages"] - 1)
        _points(bottom, here, "behind", "price", style, f"digital, step {step:.2g}")
    _guide(bottom, digital["stages"] - 1, 0.5 * digital["price"].min(), 1, "1")
    bottom.set(
        xscale="log",
        yscale="log",
        xlabel="M-1, M the number of stages",
        ylabel="price of staleness",
    )
    _log_ticks(bottom, digital["stages"] - 1)
    bottom.legend(frameon=False, fontsize=6.5, loc="upper left")
    for axes in (top, bottom):
        sns.despine(ax=axes)
    return figure


def targets(tables: Tables) -> Figure:
    """Fig. 9: samples and clock cycles to a target error against the number of stages, digital."""
    table = tables["theory_targets"]
    figure = Figure(figsize=(COLUMN, 4.2))
    panels = figure.subplots(2, 1, sharex=True)
    table = table[table["device"] == "digital"]
    # Without a flush one stage is no pipeline: the async line begins with the sequential point.
    single = table[(table["mode"] == "sequential") & (table["stages"] == 1)].assign(mode="async")
    table = pd.concat([table, single])
    for axes, y in zip(panels, ("samples", "cycles"), strict=True):
        for mode, style in STYLES.items():
            _points(axes, table[table["mode"] == mode], "stages", y, style, mode)
        axes.set(xscale="log", ylabel={"samples": "micro-batches", "cycles": "clock cycles"}[y])
        _log_ticks(axes, table["stages"])
        sns.despine(ax=axes)
    panels[0].set(ylim=(0, 1.35 * table["samples_high"].max()))
    panels[1].set(yscale="log")
    count_ticks(panels[1].yaxis)
    panels[0].set_title(f"to a mean squared gradient of {table['target'].iloc[0]:.2g}", loc="left")
    panels[0].legend(frameon=False, ncols=3, loc="lower right")
    panels[1].set_xlabel("stages M (lines: predicted)")
    return figure
