"""The figures, drawn from tables alone: PDF and PNG, at column width, readable in grey."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import matplotlib
import numpy as np
import pandas as pd
import seaborn as sns
import typer
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from analogpipe.files import write_bytes
from analogpipe.jobs.command import run as run_command

COLUMN = 3.5  # inches, one column of a two-column paper
# A mode has one colour, marker and dash everywhere; the colours also differ in lightness.
STYLES = {
    "sequential": ("#0b3c5d", "o", (1, 0)),
    "sync": ("#d95f02", "s", (4, 1.5)),
    "async": ("#5aae61", "^", (1.5, 1)),
    "async-warm-up": ("#762a83", "D", (5, 1, 1, 1)),
    "async-prediction": ("#c2a5cf", "v", (3, 1)),
}
TRAINS = {"up": "#0b3c5d", "down": "#d95f02", "alternating": "#5aae61"}
MARKERS = "os^Dv<>P"  # of elements of a device
FAMILY_SHADES = (1.0, 0.75, 0.5)


def mode_styles(modes: list[str]) -> dict[str, dict[str, Any]]:
    """Return colour, marker and dashes of each mode, by the family (first word) of its name.

    A second mode of a family has the family's colour in a lighter shade and its own marker.
    """
    seen: dict[str, int] = {}
    styles: dict[str, dict[str, Any]] = {}
    for mode in modes:
        family = mode if mode in STYLES else mode.split("-")[0]
        colour, marker, dashes = STYLES.get(family, ("#666666", "D", (3, 1, 1, 1)))
        index = seen.get(family, 0)
        seen[family] = index + 1
        shade = FAMILY_SHADES[min(index, len(FAMILY_SHADES) - 1)]
        styles[mode] = {
            "colour": sns.light_palette(colour, as_cmap=True)(shade),
            "marker": (marker, "D", "v")[min(index, 2)],
            "dashes": (0, dashes),
        }
    return styles


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


def count_ticks(axis: Axis) -> None:
    """Label 1, 2 and 5 of each decade of a logarithmic axis, as counts like 20,000."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axis.set_minor_formatter(NullFormatter())


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


def schedules(tables: dict[str, pd.DataFrame], stages: int = 4, clocks: int = 26) -> Figure:
    """Fig. 1: what each stage did in each clock, from the record of the executed schedules."""
    executed = tables["schedules"]
    stages = stages if stages in set(executed["stages"]) else int(executed["stages"].max())
    modes = list(dict.fromkeys(executed["mode"]))
    table1 = tables["table1"].set_index(["mode", "stages"])
    figure = Figure(figsize=(COLUMN, 0.35 + 0.95 * len(modes)))
    panels = figure.subplots(len(modes), 1, sharex=True, squeeze=False)[:, 0]
    shades = {"F": "#9ecae1", "B": "#e6550d"}
    for axes, mode in zip(panels, modes, strict=True):
        here = executed[(executed["mode"] == mode) & (executed["stages"] == stages)]
        here = here[here["clock"] < clocks]
        updates = set(
            zip(
                *(here.loc[here["action"] == "U", c] for c in ("clock", "stage", "micro_batch")),
                strict=True,
            )
        )
        for action in here[here["action"] != "U"].itertuples():
            axes.barh(
                action.stage,
                1,
                left=action.clock,
                height=0.86,
                color=shades[action.action],
                edgecolor="white",
                linewidth=0.4,
            )
            axes.text(
                action.clock + 0.5,
                action.stage,
                str(action.micro_batch),
                ha="center",
                va="center",
                fontsize=4.5,
                color="white" if action.action == "B" else "black",
            )
            if action.action == "B" and (action.clock, action.stage, action.micro_batch) in updates:
                axes.plot(
                    [action.clock + 1] * 2,
                    [action.stage - 0.43, action.stage + 0.43],
                    color="black",
                    linewidth=1.2,
                )
        row = table1.loc[(mode, stages)]
        axes.set_title(
            f"{mode}: density {row['density_executed']:.2f}", fontsize=7, loc="left", pad=2
        )
        axes.set(
            ylim=(stages + 0.6, 0.4), yticks=range(1, stages + 1), xlim=(0, clocks), ylabel="stage"
        )
        axes.tick_params(length=2)
        sns.despine(ax=axes)
    panels[-1].set_xlabel("clock (F light, B dark, micro-batch as number, | update)")
    return figure


def trains(top: Axes, bottom: Axes, response: pd.DataFrame, marks: int) -> None:
    """Draw measured weights of elements, about ``marks`` of each train, and their fits as lines.

    Up and down pulses go to ``top``, the down train beginning where the up train ended, alternating
    pulses to ``bottom``.
    """
    for marker, (_, element) in zip(MARKERS, response.groupby("element"), strict=False):
        end = element["pulse"].where(element["train"] == "up").max()
        for train, pulses in element.groupby("train", sort=False):
            axes = bottom if train == "alternating" else top
            x = pulses["pulse"] + (end if train == "down" and end == end else 0)
            axes.plot(
                x,
                pulses["conductance"],
                color=TRAINS[str(train)],
                marker=marker,
                linestyle="none",
                markersize=2.5,
                markevery=max(len(pulses) // marks, 1),
                alpha=0.7,
            )
            axes.plot(x, pulses["fit"], color="black", linewidth=0.7)


def device(tables: dict[str, pd.DataFrame]) -> Figure:
    """Fig. 2: measured pulse response of some elements of each array, the fits, the symmetric points."""
    response, fits = tables["response"], tables["calibration"]
    names = _devices(response)
    figure = Figure(figsize=(COLUMN, 2.9 * len(names)))
    panels = figure.subplots(2 * len(names), 1, squeeze=False)[:, 0]
    for name, top, bottom in zip(names, panels[::2], panels[1::2], strict=True):
        here = response[response["device"] == name]
        fitted = fits[fits["device"] == name].set_index("element")
        trains(top, bottom, here, 16)
        points = fitted["symmetric_point"]
        for point in points[here["element"].unique()].dropna():
            bottom.axhline(point, color="black", linewidth=0.6, linestyle=":")
        if points.notna().any():
            bottom.annotate(
                f"symmetric points of the array:\nmean {points.mean():.4f}, spread {points.std():.4f},"
                f"\nerror of one {fitted['symmetric_point_error'].median():.4f}",
                (0.97, 0.06), xycoords="axes fraction", ha="right", fontsize=6,
            )  # fmt: skip
        found = (
            "symmetric point (dotted)" if points.notna().any() else "no symmetric point, a drift"
        )
        top.set(ylabel="weight", title=f"{name}: up pulses, then down pulses")
        bottom.set(
            ylabel="weight",
            xlabel="pulse",
            title=f"alternating pulses: {found}",
        )
        for axes in (top, bottom):
            sns.despine(ax=axes)
    panels[0].plot([], [], color="black", linewidth=0.7, label="fit")
    panels[0].plot(
        [], [], color="grey", marker="o", markersize=2.5, linestyle="none", label="measured"
    )
    panels[0].legend(frameon=False)
    return figure


def _devices(runs: pd.DataFrame) -> list[str]:
    return list(dict.fromkeys(runs["device"]))


def convergence(tables: dict[str, pd.DataFrame]) -> Figure:
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


def accuracy(tables: dict[str, pd.DataFrame]) -> Figure:
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


def speedup(tables: dict[str, pd.DataFrame]) -> Figure:
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


Drawing = Callable[[dict[str, pd.DataFrame]], Figure]
FIGURES: dict[str, Drawing] = {
    "fig1_schedules": schedules,
    "fig2_device": device,
    "fig3_convergence": convergence,
    "fig4_accuracy": accuracy,
    "fig5_speedup": speedup,
}


def draw(drawing: Drawing, tables: list[Path], stem: Path) -> None:
    """Draw a figure from CSV tables, which it knows by the names of their files, and save it."""
    matplotlib.use("Agg")
    sns.set_theme(
        context="paper",
        style="ticks",
        font_scale=0.75,
        rc={"lines.markersize": 3, "lines.linewidth": 1.1, "axes.titlesize": 8, "pdf.fonttype": 42},
    )
    save(drawing({path.stem: pd.read_csv(path) for path in tables}), stem)


def save(figure: Figure, stem: Path) -> None:
    """Write a figure as ``stem.pdf`` and ``stem.png``, without dates, so that equal data give equal files."""
    figure.tight_layout(pad=0.4)
    for suffix, notes in ((".pdf", {"CreationDate": None}), (".png", {"Software": None})):
        drawn = io.BytesIO()
        figure.savefig(drawn, format=suffix[1:], dpi=300, metadata=notes)
        content = drawn.getvalue()
        write_bytes(stem.with_name(stem.name + suffix), content)


def main(
    figure: Annotated[str, typer.Option(help=f"one of {', '.join(FIGURES)}")],
    table: Annotated[
        list[Path], typer.Option(help="CSV that it is drawn from, named as the figure needs it")
    ],
    out: Annotated[Path, typer.Option(help="folder for the figure")],
) -> None:
    """Draw one figure from tables."""
    draw(FIGURES[figure], table, out / figure)


if __name__ == "__main__":
    run_command(main)
