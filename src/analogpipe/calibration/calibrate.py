"""Calibration: measure a device array by pulse trains, fit it, and write the device that training
uses."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar

from analogpipe.calibration import shape as shared_shape
from analogpipe.calibration.determined import UnusableError, in_words, undetermined, usable_device
from analogpipe.calibration.device import estimate_device, is_additive, true_parameters
from analogpipe.calibration.element import ElementFit, Estimate, fit_element
from analogpipe.calibration.formats import Format
from analogpipe.calibration.likelihood import fit_array, has_read_noise
from analogpipe.calibration.measure import (
    TRAINS,
    Measurement,
    measure,
    measure_pair,
    read_csv,
    train_length,
)
from analogpipe.calibration.model import MODELS, Array, Mask, Model
from analogpipe.calibration.posterior import estimate
from analogpipe.device.parameters import ExpStep, OneSided, PowStep, Pulsed, SoftBoundsReference
from analogpipe.device.response import draw
from analogpipe.files import write_text
from analogpipe.seeds import generator
from analogpipe.tile.config import TileConfig

ELEMENTS = 256
"""Elements that are measured and fitted."""
SHOWN = 4
"""Elements whose pulse trains are written to response.csv."""
POINTS = 200
"""About how many pulses of a train are written to response.csv (an odd stride keeps both
polarities)."""


class CalibrationError(ValueError):
    """A device that cannot be calibrated."""


@dataclass(frozen=True)
class Calibration:
    """Result: the tile with the fitted device, and the tables (see :func:`write`)."""

    tile: TileConfig
    response: pd.DataFrame
    elements: pd.DataFrame
    summary: pd.DataFrame
    note: str = ""
    """What the user should know about the result, in one line."""


def calibrate(tile: TileConfig, *, seed: int, name: str, elements: int = ELEMENTS) -> Calibration:
    """Measure and fit ``elements`` elements drawn from the device of ``tile``.

    One-sided pairs are measured, not fitted.

    Raises:
        CalibrationError: the device has no pulse response.
    """
    if isinstance(tile.device, OneSided):
        return _pair(tile, tile.device, elements, seed, name)
    device = _fittable(tile)
    truth = draw(device, (1, elements), generator(seed, name, "calibration"))
    data = measure(truth, train_length(device), seed=seed, name=name)
    true = true_parameters(truth)
    true["symmetric_point"] = truth.symmetric_point()[0].numpy()
    return fit_measurement(tile, device, data, true)


def calibrate_csv(
    path: str | Path,
    *,
    kind: str | TileConfig,
    reach: float | None = None,
    form: Format = "pulses",
) -> Calibration:
    """Fit a device type to a measured pulse response (see :func:`measure.read_csv`).

    Args:
        path: the CSV file.
        kind: the type of device, such as ``"soft_bounds"``; or a tile, whose device's type is fitted
            and whose update and read-out are kept.
        reach: weight at the ends of the measured range; None: conductances are weights.
        form: what the columns of the file are (see :mod:`analogpipe.calibration.formats`).

    Raises:
        CalibrationError: ``kind`` has no pulse response that can be fitted, or none that such weights
            can have.
        MeasurementError: the file cannot be used.
    """
    if isinstance(kind, str):
        if kind not in MODELS:
            raise CalibrationError(f"kind: found {kind!r}, allowed: {', '.join(MODELS)}")
        kind = TileConfig.parse({"device": {"kind": kind}})
    try:
        return fit_measurement(kind, _fittable(kind), read_csv(Path(path), reach, form), None)
    except UnusableError as error:
        raise CalibrationError(f"{path}: {error}") from None


def _fittable(tile: TileConfig) -> Pulsed:
    device = tile.device
    if not isinstance(device, Pulsed):
        raise CalibrationError(
            f"a device of kind {device.kind!r} has no pulse response to fit; allowed: "
            f"{', '.join(MODELS)}"
        )
    for key in ("dw_min_std_add", "dw_min_std_slope"):
        if getattr(device, key, 0.0) > 0:
            raise CalibrationError(
                f"{key} cannot be fitted; allowed: 0, found {getattr(device, key)}"
            )
    return device


def _pair(tile: TileConfig, device: OneSided, elements: int, seed: int, name: str) -> Calibration:
    """Trains of one-sided pairs, and the device as it was.

    The step of a pair depends on the states of both elements and on when they were refreshed, not
    on its weight alone: there is no response to fit and no symmetric point.
    """
    data = measure_pair(tile, train_length(device.element), elements, seed=seed, name=name)
    columns: dict[str, object] = {"element": np.arange(elements)}
    columns["high"], columns["low"] = data.after.max(axis=0), data.after.min(axis=0)
    for column in ("symmetric_point", "symmetric_point_measured"):
        columns[column] = columns[f"{column}_error"] = float("nan")
    given = {
        key: value
        for part in (device.element, device)
        for key, value in part.model_dump().items()
        if isinstance(value, float)
    }
    summary = pd.DataFrame({"parameter": given.keys(), "true": given.values()})
    summary["fitted"] = summary["std_error"] = float("nan")
    summary["note"] = ""
    note = "a one-sided pair has no response by its weight alone: measured, not fitted"
    response = _response_table(data, [], None)
    return Calibration(tile, response, pd.DataFrame(columns), summary, note)


def fit_measurement(
    tile: TileConfig, device: Pulsed, data: Measurement, true: dict[str, Array] | None
) -> Calibration:
    """Fit the type of ``device``, that of ``tile``, to a measurement; ``true``: the parameters of
    elements that were simulated without read noise, else None.

    Raises:
        UnusableError: no device of the type can have such weights.
    """
    model = MODELS[tile.device.kind]
    noisy = true is None and has_read_noise(data)
    drawn, fits, pulse, read, likely = _fits(device, data, noisy=noisy)
    table = _element_table(model, fits, data)
    if true is None:
        table["read_noise"] = read.value if read else 0.0
    else:
        for column in [*model.names, "symmetric_point"]:
            table.insert(list(table).index(column), f"{column}_true", true[column])
    estimates = estimate_device(device, drawn, pulse)
    if likely:
        estimates |= _over_all(device, likely, estimates)
    reasons = undetermined(estimates, fits, model.names)
    fitted = usable_device(device, estimates, fits)
    # the reference of an element moves the weight at which its steps are compared
    hidden = ("up_down", "up_down_dtod") if isinstance(device, SoftBoundsReference) else ()
    rows = [
        {
            "parameter": key,
            "true": float("nan") if true is None or key in hidden else getattr(device, key),
            "fitted": getattr(fitted, key),
            "std_error": estimate.error,
            "note": f"undetermined: {reasons[key]}" if key in reasons else "",
        }
        for key, estimate in estimates.items()
    ]
    if read is not None:
        rows.append(_read_noise(read))
    summary = pd.DataFrame(rows)
    note = in_words(reasons)
    response = _response_table(data, fits, model, read.value if read else 0.0)
    return Calibration(tile.model_copy(update={"device": fitted}), response, table, summary, note)


def _read_noise(read: Estimate) -> dict[str, object]:
    """The row of the noise of a reading, in weight units: of the measurement, not of the device."""
    row = {"parameter": "read_noise", "true": float("nan")}
    return row | {"fitted": read.value, "std_error": read.error, "note": "of the measurement"}


def _over_all(
    device: Pulsed, likely: tuple[ElementFit, ...], estimates: dict[str, Estimate]
) -> dict[str, Estimate]:
    """Estimates from all that a single element may be, of what has an error."""
    each = [estimate_device(device, [fit]) for fit in likely]
    return {
        name: estimate(np.array([one[name].value for one in each]))
        for name, found in estimates.items()
        if np.isfinite(found.error) and name != "dw_min_std"
    }


def _fits(
    device: Pulsed, data: Measurement, *, noisy: bool
) -> tuple[
    list[ElementFit],
    list[ElementFit],
    Estimate | None,
    Estimate | None,
    tuple[ElementFit, ...],
]:
    """Elements as draws from their population and as found, noise of a pulse, if common, and of a
    reading, and what a single element may be.

    Where the weight before each pulse is known the steps tell all. Trajectories are fitted where it is
    not, and where few steps bend much (power devices).
    """
    kind = str(getattr(device, "kind"))  # noqa: B009 (each subclass declares its own literal)
    additive = is_additive(device)
    if noisy or isinstance(device, PowStep):
        whole = fit_array(kind, data, additive=additive, exact=not noisy)
        return whole.drawn, whole.elements, whole.pulse, whole.read if noisy else None, whole.likely
    if isinstance(device, ExpStep):
        fits = shared_shape.fit_elements(data)
    else:
        fits = [
            fit_element(MODELS[kind], before, after, data.up, additive=additive)
            for before, after in zip(data.before.T, data.after.T, strict=True)
        ]
    return fits, fits, None, None, ()


def _element_table(model: Model, fits: list[ElementFit], data: Measurement) -> pd.DataFrame:
    """One row per element: fitted parameters with standard errors, and the symmetric point, fitted
    and as measured."""
    columns: dict[str, object] = {"element": np.arange(len(fits))}
    for i, name in enumerate(model.names):
        columns[name] = np.array([fit.theta[i] for fit in fits])
        columns[f"{name}_error"] = np.array([fit.covariance[i, i] ** 0.5 for fit in fits])
    columns["high"] = np.array([fit.high for fit in fits])
    columns["low"] = np.array([fit.low for fit in fits])
    columns["noise"] = np.array([fit.noise for fit in fits])
    columns["noise_error"] = np.array([fit.noise_error for fit in fits])
    columns["symmetric_point"] = np.array([fit.symmetric_point for fit in fits])
    columns["symmetric_point_error"] = np.array([fit.symmetric_point_error for fit in fits])
    value, error = _measured_points(model, fits, data)
    columns["symmetric_point_measured"] = value
    columns["symmetric_point_measured_error"] = error
    return pd.DataFrame(columns)


def _measured_points(
    model: Model, fits: list[ElementFit], data: Measurement
) -> tuple[Array, Array]:
    """Mean of the last third of the alternating train, and its standard error.

    Around its symmetric point an element walks back at a rate ``kappa`` per pulse, with the noise
    of a pulse ``v``: an Ornstein-Uhlenbeck process, whose mean over ``n`` pulses has the variance
    ``v / (kappa^2 n) (1 - (1 - exp(-kappa n)) / (kappa n))``. What is left of the way from the
    start counts as an error too.
    """
    alternating = np.flatnonzero(data.train == TRAINS.index("alternating"))
    if len(alternating) < 30:
        return np.full(len(fits), np.nan), np.full(len(fits), np.nan)
    last = alternating[-(len(alternating) // 3) :]
    value = ((data.before[last] + data.after[last]) / 2).mean(axis=0)
    error = np.empty(len(fits))
    both = np.array([True, False])
    for i, fit in enumerate(fits):
        point = fit.symmetric_point
        if not np.isfinite(point):
            value[i] = error[i] = np.nan
            continue
        around = np.array([point - 1e-4, point + 1e-4])
        lower, upper = (model.step(fit.theta, np.full(2, w), both) for w in around)
        kappa = float(((upper - lower) @ (-1.0, 1.0)) / 2e-4 / 2)
        v = (fit.noise * float(model.step(fit.theta, np.full(2, point), both).mean())) ** 2
        n = kappa * len(last)
        noise = v / kappa / n * (1 + np.expm1(-n) / n)
        start = data.before[alternating[0], i] - point
        transient = start * np.exp(-kappa * (last[0] - alternating[0])) * -np.expm1(-n) / n
        error[i] = np.sqrt(noise + transient**2)
    return value, error


def _response_table(
    data: Measurement, fits: list[ElementFit], model: Model | None, read: float = 0.0
) -> pd.DataFrame:
    """Trains of the first elements, with the noise-free train of the fitted element from the same
    start (nan without a model)."""
    frames = []
    for element in range(min(SHOWN, data.before.shape[1])):
        for index, train in enumerate(TRAINS):
            rows = np.flatnonzero(data.train == index)
            if not len(rows):
                continue
            start = data.before[rows[0], element]
            conductance = np.append(start, data.after[rows, element])
            fit = np.full(len(rows) + 1, np.nan)
            if model is not None:
                # a train that was interrupted begins anew
                anew = data.before[rows[1:], element] != data.after[rows[:-1], element]
                for part in np.split(np.arange(len(rows)), np.flatnonzero(anew) + 1):
                    known = np.append(data.before[rows[part[0]], element], conductance[part + 1])
                    ends = _train(model, fits[element], known, data.up[rows[part]], read)
                    fit[part + 1] = ends[1:]
                    if part[0] == 0:
                        fit[0] = ends[0]
            stride = len(rows) // POINTS | 1
            frames.append(
                pd.DataFrame(
                    {
                        "element": element,
                        "train": train,
                        "pulse": np.arange(len(rows) + 1),
                        "polarity": np.append(0, np.where(data.up[rows], 1, -1)),
                        "conductance": conductance,
                        "fit": fit,
                    }
                ).iloc[::stride]
            )
    return pd.concat(frames, ignore_index=True)


def _train(model: Model, fit: ElementFit, readings: Array, up: Mask, read: float) -> Array:
    """Weights of the fitted element before and after each pulse, without noise, from the first reading;
    where ``read`` noise makes that one doubtful, from where all readings are met best."""

    def weights(start: float) -> Array:
        w = np.array(start)
        passed = [start]
        for is_up in up:
            w = w + (1 if is_up else -1) * model.step(fit.theta, w, np.array(is_up))
            w = np.clip(w, fit.low, fit.high)
            passed.append(float(w))
        return np.array(passed)

    first = float(readings[0])
    if read == 0:
        return weights(first)
    best = minimize_scalar(
        lambda start: float(np.sum((weights(start) - readings) ** 2)),
        bounds=(first - 4 * read, first + 4 * read),
        method="bounded",
    )
    return weights(float(best.x))


def write(calibration: Calibration, out: Path) -> None:
    """Write device.yaml, response.csv, elements.csv and summary.csv into ``out``, each whole or not
    at all.

    response.csv holds the first SHOWN elements; polarity is 1 (up), -1 (down) or 0 (the value
    before the train).
    """
    write_text(out / "response.csv", calibration.response.to_csv(index=False, float_format="%.6g"))
    write_text(out / "elements.csv", calibration.elements.to_csv(index=False, float_format="%.6g"))
    write_text(out / "summary.csv", calibration.summary.to_csv(index=False, float_format="%.6g"))
    write_text(out / "device.yaml", calibration.tile.dump())
