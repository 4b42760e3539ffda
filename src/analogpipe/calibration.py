"""Calibration: measure a device array by pulse trains, fit it, and write the device that training
uses.

    python -m analogpipe.calibration --devices config/devices.yaml --name NAME --seed 0 --out DIR
"""

import argparse
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from analogpipe.device_fit import fit_device, is_additive, true_parameters
from analogpipe.devices import Ideal, Pulsed
from analogpipe.element_models import MODELS, Array, Model
from analogpipe.fitting import ElementFit, fit_element
from analogpipe.measurement import (
    TRAINS,
    Measurement,
    MeasurementError,
    measure,
    read_csv,
    train_length,
)
from analogpipe.pulse_response import draw
from analogpipe.seeds import generator
from analogpipe.tile_config import TileConfig, TileConfigError, load_tiles

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


def calibrate(tile: TileConfig, *, seed: int, name: str, elements: int = ELEMENTS) -> Calibration:
    """Measure and fit ``elements`` elements drawn from the device of ``tile``.

    Raises:
        CalibrationError: the device has no pulse response to fit.
    """
    device = tile.device
    if isinstance(device, Ideal):
        raise CalibrationError(
            f"a device of kind 'ideal' has no pulses to fit; allowed: {', '.join(MODELS)}"
        )
    truth = draw(device, (1, elements), generator(seed, name, "calibration"))
    data = measure(truth, train_length(device), seed=seed, name=name)
    true = true_parameters(truth)
    true["symmetric_point"] = truth.symmetric_point()[0].numpy()
    return _fit(tile, device, data, true)


def calibrate_csv(tile: TileConfig, path: Path, reach: float | None) -> Calibration:
    """Fit the device type of ``tile`` to a measured response (:func:`measurement.read_csv`)."""
    device = tile.device
    if isinstance(device, Ideal):
        raise CalibrationError(
            f"a device of kind 'ideal' has no pulses to fit; allowed: {', '.join(MODELS)}"
        )
    return _fit(tile, device, read_csv(path, reach), None)


def _fit(
    tile: TileConfig, device: Pulsed, data: Measurement, true: dict[str, Array] | None
) -> Calibration:
    model = MODELS[tile.device.kind]
    fits = [
        fit_element(
            model,
            data.before[:, i],
            data.after[:, i],
            data.up,
            additive=is_additive(device),
            measured=true is None,
        )
        for i in range(data.before.shape[1])
    ]
    table = _element_table(model, fits, data)
    if true is not None:
        for column in [*model.names, "symmetric_point"]:
            table.insert(list(table).index(column), f"{column}_true", true[column])
    fitted, estimates = fit_device(device, fits)
    summary = pd.DataFrame(
        [
            {
                "parameter": key,
                "true": getattr(device, key) if true is not None else float("nan"),
                "fitted": estimate.value,
                "std_error": estimate.error,
            }
            for key, estimate in estimates.items()
        ]
    )
    response = _response_table(data, fits, model)
    return Calibration(tile.model_copy(update={"device": fitted}), response, table, summary)


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


def _response_table(data: Measurement, fits: list[ElementFit], model: Model) -> pd.DataFrame:
    """Trains of the first elements, with the noise-free train of the fitted element from the same
    start."""
    shown = min(SHOWN, len(fits))
    frames = []
    for element in range(shown):
        theta = fits[element].theta
        for index, train in enumerate(TRAINS):
            rows = np.flatnonzero(data.train == index)
            if not len(rows):
                continue
            w = np.array(data.before[rows[0], element])
            fit = [float(w)]
            for up in data.up[rows]:
                w = w + (1 if up else -1) * model.step(theta, w, np.array(up))
                w = np.clip(w, fits[element].low, fits[element].high)
                fit.append(float(w))
            conductance = np.append(data.before[rows[0], element], data.after[rows, element])
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


def write(calibration: Calibration, out: Path) -> None:
    """Write device.yaml, response.csv, elements.csv and summary.csv into ``out``, each whole or not
    at all.

    response.csv holds the first SHOWN elements; polarity is 1 (up), -1 (down) or 0 (the value
    before the train).
    """
    out.mkdir(parents=True, exist_ok=True)
    texts = {
        "response.csv": calibration.response.to_csv(index=False, float_format="%.6g"),
        "elements.csv": calibration.elements.to_csv(index=False, float_format="%.6g"),
        "summary.csv": calibration.summary.to_csv(index=False, float_format="%.6g"),
        "device.yaml": calibration.tile.dump(),
    }
    for name, text in texts.items():
        temporary = out / f".{name}.tmp"
        temporary.write_text(text)
        os.replace(temporary, out / name)


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m analogpipe.calibration", description=main.__doc__
    )
    parser.add_argument("--devices", type=Path, required=True, help="YAML file of named tiles")
    parser.add_argument("--name", required=True, help="tile to calibrate")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--csv", type=Path, help="fit the device type to this measurement instead")
    parser.add_argument(
        "--range",
        type=float,
        default=0.6,
        help="with --csv: weight at the ends of the measured range; 0 takes values as weights",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)  # the arrays are small
    try:
        tiles = load_tiles(options.devices)
        if options.name not in tiles:
            raise CalibrationError(
                f"no device {options.name!r} in {options.devices}; allowed: {', '.join(tiles)}"
            )
        tile = tiles[options.name]
        if options.csv is not None:
            result = calibrate_csv(tile, options.csv, options.range or None)
        else:
            result = calibrate(tile, seed=options.seed, name=options.name)
    except (CalibrationError, MeasurementError, TileConfigError) as error:
        print(f"calibration: {error}", file=sys.stderr)
        return 2
    write(result, options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
