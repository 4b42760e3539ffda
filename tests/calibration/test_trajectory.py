"""Calibration of noisy measurements: fits of whole trajectories."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from analogpipe.calibration.calibrate import CalibrationError, calibrate, calibrate_csv
from analogpipe.calibration.likelihood import fit_array
from analogpipe.calibration.measure import Measurement
from analogpipe.calibration.trajectory import LINE, Trajectory
from analogpipe.device.parameters import (
    ConstantStep,
    ExpStep,
    LinearStep,
    PowStep,
    Pulsed,
    SoftBounds,
    SoftBoundsReference,
)
from analogpipe.device.response import draw
from analogpipe.seeds import generator
from analogpipe.tile.config import TileConfig

ALIKE = {"dw_min_dtod": 0.0, "w_max_dtod": 0.0, "w_min_dtod": 0.0, "up_down_dtod": 0.0}
SOFT = SoftBounds(dw_min=0.002, w_max=0.9, w_min=-0.9, **ALIKE)


def _pulsed(
    device: Pulsed, sign: np.ndarray, start: float, read: float, elements: int, seed: int = 0
) -> np.ndarray:
    """Readings (pulses + 1, elements) of an array under pulses of the given ``sign``."""
    response = draw(device, (1, elements), generator(seed, "trajectory"))
    stream = generator(seed, "trajectory", "pulses")
    weight = torch.full((1, elements), start).clamp(response.low, response.high)
    values = [weight[0].numpy().copy()]
    for up in sign > 0:
        response.pulse(weight, torch.tensor(bool(up)), stream)
        values.append(weight[0].numpy().copy())
    noise = np.random.default_rng(seed).standard_normal((len(values), elements))
    return np.array(values, dtype=np.float64) + read * noise


def _train(up: int, down: int) -> np.ndarray:
    return np.concatenate([np.ones(up), -np.ones(down)])


def _measurement(values: np.ndarray, sign: np.ndarray) -> Measurement:
    up = sign > 0
    return Measurement(values[:-1], values[1:], up, np.where(up, 0, 1).astype(np.int64))


def _written(folder: Path, values: np.ndarray, sign: np.ndarray) -> Path:
    count, elements = values.shape
    table = pd.DataFrame(
        {
            "pulse": np.tile(np.arange(count), elements),
            "polarity": np.tile(np.append(0, sign), elements),
            "conductance": values.T.ravel(),
            "element": np.repeat(np.arange(elements), count),
        }
    )
    table.to_csv(folder / "mine.csv", index=False)
    return folder / "mine.csv"


@pytest.mark.parametrize("elements", [1, 32])
@pytest.mark.parametrize("read", [0.0, 0.03, 0.08])
def test_read_noise_biases_no_parameter(tmp_path, elements: int, read: float) -> None:
    """Case 1: the steps of single pulses are far below the noise of a reading."""
    sign = _train(1000, 1000)
    values = _pulsed(SOFT, sign, -0.7, read, elements)
    path = _written(tmp_path, values, sign)
    result = calibrate_csv(path, kind=TileConfig(device=SOFT))
    table = result.summary.set_index("parameter")
    for name in ("dw_min", "dw_min_std", "up_down", "w_max", "w_min"):
        row = table.loc[name]
        assert abs(row.fitted - getattr(SOFT, name)) < 3.5 * row.std_error, (name, row)
    # and they say something
    assert table.std_error["w_max"] < 0.04
    assert table.std_error["dw_min"] < 0.0002
    assert table.fitted["read_noise"] == pytest.approx(read, rel=0.1, abs=1e-4)
    if elements == 1:
        for name in ("dw_min_dtod", "w_max_dtod", "up_down_dtod"):
            assert "one element" in table.note[name]
            assert name in result.note


def _coverage(read: float, repeats: int, sign: np.ndarray, seed: int = 1) -> dict[str, float]:
    """Part of single elements whose parameters lie in their 95 % intervals."""
    values = _pulsed(SOFT, sign, -0.7, read, repeats, seed)
    true = {"s_up": 0.002, "s_down": 0.002, "b_max": 0.9, "b_min": -0.9}
    inside = dict.fromkeys([*true, "noise", "read"], 0)
    for column in values.T:
        found = fit_array("soft_bounds", _measurement(column[:, None], sign), additive=False)
        (fit,) = found.elements
        errors = np.sqrt(np.diag(fit.covariance))
        for (name, value), mine, error in zip(true.items(), fit.theta, errors, strict=True):
            inside[name] += abs(mine - value) < 1.96 * error
        inside["noise"] += abs(found.pulse.value - 0.3) < 1.96 * found.pulse.error
        inside["read"] += abs(found.read.value - read) < 1.96 * found.read.error
    return {name: count / repeats for name, count in inside.items()}


def test_errors_are_honest() -> None:
    inside = _coverage(0.03, 40, _train(500, 500))
    # 40 intervals of 95 %: fewer than 33 hold the truth in 1 of 5,000 measurements
    assert min(inside.values()) >= 33 / 40, inside


@pytest.mark.slow
@pytest.mark.parametrize("read", [0.03, 0.08])
def test_intervals_cover_what_they_say(read: float) -> None:
    inside = _coverage(read, 200, _train(1000, 1000))
    # next to read noise of 130 times that of a pulse the latter is told to a factor of 2: its interval
    # is wide
    known = {name: part for name, part in inside.items() if name != "noise" or read < 0.05}
    assert all(0.90 <= part <= 0.985 for part in known.values()), inside
    assert inside["noise"] >= 0.90


@pytest.mark.parametrize(
    "device",
    [
        ConstantStep(dw_min=0.01),
        LinearStep(dw_min=0.01, gamma_up=0.5, gamma_down=0.3),
        SoftBounds(dw_min=0.01),
        SoftBoundsReference(dw_min=0.01),
        ExpStep(dw_min=0.01),
        PowStep(dw_min=0.015, pow_gamma=1.5),
    ],
    ids=lambda device: device.kind,
)
def test_every_device_type_is_found_through_read_noise(tmp_path, device: Pulsed) -> None:
    sign = np.tile(_train(200, 200), 2)
    path = _written(tmp_path, _pulsed(device, sign, 0.0, 0.02, 24), sign)
    table = calibrate_csv(path, kind=TileConfig(device=device)).summary
    table = table[table.note == ""].set_index("parameter")
    assert {"dw_min", "w_max", "w_min", "dw_min_std"} <= set(table.index)
    for name, row in table.iterrows():
        if device.kind == "soft_bounds_reference" and str(name).startswith("up_down"):
            continue  # the reference moves the weight at which steps are compared
        assert abs(row.fitted - getattr(device, str(name))) < 4 * row.std_error, (name, row)


def test_the_filter_predicts_as_the_exact_recursion() -> None:
    """Constant steps far from bounds: a random walk with drift, whose likelihood is that of one normal
    vector."""
    rng = np.random.default_rng(0)
    sign = _train(6, 5)
    readings = rng.standard_normal(12) * 0.05
    path = Trajectory(readings, sign, LINE, additive=True, soft=False)
    step, pulse, read = 0.1, 0.03, 0.04
    phi = np.array([np.log(step)] * 2 + [0.0] * 4 + [9.0, -9.0, np.log(pulse / step)])
    phi = np.append(phi, np.log(read) - phi[8])
    # readings after the first, given it: mean drift, covariance of the walk and of both readings
    times = np.arange(1, 12)
    covariance = pulse**2 * np.minimum.outer(times, times) + read**2 * (1 + np.eye(11))
    rest = readings[1:] - readings[0] - step * np.cumsum(sign)
    expected = -0.5 * (np.linalg.slogdet(covariance)[1] + rest @ np.linalg.solve(covariance, rest))
    assert path.log_likelihood(phi) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("dw_min", [0.024, 0.05])
def test_power_devices_of_few_states(dw_min: float) -> None:
    device = PowStep(dw_min=dw_min, pow_gamma=1.5, pow_gamma_dtod=0, dw_min_dtod=0.05)
    table = calibrate(TileConfig(device=device), seed=0, name="power", elements=64).summary
    for _, row in table[table.note == ""].iterrows():
        assert abs(row.fitted - row.true) < 4 * row.std_error, row
    fitted = table.set_index("parameter").fitted
    assert fitted["w_max"] == pytest.approx(0.6, rel=0.2)
    assert fitted["dw_min"] == pytest.approx(dw_min, rel=0.2)


def test_a_bound_that_was_never_reached_is_said_to_be_unknown(tmp_path) -> None:
    device = ConstantStep(dw_min=0.002, w_max=0.9, w_min=-0.9, **ALIKE)
    sign = _train(200, 200)
    path = _written(tmp_path, _pulsed(device, sign, 0.0, 0.01, 1), sign)
    result = calibrate_csv(path, kind=TileConfig(device=device))
    notes = result.summary.set_index("parameter").note
    assert notes["w_max"] == notes["w_min"] == "undetermined: no train reached it"
    assert "w_max, w_min (no train reached it)" in result.note
    # usable: as far as the element was seen to go
    fitted = result.tile.device
    assert isinstance(fitted, ConstantStep)
    assert 0.3 < fitted.w_max < 0.5
    assert fitted.w_min <= 0


@pytest.mark.parametrize("pulses", [10, 32, 64])
@pytest.mark.parametrize(
    "kind", [ConstantStep, LinearStep, SoftBounds, SoftBoundsReference, ExpStep, PowStep]
)
def test_short_traces_give_a_device_that_can_be_trained(tmp_path, kind, pulses: int) -> None:
    from analogpipe.layer.linear import AnalogLinear

    device = kind(dw_min=1.5 / pulses, **ALIKE)
    sign = _train(pulses, pulses)
    path = _written(tmp_path, _pulsed(device, sign, -0.4, 0.03, 1, seed=pulses), sign)
    result = calibrate_csv(path, kind=TileConfig(device=device))
    layer = AnalogLinear(4, 3, result.tile, seed=0, name="layer")
    layer(torch.randn(5, 4, generator=generator(0, "x"))).square().sum().backward()
    layer.update(0.1)
    assert torch.isfinite(layer.tile.weight).all()
    for name in ("dw_min_dtod", "w_max_dtod"):
        assert name in result.note


def test_weights_that_no_device_can_have_are_refused(tmp_path) -> None:
    sign = _train(50, 50)
    path = _written(tmp_path, 5 + _pulsed(SOFT, sign, 0.0, 0.001, 1), sign)
    with pytest.raises(CalibrationError, match=r"mine.csv: weights between .*--reach") as error:
        calibrate_csv(path, kind=TileConfig(device=SOFT))
    assert "\n" not in str(error.value)
