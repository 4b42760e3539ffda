"""Two finished runs side by side, and what tells a run from others."""

import json
from typing import Any

import pandas as pd

from analogpipe.hardware.config import Hardware
from analogpipe.results.hardware import costs
from analogpipe.results.ladder import crossings
from analogpipe.results.run import FinishedRun


def summary(run: FinishedRun) -> dict[str, Any]:
    """Return what tells a run from others, and its last epoch."""
    config, last = run.config, run.metrics.iloc[-1]
    return {
        "dataset": config.dataset.name,
        "model": config.model.name,
        "device": config.device,
        "mode": config.mode.name,
        "stages": config.stages,
        "seed": config.seed,
        "learning_rate": config.learning_rate,
        "epochs": int(last["epoch"]),
        "samples": int(last["samples"]),
        "cycles": int(last["cycles"]),
        "train_loss": float(last["train_loss"]),
        "test_loss": float(last["test_loss"]),
        "test_accuracy": float(last["test_accuracy"]),
    }


def compare(
    one: FinishedRun,
    two: FinishedRun,
    target: float | None = None,
    hardware: Hardware | None = None,
) -> pd.DataFrame:
    """Compare two runs: a row per quantity, with columns quantity, one, two, ratio (two over one).

    First come the keys of the configuration that differ, without ratio. Samples and cycles are
    those to ``target``, a training loss, infinite where it was not reached; when it is not given, to the
    lowest loss that both reach. With ``hardware``, seconds and joules there are compared, too; a FileError
    is raised for a run that did not count its events.
    """
    if target is None:
        target = max(float(run.curve()["loss"].min()) for run in (one, two))
    configs = [_flat(json.loads(run.config.model_dump_json())) for run in (one, two)]
    keys = list(dict.fromkeys([*configs[0], *configs[1]]))
    rows: list[tuple[str, Any, Any, float]] = [
        (key, configs[0].get(key, ""), configs[1].get(key, ""), float("nan"))
        for key in keys
        if configs[0].get(key) != configs[1].get(key)
    ]
    results = [_results(run, target, hardware) for run in (one, two)]
    for name, first in results[0].items():
        second = results[1][name]
        rows.append((name, first, second, second / first if first else float("nan")))
    return pd.DataFrame(rows, columns=["quantity", "one", "two", "ratio"], dtype=object)


def _results(run: FinishedRun, target: float, hardware: Hardware | None) -> dict[str, float]:
    reached = crossings(run.curve(), [target]).iloc[0]
    loss = f"training loss {target:.4g}"
    found = {
        "final test accuracy": float(run.metrics["test_accuracy"].iloc[-1]),
        "best test accuracy": float(run.metrics["test_accuracy"].max()),
        "final training loss": float(run.metrics["train_loss"].iloc[-1]),
        f"samples to {loss}": float(reached["samples"]),
        f"cycles to {loss}": float(reached["cycles"]),
    }
    if hardware is not None:
        spent = costs(run, run.on_hardware(hardware, run.config.stages, run.config.split))
        part = found[f"samples to {loss}"] / spent["samples"]
        for name in ("seconds", "joules"):
            found[f"{name}, {hardware.name}"] = spent[name]
            found[f"{name} to {loss}, {hardware.name}"] = spent[name] * part
    return found


def _flat(value: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested mappings as one, with dotted keys."""
    flat: dict[str, Any] = {}
    for key, entry in value.items():
        if isinstance(entry, dict):
            flat |= _flat(entry, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = entry
    return flat
