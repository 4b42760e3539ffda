import numpy as np
import pandas as pd
import pytest

from analogpipe.calibration import CalibrationError, calibrate, main
from analogpipe.devices import SoftBounds
from analogpipe.tile_config import TileConfig, digital

SOFT = TileConfig(device=SoftBounds(dw_min=0.004, up_down=0.1))


@pytest.fixture(scope="module")
def result():
    return calibrate(SOFT, seed=0, name="soft", elements=64)


def test_the_fitted_parameters_are_within_their_errors(result) -> None:
    summary = result.summary
    deviation = (summary.fitted - summary.true).abs() / summary.std_error
    # 9 parameters, elements drawn once: 4 standard errors are exceeded by chance in 1 of 1,700
    # seeds
    assert (deviation < 4).all(), summary


def test_elements_are_within_their_errors(result) -> None:
    table = result.elements
    for name in ("s_up", "s_down", "b_max", "b_min", "symmetric_point"):
        pull = (table[name] - table[f"{name}_true"]) / table[f"{name}_error"]
        assert 0.7 < np.sqrt((pull**2).mean()) < 1.4, name


def test_the_alternating_train_ends_at_the_symmetric_point(result) -> None:
    table = result.elements
    difference = table.symmetric_point_measured - table.symmetric_point_true
    pull = difference / table.symmetric_point_measured_error
    assert 0.7 < np.sqrt((pull**2).mean()) < 1.4


def test_the_command_writes_its_files(tmp_path) -> None:
    devices = tmp_path / "devices.yaml"
    devices.write_text("soft:\n  device: {kind: soft_bounds, dw_min: 0.01}\n")
    out = tmp_path / "out"
    assert main(["--devices", str(devices), "--name", "soft", "--out", str(out)]) == 0
    tile = TileConfig.load(out / "device.yaml")
    assert tile.device.dw_min == pytest.approx(0.01, rel=0.1)  # type: ignore[union-attr]
    response = pd.read_csv(out / "response.csv")
    assert list(response) == ["element", "train", "pulse", "polarity", "conductance", "fit"]
    assert set(response.train) == {"up", "down", "alternating"}
    assert {f.name for f in out.iterdir()} == {
        "device.yaml",
        "response.csv",
        "elements.csv",
        "summary.csv",
    }


def test_errors_are_one_line(tmp_path, capsys) -> None:
    devices = tmp_path / "devices.yaml"
    devices.write_text("soft:\n  device: {kind: soft_bounds}\n")
    arguments = ["--devices", str(devices), "--name", "hard", "--out", str(tmp_path / "out")]
    assert main(arguments) == 2
    assert "allowed: soft" in capsys.readouterr().err
    with pytest.raises(CalibrationError, match="ideal"):
        calibrate(digital(), seed=0, name="digital")
