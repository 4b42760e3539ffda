"""Measurement files as other tools write them."""

import numpy as np
import pandas as pd
import pytest

from analogpipe.calibration.calibrate import calibrate_csv
from analogpipe.calibration.formats import MeasurementError
from analogpipe.calibration.measure import read_csv
from analogpipe.device.parameters import SoftBounds
from analogpipe.tile.config import TileConfig

UP = 0.6 * (1 - 0.96 ** np.arange(101))
DOWN = UP[-1] - (UP[-1] + 0.6) * (1 - 0.96 ** np.arange(1, 101))
BOTH = np.concatenate([UP, DOWN])


def _polarity() -> np.ndarray:
    return np.concatenate([np.ones(100), -np.ones(100)])


@pytest.mark.parametrize("noise", [0.0, 0.01])
@pytest.mark.parametrize(
    "names", [["up", "down"], ["LTP (S)", "LTD (S)"], ["pulse", "Potentiation", "Depression"], None]
)
def test_a_column_up_and_a_column_down(tmp_path, names, noise: float) -> None:
    values = BOTH + noise * np.random.default_rng(0).standard_normal(201)
    columns = {"up": values[:101], "down": np.append(values[101:], np.nan)}
    table = pd.DataFrame(columns)
    if names is not None and len(names) == 3:
        table.insert(0, "pulse", range(101))
    if names is not None:
        table.columns = names
    table.to_csv(tmp_path / "mine.csv", index=False, header=names is not None)
    data = read_csv(tmp_path / "mine.csv", None, "columns")
    assert data.up.tolist() == (_polarity() > 0).tolist()
    np.testing.assert_allclose(data.after[:, 0], values[1:])
    np.testing.assert_allclose(data.before[:, 0], values[:-1])


def test_pairs_of_columns_are_elements(tmp_path) -> None:
    table = pd.DataFrame({"up1": UP[:100], "down1": DOWN, "up2": UP[:100] / 2, "down2": DOWN / 2})
    table.to_csv(tmp_path / "mine.csv", index=False)
    data = read_csv(tmp_path / "mine.csv", None, "columns")
    assert data.after.shape == (199, 2)
    np.testing.assert_allclose(data.after[:, 1], data.after[:, 0] / 2)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("noise", [0.0, 0.02])
@pytest.mark.parametrize("restart", [False, True])
def test_the_turn_is_found(tmp_path, sign: int, noise: float, restart: bool) -> None:
    values = sign * BOTH + noise * np.random.default_rng(1).standard_normal(201)
    number = np.concatenate([np.arange(101), np.arange(1, 101) + (0 if restart else 100)])
    pd.DataFrame({"n": number, "G": values}).to_csv(tmp_path / "mine.csv", index=False)
    data = read_csv(tmp_path / "mine.csv", None, "turn")
    wrong = int(np.sum(data.up != (sign * _polarity() > 0)))
    assert wrong <= (0 if restart or noise == 0 else 5)


def test_all_formats_of_one_measurement_give_one_device(tmp_path) -> None:
    values = BOTH + 0.01 * np.random.default_rng(0).standard_normal(201)
    tables = {
        "pulses": {
            "pulse": range(201),
            "polarity": np.append(0, _polarity()),
            "conductance": values,
        },
        "columns": {"up": values[:101], "down": np.append(values[101:], np.nan)},
        "turn": {"pulse": [*range(101), *range(1, 101)], "value": values},
    }
    tile = TileConfig(device=SoftBounds())
    found = []
    for form, table in tables.items():
        path = tmp_path / f"{form}.csv"
        pd.DataFrame(table).to_csv(path, index=False)
        found.append(calibrate_csv(path, kind=tile, form=form).tile)  # type: ignore[arg-type]
    assert found[0] == found[1] == found[2]
    assert found[0].device.w_max == pytest.approx(0.6, rel=0.05)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("form", "text", "message"),
    [
        ("columns", "up,down\n1,x\n2,3\n", "column 'down' has entries that are no finite numbers"),
        ("columns", "up,down,up2,n\n1,1,1,1\n", "in pairs are needed, found: up, down, up2, n"),
        ("columns", "up,down\n0,9\n1,0\n2,0\n", "begins at 9, not where 'up' ends"),
        ("columns", "up,down\n0,2\n1,1\n2,0\n", "at least 8 pulses of each polarity"),
        ("turn", "n,a,b\n1,2,3\n", "two columns are needed, pulse and value, found: n, a, b"),
        ("turn", "n,value\n1,2\n2,3\n", "17 pulses and values are needed, found 2"),
        (
            "turn",
            "n,value\n" + "".join(f"{i},{i}\n" for i in range(40)),
            "at least 8 pulses of each polarity are needed",
        ),
        (
            "turn",
            "n,value\n" + "".join(f"{i},{[0, 1, 2, 1][i // 5 % 4]}\n" for i in range(80)),
            "do not rise and fall once",
        ),
        (
            "turn",
            "n,value\n" + "".join(f"{i % 10},{i}\n" for i in range(40)),
            "start anew 3 times",
        ),
    ],
)
def test_a_file_of_another_form_is_named_in_one_line(tmp_path, form, text, message) -> None:
    (tmp_path / "mine.csv").write_text(text)
    with pytest.raises(MeasurementError, match=message) as error:
        read_csv(tmp_path / "mine.csv", None, form)
    assert "mine.csv" in str(error.value)
    assert "\n" not in str(error.value)
