"""The figure of the ablation follows from the table of shares alone."""

from pathlib import Path

import matplotlib as mpl
import pandas as pd
import pytest
from PIL import Image

from analogpipe.figures import ablation
from analogpipe.figures.style import COLUMN, draw


def table(modes: tuple[str, ...] = ("sequential",)) -> pd.DataFrame:
    """Shares of two factors that add up to a gap of 4, in each mode and measure."""
    levels = {"range": ("0.6", "6"), "rule": ("pulses", "mixed_precision"), "rest": (None, None),
              "gap": (None, None)}  # fmt: skip
    rows = [
        {"mode": mode, "measure": measure, "factor": factor, "own": own, "better": better,
         "share": share, "low": share - 0.5, "high": share + 1.0}
        for mode in modes
        for measure in ("log loss", "accuracy")
        for (factor, (own, better)), share in zip(levels.items(), (2.0, 1.5, 0.5, 4.0), strict=True)
    ]  # fmt: skip
    return pd.DataFrame(rows)


@pytest.mark.parametrize("modes", [("sequential",), ("sequential", "async")])
def test_bars_are_the_shares_with_their_intervals(modes: tuple[str, ...]) -> None:
    figure = ablation.shares({"shares": table(modes)})
    assert len(figure.axes) == 2
    for axes, scale in zip(figure.axes, (1, 100), strict=True):
        bars, intervals = axes.containers[1], axes.containers[0]
        widths = [bar.get_width() for bar in bars]  # type: ignore[union-attr]
        assert widths == [scale * share for share in (2.0, 1.5, 0.5, 4.0)]
        (lines,) = intervals.lines[2]  # type: ignore[union-attr]
        ends = [segment[:, 0].tolist() for segment in lines.get_segments()]
        assert ends[0] == [scale * 1.5, scale * 3.0]
        labels = [label.get_text() for label in axes.get_yticklabels()]
        assert labels == ["range, 0.6 to 6", "rule, pulses to mixed", "rest", "whole gap"]
    assert (figure.axes[0].get_legend() is not None) == (len(modes) > 1)


def test_it_fits_a_column_and_is_told_apart_in_grey(tmp_path: Path) -> None:
    table(("sequential", "async")).to_csv(tmp_path / "shares.csv", index=False)
    with mpl.rc_context():
        draw(ablation.shares, [tmp_path / "shares.csv"], tmp_path / "fig10")
    image = Image.open(tmp_path / "fig10.png").convert("RGB")
    assert image.width == COLUMN * 300
    greys = {pixel for _, pixel in image.getcolors(1 << 20) or []}
    assert all(max(pixel) - min(pixel) <= 6 for pixel in greys)  # no colour is needed
