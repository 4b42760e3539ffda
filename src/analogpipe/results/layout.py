"""The tables of a profile as files: which there are, where, in which formats, and what is drawn from them.

Paths are relative to ``results/PROFILE`` and without suffix. A table is a CSV with all its digits;
those that people read are Markdown, LaTeX and HTML besides. Loads nothing heavy: the workflow asks
here which files its jobs make.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from analogpipe.files import write_text

if TYPE_CHECKING:
    import pandas as pd

SCHEDULES = ("schedules/schedules", "schedules/weights")
"""What executed schedules did, an action a row; the weights at their ends."""
AGGREGATED = ("tables/runs", "tables/curves", "tables/ladder", "tables/response", "tables/calibration",
              "tables/table1", "tables/table2")  # fmt: skip
"""Made from the runs, the calibrations and the executed schedules."""
EXPERIMENTS = ("floor", "rates-linear", "rates-digital")
"""The theory's experiments, each a table ``theory/EXPERIMENT``; the longest first."""
THEORY = ("tables/theory_rates", "tables/theory_price", "tables/theory_targets",
          "tables/theory_floor", "tables/theory_interaction", "tables/theory_checks",
          "tables/table3")  # fmt: skip
"""Made from the runs of the theory's experiments."""
ABLATION = ("tables/ablation", "tables/ablation_cells", "tables/shares")
"""All runs of the ablation, the means of its cells, each factor's share of the gap to digital."""
HARDWARE = ("tables/hardware", "tables/hardware_stages", "tables/hardware_plane")
"""Seconds and joules on accelerators, made from the events of the runs."""
PAIRED = ("tables/differences", "tables/ratios", "tables/losses", "tables/headline")
"""Modes against each other, seed by seed, made from the runs, their ladder and their times."""
COPIES = "tables/copies"
"""What copies of weights cost, made from the calibrated devices."""
EVIDENCE = (*SCHEDULES, "tables/runs", *PAIRED[:3])
"""What claims are judged by,"""
THEORY_EVIDENCE = ("tables/table3", "tables/theory_checks")
"""and by these besides where the profile has a theory."""
ANSWERS, CLAIMS, CHECKS = "tables/answers", "tables/claims", "tables/checks"
"""A line per claim and device; the rows that could fail; identities, theorems, regression tests."""
JUDGED = (ANSWERS, CLAIMS, CHECKS)
SWEEP, PICKS = "tables/sweep", "tables/picks"

SHOWN = ("tables/table1", "tables/table2", "tables/table3", "tables/headline", *JUDGED)
"""The tables that people read,"""
FORMATS = (".md", ".tex")
"""in these formats besides CSV, and as a page, ``.html``, for the report."""

FIGURES = {
    "fig1_schedules": ("schedules/schedules", "tables/table1"),
    "fig2_device": ("tables/response", "tables/calibration"),
    "fig3_convergence": ("tables/curves",),
    "fig4_differences": ("tables/differences",),
    "fig5_speedup": ("tables/ratios",),
    "fig11_hardware_speedup": ("tables/hardware",),
    "fig12_hardware_target": ("tables/hardware", "tables/ladder"),
    "fig13_hardware_stages": ("tables/hardware_stages",),
    "fig14_hardware_plane": ("tables/hardware_plane",),
    "fig15_price": ("tables/ratios",),
    "fig16_staleness": ("tables/differences", "tables/ratios"),
}
"""The tables that a figure is drawn from; fig. 2 is of a profile with analog devices."""
THEORY_FIGURES = {
    "fig6_slopes": ("tables/theory_rates", "tables/table3"),
    "fig7_floor": ("tables/theory_floor",),
    "fig8_price": ("tables/theory_price",),
    "fig9_targets": ("tables/theory_targets",),
}
"""The same for the figures of the theory,"""
ABLATION_FIGURES = {"fig10_ablation": ("tables/shares",)}
"""and of the ablation."""

_PAGE = """<!doctype html>
<meta charset="utf-8">
<style>
body { font: 14px/1.4 sans-serif }
table { border-collapse: collapse }
th, td { padding: 0.3em 0.7em; border-bottom: 1px solid #ddd; text-align: left; vertical-align: top }
th { position: sticky; top: 0; background: white }
</style>
"""


def file(root: Path, name: str) -> Path:
    """Return the CSV of a table below ``root``, ``results/PROFILE``."""
    return root / f"{name}.csv"


def read(root: Path, name: str) -> "pd.DataFrame":
    """Return a table that was written below ``root``."""
    import pandas as pd

    return pd.read_csv(file(root, name))


def write(root: Path, tables: "Mapping[str, pd.DataFrame]") -> None:
    """Write tables by their names, those of SHOWN in all formats."""
    for name, table in tables.items():
        path = file(root, name)
        write_text(path, table.to_csv(index=False))
        if name in SHOWN:
            _write_for_people(table, path)


def _write_for_people(table: "pd.DataFrame", path: Path, digits: int = 4) -> None:
    """Write a table in FORMATS and as a page beside its CSV, rounded."""
    markdown = table.to_markdown(index=False, floatfmt=f".{digits}f")
    write_text(path.with_suffix(".md"), f"{markdown}\n")
    named = table.set_axis([str(name).replace("_", " ") for name in table.columns], axis=1)
    latex = named.to_latex(index=False, float_format=f"%.{digits}f")
    write_text(path.with_suffix(".tex"), latex)
    page = named.to_html(
        index=False, border=0, na_rep="", float_format=lambda value: f"{value:.{digits}f}"
    )
    write_text(path.with_suffix(".html"), f"{_PAGE}{page}\n")
