"""Finished runs on disk, one folder each, wherever they are: find, read, compare."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from analogpipe.files import FileError
from analogpipe.profile.profile import Run
from analogpipe.results.tables import to_target
from analogpipe.schedule.table import Schedule
from analogpipe.schedule.text import from_text
from analogpipe.settings import checked

METRICS = ("epoch", "samples", "cycles", "train_loss", "test_loss", "test_accuracy")


@dataclass(frozen=True)
class FinishedRun:
    """What a run wrote: its configuration, its record (run.json) and its metrics, a row per epoch."""

    folder: Path
    config: Run
    record: dict[str, Any]
    metrics: pd.DataFrame

    def schedule(self) -> Schedule:
        """Return the schedule that was executed. Raises FileError or ScheduleError."""
        return read_schedule(self.folder / "schedule.txt")


def find(root: Path) -> list[Path]:
    """Return the folders of all finished runs below ``root``, sorted."""
    return sorted(path.parent for path in root.rglob("run.json"))


def read(folder: Path) -> FinishedRun:
    """Read one run. Raises FileError, in one line, when the folder holds no finished run."""
    try:
        record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        metrics = pd.read_csv(folder / "metrics.csv")
    except OSError as error:
        raise FileError(f"{folder}: no finished run: {error.strerror}: {error.filename}") from None
    except (ValueError, RecursionError) as error:
        raise FileError(
            f"{folder}: no finished run: {next(iter(str(error).splitlines()), '')}"
        ) from None
    if not isinstance(record, dict) or not isinstance(record.get("config"), dict):
        raise FileError(f"{folder}/run.json: found no config in it")
    missing = [name for name in METRICS if name not in metrics]
    if missing or metrics.empty:
        what = f"no column {missing[0]}" if missing else "no epoch"
        raise FileError(f"{folder}/metrics.csv: found {what}")
    for name in METRICS:
        kind = "iu" if name in ("epoch", "samples", "cycles") else "iuf"
        if metrics[name].dtype.kind not in kind:
            raise FileError(
                f"{folder}/metrics.csv: column {name} holds something else than numbers"
            )
    return FinishedRun(folder, checked(Run, record["config"], folder / "run.json"), record, metrics)


def read_schedule(path: Path) -> Schedule:
    """Read and check a schedule table as text. Raises FileError or ScheduleError."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise FileError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise FileError(f"{path}: cannot be read: is not UTF-8 text") from None
    return from_text(text)


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


def compare(one: FinishedRun, two: FinishedRun, target: float | None = None) -> pd.DataFrame:
    """Compare two runs: a row per quantity, with columns quantity, one, two, ratio (two over one).

    First come the keys of the configuration that differ, without ratio. Samples and cycles are
    those to ``target``, a test accuracy, NaN where it was not reached; when it is not given, to the
    highest accuracy that both reach.
    """
    if target is None:
        target = min(run.metrics["test_accuracy"].max() for run in (one, two))
    configs = [_flat(json.loads(run.config.model_dump_json())) for run in (one, two)]
    keys = list(dict.fromkeys([*configs[0], *configs[1]]))
    rows: list[tuple[str, Any, Any, float]] = [
        (key, configs[0].get(key, ""), configs[1].get(key, ""), float("nan"))
        for key in keys
        if configs[0].get(key) != configs[1].get(key)
    ]
    results = [_results(run, target) for run in (one, two)]
    for name, first in results[0].items():
        second = results[1][name]
        rows.append((name, first, second, second / first if first else float("nan")))
    return pd.DataFrame(rows, columns=["quantity", "one", "two", "ratio"], dtype=object)


def _results(run: FinishedRun, target: float) -> dict[str, float]:
    metrics = run.metrics.assign(device="", mode="", stages=0, seed=0)
    reached = to_target(metrics, target).iloc[0]
    return {
        "final test accuracy": float(run.metrics["test_accuracy"].iloc[-1]),
        "best test accuracy": float(run.metrics["test_accuracy"].max()),
        "final training loss": float(run.metrics["train_loss"].iloc[-1]),
        f"samples to {target:.4g}": float(reached["samples"]),
        f"cycles to {target:.4g}": float(reached["cycles"]),
    }


def _flat(value: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested mappings as one, with dotted keys."""
    flat: dict[str, Any] = {}
    for key, entry in value.items():
        if isinstance(entry, dict):
            flat |= _flat(entry, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = entry
    return flat
