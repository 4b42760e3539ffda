"""Devices as they were calibrated: fig. 2 of all, and a figure of each, from their tables alone."""

from functools import partial
from pathlib import Path

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analogpipe.figures.style import COLUMN, Tables, draw

TRAINS = {"up": "#0b3c5d", "down": "#d95f02", "alternating": "#5aae61"}
MARKERS = "os^Dv<>P"  # of elements of a device
SHOWN = 2
"""Elements of which trains are shown: more would hide each other where pulses are noisy."""


def responses(tables: Tables) -> Figure:
    """Fig. 2: measured pulse response of some elements of each array, the fits, the symmetric points."""
    response, fits = tables["response"], tables["calibration"]
    names = list(dict.fromkeys(response["device"]))
    figure = Figure(figsize=(COLUMN, 2.9 * len(names)))
    panels = figure.subplots(2 * len(names), 1, squeeze=False)[:, 0]
    for name, top, bottom in zip(names, panels[::2], panels[1::2], strict=True):
        here = response[response["device"] == name]
        fitted = fits[fits["device"] == name].set_index("element")
        _trains(top, bottom, here, 16)
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


def calibrated(tables: Tables, name: str) -> Figure:
    """Measured trains with their fits, and symmetric points with their standard errors.

    ``tables``: ``response`` and ``elements`` as calibration writes them. What was not measured or
    has no symmetric point has no panel.
    """
    response, elements = tables["response"], tables["elements"].set_index("element")
    response = response[response["element"].isin(response["element"].unique()[:SHOWN])]
    points = elements.dropna(subset=["symmetric_point"])
    both = points.dropna(subset=["symmetric_point_measured"])
    alternates = bool((response["train"] == "alternating").any())
    fitted = bool(response["fit"].notna().any())
    measured = "read_noise" in elements
    rows = 1 + measured + alternates + (len(both) > 1)
    figure = Figure(figsize=(COLUMN, 1.75 * rows))
    panels = list(figure.subplots(rows, 1, squeeze=False)[:, 0])
    top, last = panels[0], panels[1 + measured if alternates else 0]
    _trains(top, last, response, 50 if fitted else 100)
    top.set(title=f"{name}: up pulses, then down pulses", ylabel="weight")
    top.plot([], [], color="grey", marker="o", markersize=2.5, linestyle="none", label="measured")
    if fitted:
        top.plot([], [], color="black", linewidth=0.7, label="fit")
    if measured:
        _residuals(panels[1], response, float(elements["read_noise"].iloc[0]))
    if alternates:
        last.set(title="alternating pulses", ylabel="weight")
    (panels[1] if measured and not alternates else last).set_xlabel("pulse")
    if len(points):
        _points(last, points[points.index.isin(response["element"])])
    if measured:
        panels[1].set_xlim(top.get_xlim())
    for axes in panels[: 1 + measured + alternates]:
        if axes.get_legend_handles_labels()[1]:
            axes.legend(frameon=False, handlelength=1.2)
    if len(both) > 1:
        _all_points(panels[-1], both)
    for axes in panels:
        sns.despine(ax=axes)
    return figure


def _residuals(axes: Axes, response: pd.DataFrame, read: float) -> None:
    """Draw measured minus fitted weights of the up and down trains, and the noise of a reading."""
    shown = response[response["train"] != "alternating"]
    _trains(axes, axes, shown.assign(conductance=shown["conductance"] - shown["fit"], fit=0.0), 200)
    label = f"± 2 read noise ({read:.2g})"
    axes.axhspan(-2 * read, 2 * read, color="black", alpha=0.12, linewidth=0, label=label)
    axes.margins(y=0.25)  # room for the legend
    axes.set(title="residuals: measured less fit without noise", ylabel="weight")


def _points(axes: Axes, points: pd.DataFrame) -> None:
    """Draw symmetric points by the fit as bands, those by the alternating train beside its end."""
    first, end = axes.get_xlim()
    axes.set_xlim(first, end + 0.04 * len(points) * (end - first))
    columns = ("symmetric_point", "symmetric_point_measured")
    by_fit, by_train = (points[column].to_numpy() for column in columns)
    band, bar = (2 * points[f"{column}_error"].to_numpy() for column in columns)
    for i, marker in zip(range(len(points)), MARKERS, strict=False):
        axes.axhline(by_fit[i], color="black", linewidth=0.6, linestyle=":")
        low, high = by_fit[i] - band[i], by_fit[i] + band[i]
        axes.axhspan(low, high, color="black", alpha=0.12, linewidth=0)
        axes.errorbar(
            end + 0.04 * i * (end - first),
            by_train[i],
            yerr=bar[i],
            color="black",
            marker=marker,
            markersize=2.5,
            capsize=1.5,
            elinewidth=0.8,
        )
    axes.plot([], [], color="black", linewidth=0.6, linestyle=":", label="symmetric point ± 2 s.e.")


def _all_points(axes: Axes, points: pd.DataFrame) -> None:
    """Draw the symmetric points of all elements: by the alternating train against by the fit."""
    x, y = points["symmetric_point"], points["symmetric_point_measured"]
    dx, dy = points["symmetric_point_error"], points["symmetric_point_measured_error"]
    axes.errorbar(
        x,
        y,
        xerr=dx,
        yerr=dy,
        color=TRAINS["alternating"],
        marker="o",
        markersize=1.5,
        linestyle="none",
        elinewidth=0.4,
        alpha=0.6,
    )
    # a few elements with wide errors would hide the others
    axes.set_xlim(x.min() - 3 * dx.median(), x.max() + 3 * dx.median())
    axes.set_ylim(y.min() - 3 * dy.median(), y.max() + 3 * dy.median())
    axes.axline((x.median(), x.median()), slope=1, color="black", linewidth=0.6)
    axes.set(
        title=f"symmetric points of {len(points)} elements ± 1 s.e.",
        xlabel="by the fit",
        ylabel="by alternating pulses",
    )


def draw_device(folder: Path, name: str, stem: Path) -> None:
    """Draw the device that was calibrated into ``folder`` as ``stem.pdf`` and ``stem.png``."""
    tables = [folder / "response.csv", folder / "elements.csv"]
    draw(partial(calibrated, name=name), tables, stem)


def _trains(top: Axes, bottom: Axes, response: pd.DataFrame, marks: int) -> None:
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
