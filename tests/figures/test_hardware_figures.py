"""The figures of time and energy, from small tables."""

from itertools import product

import pandas as pd
import pytest

from analogpipe.figures import hardware
from analogpipe.results.hardware import ACTIONS, plane


def runs(target: float = 1.0) -> pd.DataFrame:
    """Runs that take 8 s without a pipeline and 8 / M with one."""
    keys = product(["digital", "x"], ["sequential", "async"], [1, 2, 4], [0, 1], ["rpu", "mine"])
    rows = [
        {
            **dict(zip(["device", "mode", "stages", "seed", "hardware"], key, strict=True)),
            "seconds": 8 / key[2] if key[1] == "async" else 8,
            "rate": 0.1,
            "samples": 100,
            "best_seconds": target,
            "best_joules": target,
            "ceiling": key[2],
        }
        for key in keys
    ]
    return pd.DataFrame(rows)


def test_speedup_is_of_seconds_over_no_pipeline():
    figure = hardware.speedup({"hardware": runs()})
    assert len(figure.axes) == 2
    line, ceiling = figure.axes[0].lines
    assert line.get_ydata().tolist() == ceiling.get_ydata().tolist() == [1, 2, 4]


@pytest.mark.parametrize(("samples", "texts"), [(50.0, 0), (float("inf"), 1)])
def test_a_target_that_no_run_reached_is_said(samples, texts):
    keys = ["device", "mode", "stages", "rate", "seed"]
    ladder = runs()[keys].drop_duplicates().assign(rung=0.5, samples=samples)
    figure = hardware.to_target({"hardware": runs(), "ladder": ladder})
    said = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert said == ["not reached"] * texts * 2


def test_bars_add_up_to_the_time_of_a_stage():
    rows = product(["x"], [2], ["rpu"], [1, 2], ACTIONS, [3.0], [1.0])
    columns = ["device", "stages", "hardware", "stage", "action", "seconds", "joules"]
    axes = hardware.stages({"hardware_stages": pd.DataFrame(rows, columns=columns)}).axes[0]
    assert max(bar.get_y() + bar.get_height() for bar in axes.patches) == 15
    assert "slowest 1.00 times the mean" in axes.get_title(loc="right")


def test_the_plane_shows_every_accelerator_with_every_rule():
    axes = hardware.plane({"hardware_plane": plane()}).axes[0]
    labels = axes.get_legend_handles_labels()[1]
    assert len(labels) == 9
    assert "ibm-proj, mixed precision" in labels
