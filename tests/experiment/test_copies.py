"""What a copy of weights costs: the attempts, their tolerance and their price."""

import numpy as np
import pandas as pd
import pytest
import torch

from analogpipe.experiment import copies as measured
from analogpipe.experiment.copies import (
    COLUMNS,
    SIDE,
    arrays,
    attempt,
    copies,
    spent,
    step,
    tolerance,
)
from analogpipe.experiment.copy import read_out
from analogpipe.hardware.presets import PRESETS
from analogpipe.profile.profile import load_devices
from analogpipe.results.copies import cheapest
from analogpipe.settings import ConfigError
from analogpipe.tile.config import TileConfig, digital

HARDWARE = PRESETS["ibm-proj"]
STILL = {"dw_min_std": 0, "dw_min_dtod": 0, "up_down_dtod": 0, "w_max_dtod": 0, "w_min_dtod": 0}
EXACT = {"kind": "constant_step", "dw_min": 0.01, **STILL}
NOISY = {"out_noise": 0.06, "inp_res": 0, "out_res": 0}


def tile(device: dict[str, object] = EXACT, **settings: object) -> TileConfig:
    return TileConfig.parse({"device": device, **settings})


def test_a_copy_takes_the_iterations_that_its_pulses_need() -> None:
    made = attempt(tile(forward={"perfect": True}, update={"desired_bl": 10}), "columns", 1, 0)
    assert made.reached
    assert made.iterations == 3  # 0.3 in steps of 0.01, at most 10 an iteration
    assert made.slots == pytest.approx(10, abs=0.5)
    assert made.tolerance == pytest.approx(0.01 / (0.3 / 3**0.5), rel=0.02)  # a pulse


def test_the_tolerance_is_what_a_read_is_off() -> None:
    source, _ = arrays(tile(forward=NOISY), 0)
    # 0.06 an output, of 64 weights times inputs of variance 1/3, scaled to their largest, nearly 1
    assert tolerance(source, 0) == pytest.approx(0.06 / (SIDE / 3) ** 0.5, rel=0.05)


def test_noisy_reads_miss_the_tolerance_and_patterns_do_not() -> None:
    noisy = tile(forward=NOISY)
    for inputs, reads, reached in (
        ("columns", 1, False),
        ("columns", 128, True),
        ("patterns", 2, True),
    ):
        made = attempt(noisy, inputs, reads, 0)  # type: ignore[arg-type]
        assert made.reached == reached
        assert (made.error <= made.tolerance) == reached
        assert (made.iterations < measured.MOST) == reached


def test_as_many_patterns_as_columns_say_a_weight_better() -> None:
    source, _ = arrays(tile(forward=NOISY), 0)
    off = [
        float((read_out(source, 20, inputs) - source.weight).square().mean().sqrt())
        for inputs in ("columns", "patterns")
    ]
    assert off[0] == pytest.approx(0.06 / 20**0.5, rel=0.05)
    assert off[1] == pytest.approx(off[0] / SIDE**0.5, rel=0.05)


def test_writing_noise_is_never_reached_and_has_a_price_all_the_same() -> None:
    table = copies("noisy", tile({"kind": "soft_bounds", "write_noise_std": 100}), [0, 1])
    assert list(table) == list(COLUMNS)
    assert len(table) == 2 * 6 * len(PRESETS)
    assert not table["reached"].any()
    assert (table["iterations"] == measured.MOST).all()
    assert not table.isna().any(axis=None)
    assert np.isinf(cheapest(table)["seconds"]).all()
    assert (cheapest(table)["reads"] == 0).all()


def test_the_price_in_training_steps_is_counted_by_hand() -> None:
    took = spent(HARDWARE, iterations=3, slots=10, reads=2)
    reads = SIDE * 2 * HARDWARE.read_time
    slots = 3 * SIDE * 10 * HARDWARE.phases * HARDWARE.pulse_time
    assert took.seconds == pytest.approx(reads + slots + 3 * SIDE * 2 * HARDWARE.verify_time)
    one = step(tile(), HARDWARE)
    scaling = HARDWARE.scaling_operations * 2 * SIDE / HARDWARE.digital_rate
    pulses = HARDWARE.phases * HARDWARE.mean_pulses * HARDWARE.pulse_time
    digital_part = HARDWARE.output_operations * SIDE / HARDWARE.digital_rate
    read = max(HARDWARE.read_time, digital_part)
    assert one.seconds == pytest.approx(2 * read + pulses + scaling)
    row = copies("exact", tile(forward={"perfect": True}), [0])
    row = row[(row["hardware"] == "ibm-proj") & (row["reads"] == 16)].iloc[0]
    assert row["steps_in_time"] == pytest.approx(row["seconds"] / one.seconds)
    assert row["joules"] > 0


def test_rules_that_no_copy_uses_do_not_matter() -> None:
    tiles = load_devices("config/devices.yaml")  # type: ignore[arg-type]
    plain = attempt(TileConfig.parse({"preset": "EcRam", "mapping": {"weight_scaling_omega": 0.6}}),
                    "patterns", 1, 0)  # fmt: skip
    assert attempt(tiles["ecram-mp"], "patterns", 1, 0) == plain
    assert step(tiles["ecram-mp"], HARDWARE) != step(tiles["ecram"], HARDWARE)
    assert step(tiles["pcm"], HARDWARE) == step(tiles["ecram"], HARDWARE)
    with pytest.raises(ConfigError, match="ideal"):
        arrays(digital(), 0)


def test_the_cheapest_copy_is_the_fastest_that_got_there() -> None:
    rows = [("a", "h", 0, "columns", 1, True, 3.0), ("a", "h", 0, "patterns", 4, True, 2.0),
            ("a", "h", 0, "patterns", 1, False, 1.0), ("a", "h", 1, "columns", 1, False, 1.0)]  # fmt: skip
    names = ["device", "hardware", "seed", "inputs", "reads", "reached", "seconds"]
    table = pd.DataFrame(rows, columns=names)
    for name in ("joules", "steps_in_time", "steps_in_energy"):
        table[name] = table["seconds"]
    best = cheapest(table).set_index("seed")
    assert tuple(best.loc[0, ["inputs", "reads", "seconds"]]) == ("patterns", 4, 2.0)
    assert tuple(best.loc[1, ["inputs", "reads", "steps_in_time"]]) == ("", 0, np.inf)


def test_a_copy_is_a_function_of_its_seed() -> None:
    found = [attempt(tile(forward=NOISY), "patterns", 1, seed) for seed in (0, 0, 1)]
    assert found[0] == found[1] != found[2]
    assert torch.equal(arrays(tile(), 0)[0].weight, arrays(tile(), 0)[0].weight)
