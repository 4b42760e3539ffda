"""What the figures share: a column's width, the look of a mode, ticks, and how a figure is saved."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
import pandas as pd
import seaborn as sns
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from analogpipe.files import write_bytes

Tables = dict[str, pd.DataFrame]
"""Tables by the stems of their files."""
Drawing = Callable[[Tables], Figure]

COLUMN = 3.5  # inches, one column of a two-column paper
# A mode has one colour, marker and dash everywhere; the colours also differ in lightness.
STYLES = {
    "sequential": ("#0b3c5d", "o", (1, 0)),
    "sync": ("#d95f02", "s", (4, 1.5)),
    "async": ("#5aae61", "^", (1.5, 1)),
    "async-warm-up": ("#762a83", "D", (5, 1, 1, 1)),
    "async-prediction": ("#c2a5cf", "v", (3, 1)),
}
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


def count_ticks(axis: Axis, subs: tuple[int, ...] = (1, 2, 5)) -> None:
    """Label these multiples of each decade of a logarithmic axis, as counts like 20,000."""
    axis.set_major_locator(LogLocator(subs=subs))
    axis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axis.set_minor_formatter(NullFormatter())


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
