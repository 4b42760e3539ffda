"""The figure of a calibrated device: what it shows follows from the tables alone."""

import pandas as pd
import pytest

from analogpipe.calibration.calibrate import calibrate, write
from analogpipe.figures.device import calibrated, draw_device
from analogpipe.tile.config import TileConfig


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    tile = TileConfig.parse({"device": {"kind": "soft_bounds", "dw_min": 0.01, "up_down": 0.2}})
    where = tmp_path_factory.mktemp("calibrated")
    write(calibrate(tile, seed=0, name="soft", elements=6), where)
    return where


@pytest.fixture
def tables(folder):
    return {name: pd.read_csv(folder / f"{name}.csv") for name in ("response", "elements")}


def _dotted(axes):
    """Heights of the dotted lines, without the legend's."""
    lines = [line for line in axes.get_lines() if line.get_linestyle() == ":"]
    return [float(line.get_ydata()[0]) for line in lines if len(line.get_ydata())]


def test_it_shows_trains_fits_and_symmetric_points(tables) -> None:
    figure = calibrated(tables, "soft")
    top, bottom, points = figure.axes
    # per element: up and down, each measured and fitted; then the legend's entries
    assert len(top.get_lines()) == 2 * 2 * 2 + 2
    elements = tables["elements"]
    assert _dotted(bottom) == pytest.approx(elements.symmetric_point[:2].tolist())
    assert points.get_title() == "symmetric points of 6 elements ± 1 s.e."


def test_without_alternating_pulses_the_point_is_with_the_other_trains(tables) -> None:
    tables["response"] = tables["response"].query("train != 'alternating' and element == 0")
    tables["elements"] = tables["elements"][:1].assign(symmetric_point_measured=float("nan"))
    (axes,) = calibrated(tables, "mine").axes
    (dotted,) = _dotted(axes)
    assert dotted == pytest.approx(tables["elements"].symmetric_point[0])


def test_what_has_no_symmetric_point_shows_none(tables) -> None:
    nothing = dict.fromkeys(("symmetric_point", "symmetric_point_measured"), float("nan"))
    tables["elements"] = tables["elements"].assign(**nothing)
    tables["response"] = tables["response"].assign(fit=float("nan"))
    top, bottom = calibrated(tables, "pair").axes
    assert [line.get_label() for line in top.get_lines()][-1] == "measured"
    assert _dotted(bottom) == []


def test_equal_tables_give_equal_files(folder, tmp_path) -> None:
    for name in ("one", "two"):
        draw_device(folder, "soft", tmp_path / name)
    for kind in ("pdf", "png"):
        one, two = (tmp_path / f"{name}.{kind}" for name in ("one", "two"))
        assert one.read_bytes() == two.read_bytes()


def test_a_measurement_shows_its_residuals(tables) -> None:
    tables["response"] = tables["response"].query("train != 'alternating'")
    tables["elements"] = tables["elements"].assign(
        read_noise=0.03, symmetric_point_measured=float("nan")
    )
    top, residuals = calibrated(tables, "mine").axes
    assert residuals.get_xlim() == top.get_xlim()
    first = tables["response"].query("element == 0 and train == 'up'")
    drawn = residuals.get_lines()[0].get_ydata()
    assert drawn == pytest.approx((first.conductance - first.fit).to_numpy())
    (band,) = residuals.patches
    assert band.get_height() == pytest.approx(4 * 0.03)
