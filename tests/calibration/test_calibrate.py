from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from analogpipe.calibration.calibrate import CalibrationError, calibrate, calibrate_csv
from analogpipe.calibration.element import population
from analogpipe.calibration.measure import MeasurementError, measure
from analogpipe.device.parameters import (
    ConstantStep,
    ExpStep,
    LinearStep,
    PowStep,
    Pulsed,
    SoftBounds,
    SoftBoundsReference,
)
from analogpipe.device.presets import PRESETS
from analogpipe.device.response import draw
from analogpipe.files import FileError
from analogpipe.jobs.calibrate import main
from analogpipe.profile.profile import load_tile
from analogpipe.seeds import generator
from analogpipe.tile.config import TileConfig, digital

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


@pytest.mark.parametrize(
    "device",
    [
        ConstantStep(dw_min=0.004),
        LinearStep(dw_min=0.004, gamma_up=0.5, gamma_down=0.3),
        SoftBoundsReference(dw_min=0.004),
        ExpStep(dw_min=0.004),
        PowStep(dw_min=0.004, pow_gamma=1.5),
    ],
    ids=lambda device: device.kind,
)
def test_every_device_type_is_found_again(device: Pulsed) -> None:
    fitted = calibrate(TileConfig(device=device), seed=0, name="kinds", elements=100)
    new = fitted.tile.device
    assert type(new) is type(device)
    for name in ("dw_min", "dw_min_dtod", "w_max", "w_min", "w_max_dtod"):
        assert getattr(new, name) == pytest.approx(getattr(device, name), rel=0.3), name
    assert new.dw_min_std == pytest.approx(0.3, rel=0.03)  # type: ignore[union-attr]
    # what the shape parameters amount to: the steps of a typical element over its range
    typical = {"dw_min_dtod": 0, "w_max_dtod": 0, "w_min_dtod": 0, "up_down_dtod": 0}
    shapes = []
    for one in (device, new):
        plain = one.model_copy(update=typical)
        response = draw(plain, (1, 7), generator(0, "typical"))
        weight = torch.linspace(-0.4, 0.4, 7).view(1, 7)
        shapes.append(response.steps(weight, torch.empty(2, 1, 7)))
    torch.testing.assert_close(shapes[1], shapes[0], rtol=0.15, atol=0.0004)


@pytest.mark.parametrize(
    "device",
    [
        ConstantStep(dw_min=0.004, dw_min_std=3.0),
        LinearStep(dw_min=0.004, gamma_up=0.5, gamma_down=0.3, dw_min_std=1.0),
        SoftBounds(dw_min=0.004, up_down_dtod=0.0),
        ExpStep(dw_min=0.004),
        PRESETS["ReRamES"].model_copy(update={"dw_min": 0.004}),
        PowStep(dw_min=0.004, pow_gamma=1.5),
    ],
    ids=["constant", "linear", "soft", "exponential", "ReRamES", "power"],
)
def test_parameters_are_within_their_errors(device: Pulsed) -> None:
    """No noise of pulses, no bound and no small unit biases a fit or its error."""
    result = calibrate(TileConfig(device=device), seed=1, name="errors", elements=100)
    table = result.summary
    pull = (table.fitted - table.true) / table.std_error
    # some 12 parameters of a device: one beyond 4.5 in 100,000 devices, were all errors normal
    assert pull.abs().max() < 4.5, table.assign(pull=pull)
    elements = result.elements
    if elements.symmetric_point_true.notna().sum() > 20:
        pull = elements.symmetric_point - elements.symmetric_point_true
        assert 0.7 < np.sqrt(((pull / elements.symmetric_point_error) ** 2).mean()) < 1.4


@pytest.mark.parametrize("unit", [1.0, 1e-7])
@pytest.mark.parametrize("spread", [0.0, 2.0])
def test_a_population_is_found_in_any_unit(unit: float, spread: float) -> None:
    stream = np.random.default_rng(0)
    errors = stream.uniform(0.5, 1.5, 400)
    values = 10 + spread * stream.standard_normal(400) + errors * stream.standard_normal(400)
    centre, width = population(values * unit, errors * unit)
    assert centre.value / unit == pytest.approx(10, abs=4 * centre.error / unit)
    assert centre.error / unit == pytest.approx(((spread**2 + 1) / 400) ** 0.5, rel=0.2)
    assert width.value / unit == pytest.approx(spread, abs=4 * width.error / unit)
    assert width.error / unit < 0.3


def _measured(tmp_path: Path, read_noise: float) -> Path:
    """A CSV of one soft-bounds element in microsiemens, with read noise."""
    device = SoftBounds(
        dw_min=0.01, dw_min_std=0.2, dw_min_dtod=0, w_max_dtod=0, w_min_dtod=0, up_down=-0.2
    )
    truth = draw(device, (1, 1), generator(0, "csv"))
    data = measure(truth, 240, seed=0, name="csv")
    values = np.append(data.before[0, 0], data.after[:, 0])
    values = values + read_noise * np.random.default_rng(0).standard_normal(len(values))
    polarity = np.append(0, np.where(data.up, 1, -1))
    table = pd.DataFrame({"Pulse": range(len(values)), "Polarity": polarity})
    table["Conductance"] = 20 + 10 * values / 0.6
    path = tmp_path / "measured.csv"
    table.to_csv(path, index=False)
    return path


@pytest.mark.parametrize("read_noise", [0.0, 0.01])
def test_a_measured_csv_is_fitted_in_spite_of_read_noise(tmp_path, read_noise) -> None:
    path = _measured(tmp_path, read_noise)
    result = calibrate_csv(path, kind=SOFT, reach=0.6)
    row = result.elements.iloc[0]
    for name, true in (("s_up", 0.008), ("s_down", 0.01), ("b_max", 0.6), ("b_min", -0.6)):
        # the middle of the measured range is not quite 0
        tolerance = 4 * row[f"{name}_error"] + 0.05 * abs(true)
        assert row[name] == pytest.approx(true, abs=tolerance), name
        assert row[f"{name}_error"] < 0.15 * abs(true)
    assert row.noise == pytest.approx(0.2, abs=0.08)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("pulse,polarity\n1,1\n", "no column 'conductance'"),
        ("pulse,polarity,conductance\n0,0,1\n1,up,2\n", "no finite numbers"),
        ("pulse,polarity,conductance\n0,0,1\n1,1,inf\n", "no finite numbers"),
        ("pulse,polarity,conductance\n0,0,1\n1,1,2\n", "at least 8 pulses"),
        (
            "pulse,polarity,conductance\n0,0,1\n1,1,2\n0,0,1\n",
            "pulse 0 of element 0 stands there more",
        ),
        ("pulse,polarity,conductance\n0,0,1\n1,1,2\n9,1,3\n", "pulse 9 follows pulse 1"),
        (
            "pulse,polarity,conductance,element\n0,0,1,0\n1,1,2,0\n0,0,1,1\n",
            "all elements need the same pulses",
        ),
    ],
)
def test_a_wrong_csv_is_named(tmp_path, text: str, message: str) -> None:
    (tmp_path / "measured.csv").write_text(text)
    with pytest.raises(MeasurementError, match=message):
        calibrate_csv(tmp_path / "measured.csv", kind=SOFT, reach=0.6)


def test_the_command_writes_its_files(tmp_path) -> None:
    devices = tmp_path / "devices.yaml"
    devices.write_text("soft:\n  device: {kind: soft_bounds, dw_min: 0.01}\n")
    out = tmp_path / "out"
    main(devices, "soft", out)
    tile = load_tile(out / "device.yaml")
    assert tile.device.dw_min == pytest.approx(0.01, rel=0.1)  # type: ignore[union-attr]
    response = pd.read_csv(out / "response.csv")
    assert list(response) == ["element", "train", "pulse", "polarity", "conductance", "fit"]
    assert set(response.train) == {"up", "down", "alternating"}
    twin = load_tile(out / "symmetric.yaml")
    assert isinstance(twin.device, ConstantStep)
    assert twin.device.w_max == pytest.approx(tile.device.w_max)  # type: ignore[union-attr]
    assert {f.name for f in out.iterdir()} == {
        "device.yaml",
        "symmetric.yaml",
        "response.csv",
        "elements.csv",
        "summary.csv",
    }


def test_a_pair_without_a_twin_says_so_in_its_place(tmp_path) -> None:
    devices = tmp_path / "devices.yaml"
    devices.write_text("pair: {preset: PCM}\n")
    main(devices, "pair", tmp_path)
    with pytest.raises(FileError, match=r"symmetric.yaml: no_twin.*a one_sided pair"):
        load_tile(tmp_path / "symmetric.yaml")


def test_errors_are_one_line(tmp_path) -> None:
    devices = tmp_path / "devices.yaml"
    devices.write_text("soft:\n  device: {kind: soft_bounds}\nideal:\n  device: {kind: ideal}\n")
    for name, message in (
        ("hard", "hard, allowed: soft, ideal"),
        ("ideal", "ideal: .*'ideal' has"),
    ):
        with pytest.raises(FileError, match=rf"devices.yaml: (found )?{message}"):
            main(devices, name, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(CalibrationError, match="ideal"):
        calibrate(digital(), seed=0, name="digital")


def test_a_one_sided_pair_is_measured_and_not_fitted(tmp_path) -> None:
    tile = TileConfig.parse({"preset": "PCM"})
    result = calibrate(tile, seed=0, name="pair", elements=3)
    assert result.tile == tile
    assert "not fitted" in result.note
    assert result.response["fit"].isna().all()
    trains = result.response.groupby("train").conductance
    # up pulses fill g+; down pulses fill g- until a refresh empties both
    assert trains.max()["up"] > 1.5
    assert trains.min()["down"] < -1.5
    with pytest.raises(CalibrationError, match="'one_sided' has no pulse response to fit"):
        calibrate_csv(tmp_path / "measured.csv", kind=tile, reach=0.6)
    noisy = TileConfig(device=ExpStep(dw_min_std_add=0.1))
    with pytest.raises(CalibrationError, match="dw_min_std_add cannot be fitted"):
        calibrate(noisy, seed=0, name="noisy")


def test_a_calibrated_tile_keeps_mapping_and_rule() -> None:
    entries = {"preset": "GokmenVlasov", "mixed_precision": {"transfer_every": 2},
               "mapping": {"weight_scaling_omega": 0.6}}  # fmt: skip
    tile = TileConfig.parse(entries)
    fitted = calibrate(tile, seed=0, name="mp", elements=8).tile
    assert fitted.device != tile.device
    assert (fitted.mixed_precision, fitted.mapping) == (tile.mixed_precision, tile.mapping)
    assert TileConfig.parse(yaml.safe_load(fitted.dump())) == fitted
