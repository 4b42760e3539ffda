"""The figure of one calibrated device, drawn from the tables of its calibration alone."""

from functools import partial
from pathlib import Path
from typing import Annotated

import pandas as pd
import seaborn as sns
import typer
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analogpipe.command import run as run_command
from analogpipe.figures import COLUMN, MARKERS, TRAINS, draw, trains

SHOWN = 2
"""Elements of which trains are shown: more would hide each other where pulses are noisy."""


def calibrated(tables: dict[str, pd.DataFrame], name: str) -> Figure:
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
    trains(top, last, response, 50 if fitted else 100)
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
    trains(axes, axes, shown.assign(conductance=shown["conductance"] - shown["fit"], fit=0.0), 200)
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


def main(
    calibration: Annotated[Path, typer.Option(help="folder with response.csv and elements.csv")],
    name: Annotated[str, typer.Option(help="name of the device")],
    out: Annotated[Path, typer.Option(help="folder for the figure, NAME.pdf and NAME.png")],
) -> None:
    """Draw the figure of a calibrated device."""
    draw_device(calibration, name, out / name)


if __name__ == "__main__":
    run_command(main)
