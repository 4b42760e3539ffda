"""Tables: the schedule table against the closed forms, reading of runs."""

import numpy as np
import pandas as pd
import pytest

from analogpipe.experiment.execute_schedules import execute
from analogpipe.files import FileError
from analogpipe.profile.profile import load_profile
from analogpipe.results.tables import (
    accuracy_table,
    collect,
    run_folder,
    schedule_table,
)


def runs_of(accuracy: list[float], **columns) -> pd.DataFrame:
    """Return the runs table of one run with a given accuracy per epoch, 100 samples and 20 cycles each."""
    epochs = np.arange(1, len(accuracy) + 1)
    frame = pd.DataFrame({"epoch": epochs, "samples": 100 * epochs, "cycles": 20 * epochs})
    head = {"device": "digital", "mode": "async", "stages": 2, "rate": 0.1, "seed": 0}
    return frame.assign(test_accuracy=accuracy, test_loss=1.0, **(head | columns))


def test_accuracy_table_takes_the_last_epoch():
    runs = pd.concat([runs_of([0.1, 0.5], seed=0), runs_of([0.1, 0.7], seed=1)])
    row = accuracy_table(runs).iloc[0]
    assert row["measure"] == "test_accuracy"
    assert (row["seeds"], row["mean"], row["std"]) == pytest.approx((2, 0.6, np.sqrt(0.02)))


def test_executed_schedules_equal_the_closed_forms(tiny_profile):
    profile = load_profile(tiny_profile)
    executed, weights = execute(profile)
    table = schedule_table(executed, profile)
    assert len(table) == len(profile.modes) * len(profile.stages)
    for column in ("cycles", "density", "gap", "in_flight"):
        np.testing.assert_allclose(table[f"{column}_executed"], table[column], err_msg=column)
    assert table.set_index(["mode", "stages"]).loc[("async", 3), "gap"] == 2
    assert weights["in_place"].all()
    digital = weights[weights["layers"] == "digital"]
    copies = digital.groupby("mode")["weights_digest"].nunique()
    assert copies.to_dict() == {"sequential": 1, "sync": 1, "async": 2}


def test_a_changed_record_is_noticed(tiny_profile):
    """The executed columns are counted from the record, not copied from the closed forms."""
    profile = load_profile(tiny_profile)
    executed, _ = execute(profile)
    chosen = (executed["mode"] == "async") & (executed["stages"] == 3) & (executed["stage"] == 1)
    executed.loc[chosen & (executed["action"] == "F"), "version"] -= 1
    executed.loc[chosen & (executed["micro_batch"] == 39), "clock"] += 5
    row = schedule_table(executed, profile).set_index(["mode", "stages"]).loc[("async", 3)]
    assert row["gap_executed"] == row["gap"] + 1
    assert row["cycles_executed"] == row["cycles"] + 5


def test_missing_run_is_named(tiny_profile, tmp_path):
    with pytest.raises(FileError, match=r"digital/sequential/M1/lr0\.1/seed0: no finished run"):
        collect(tmp_path, load_profile(tiny_profile))


def test_address_of_a_run(tiny_profile, tmp_path):
    folder = run_folder(tmp_path, load_profile(tiny_profile), "digital", "async", 3, 0.05, 1)
    assert folder == tmp_path / "runs/digits/resmlp3/digital/async/M3/lr0.05/seed1"
