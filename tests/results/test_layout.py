"""The tables as files."""

import pandas as pd

from analogpipe.jobs.figure import FIGURES
from analogpipe.results import layout


def test_a_table_for_people_has_all_formats(tmp_path):
    frame = pd.DataFrame({"mode": ["a < b"], "some_number": [1 / 3]})
    layout.write(tmp_path, {"tables/table1": frame})
    pd.testing.assert_frame_equal(layout.read(tmp_path, "tables/table1"), frame)
    stem = tmp_path / "tables" / "table1"
    assert "0.3333" in stem.with_suffix(".md").read_text()
    assert r"\toprule" in stem.with_suffix(".tex").read_text()
    assert "<td>a &lt; b</td>\n      <td>0.3333</td>" in stem.with_suffix(".html").read_text()


def test_another_table_is_a_csv_alone(tmp_path):
    layout.write(tmp_path, {"tables/runs": pd.DataFrame({"epoch": [1]})})
    assert [path.name for path in (tmp_path / "tables").iterdir()] == ["runs.csv"]


def test_every_figure_is_drawn_from_tables_that_are_made():
    drawn_from = layout.FIGURES | layout.THEORY_FIGURES | layout.ABLATION_FIGURES
    assert set(drawn_from) == set(FIGURES)
    made = {*layout.SCHEDULES, *layout.AGGREGATED, *layout.HARDWARE, *layout.PAIRED}
    made |= {*layout.ABLATION, *layout.THEORY}
    assert {table for tables in drawn_from.values() for table in tables} <= made
