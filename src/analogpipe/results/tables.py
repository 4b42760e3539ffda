"""From run files to tidy tables."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analogpipe.profile.paths import run_folder
from analogpipe.profile.profile import Profile
from analogpipe.profile.sections import Mode
from analogpipe.results import layout
from analogpipe.results.intervals import mean_interval
from analogpipe.results.run import read
from analogpipe.schedule import staleness
from analogpipe.schedule.modes import cycles, density, slots_per_clock
from analogpipe.schedule.table import build


def collect(root: Path, profile: Profile) -> pd.DataFrame:
    """Return the metrics of every run of a profile, a row per epoch.

    Columns: device, mode, stages, seed, trained_stages, density, then those of metrics.csv. Where the stage count
    does not change the weights the one trained run stands for every stage count, with the cycles
    that the schedule table of that count gives for the same micro-batches.
    Raises FileError for a missing or unreadable run.
    """
    frames = []
    for device in profile.devices:
        for mode, settings in profile.modes.items():
            for stages in profile.stages:
                trained = stages if stages in profile.trained_stages(mode) else 1
                for seed in profile.seeds:
                    folder = run_folder(root, profile, device, mode, trained, seed)
                    found = read(folder)
                    metrics, micro_batches = found.metrics, found.record["micro_batches"]
                    if trained != stages:
                        table = build(settings.schedule, stages, micro_batches, settings.mini_batch)
                        per_epoch = micro_batches // len(metrics)
                        metrics["cycles"] = table.finished()[per_epoch - 1 :: per_epoch]
                    head: dict[str, Any] = {
                        "device": device,
                        "mode": mode,
                        "stages": stages,
                        "seed": seed,
                        "trained_stages": trained,
                        "density": density(
                            settings.schedule, stages, micro_batches, settings.mini_batch
                        ),
                    }
                    frames.append(metrics.assign(**head)[[*head, *metrics.columns]])
    return pd.concat(frames, ignore_index=True)


def collect_calibration(root: Path, profile: Profile, name: str) -> pd.DataFrame:
    """Return one file of every calibration, with the device as first column."""
    frames = []
    for device in profile.analog_devices:
        frame = pd.read_csv(root / "calibration" / device / f"{name}.csv")
        frame.insert(0, "device", device)
        frames.append(frame)
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame({"device": []})


def final(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the last epoch of each run."""
    last: pd.DataFrame = runs.loc[runs["epoch"] == runs["epoch"].max()].reset_index(drop=True)
    return last


def to_target(runs: pd.DataFrame, target: float | Mapping[str, float]) -> pd.DataFrame:
    """Return samples and cycles to a test accuracy (of each device), a row per run; empty where it was
    not reached.

    The crossing is interpolated between the epoch that first reaches the target and the one
    before it. Where the first epoch reaches it, samples and cycles are those of that epoch, upper
    bounds, and ``resolved`` is false.
    """
    rows = []
    for key, run in runs.groupby(["device", "mode", "stages", "seed"], sort=False):
        level = target[str(key[0])] if isinstance(target, Mapping) else target
        accuracy = run["test_accuracy"].to_numpy()
        reached = np.flatnonzero(accuracy >= level)
        samples = clocks = np.nan
        if len(reached):
            at = reached[0]
            before = max(at - 1, 0)
            rise = accuracy[at] - accuracy[before]
            part = 1.0 if at == 0 else (level - accuracy[before]) / rise
            samples, clocks = (
                float(run[column].iloc[before] * (1 - part) + run[column].iloc[at] * part)
                for column in ("samples", "cycles")
            )
        rows.append((*key, level, samples, clocks, bool(len(reached) and reached[0] > 0)))
    columns = ["device", "mode", "stages", "seed", "target", "samples", "cycles", "resolved"]
    return pd.DataFrame(rows, columns=columns)


def schedule_table(executed: pd.DataFrame, profile: Profile) -> pd.DataFrame:
    """Table 1: cycles, density and staleness per mode and stages, closed form beside executed.

    ``gap`` is the largest difference between the weight versions of a micro-batch's backward and
    forward pass, over stages and micro-batches; ``in_flight`` the most micro-batches that a stage
    holds between the two.
    """
    rows = [
        _schedule_row(
            name,
            mode,
            stages,
            executed[(executed["mode"] == name) & (executed["stages"] == stages)],
        )
        for name, mode in profile.modes.items()
        for stages in profile.stages
    ]
    return pd.DataFrame(rows)


def _schedule_row(name: str, mode: Mode, stages: int, actions: pd.DataFrame) -> dict[str, Any]:
    schedule, n = mode.schedule, mode.mini_batch
    micro_batches = int(actions["micro_batch"].max()) + 1
    b, m = np.arange(micro_batches), np.arange(1, stages + 1)[:, None]
    clocks = int(actions["clock"].max()) + 1
    passes = actions[actions["action"].isin(["F", "B"])]
    versions = passes.pivot(index=["stage", "micro_batch"], columns="action", values="version")
    return {
        "mode": name,
        "stages": stages,
        "micro_batches": micro_batches,
        "mini_batch": n,
        "cycles": cycles(schedule, stages, micro_batches, n),
        "cycles_executed": clocks,
        "density": density(schedule, stages, micro_batches, n),
        "density_executed": len(passes) / (clocks * stages * slots_per_clock(schedule)),
        "gap": int(staleness.gap(schedule, stages, b, m, n).max()),
        "gap_executed": int((versions["B"] - versions["F"]).max()),
        "in_flight": int(staleness.in_flight(schedule, stages, micro_batches, n, m).max()),
        "in_flight_executed": _in_flight(passes),
    }


def _in_flight(passes: pd.DataFrame) -> int:
    """Largest number of micro-batches that any stage holds: forward passes begun less backward ended."""
    ordered = passes.sort_values(["stage", "clock", "action"], ascending=[True, True, False])
    step = ordered["action"].map({"F": 1, "B": -1})
    return int(step.groupby(ordered["stage"]).cumsum().max())


def accuracy_table(runs: pd.DataFrame) -> pd.DataFrame:
    """Table 2: final test accuracy per device, mode and stages: mean, spread and interval over seeds."""
    rows = []
    for key, group in final(runs).groupby(["device", "mode", "stages"], sort=False):
        values = group["test_accuracy"].to_numpy()
        mean, low, high = mean_interval(values)
        spread = float(np.std(values, ddof=1)) if len(values) > 1 else np.nan
        rows.append((*key, len(values), mean, spread, low, high))
    columns = ["device", "mode", "stages", "seeds", "mean", "std", "low", "high"]
    return pd.DataFrame(rows, columns=columns)


def aggregate(root: Path, profile: Profile) -> dict[str, pd.DataFrame]:
    """Return the tables layout.AGGREGATED of what the workflow has run below ``root``."""
    runs = collect(root, profile)
    return {
        "tables/runs": runs,
        "tables/targets": to_target(runs, profile.target_accuracy),
        "tables/response": collect_calibration(root, profile, "response"),
        "tables/calibration": collect_calibration(root, profile, "elements"),
        "tables/table1": schedule_table(layout.read(root, "schedules/schedules"), profile),
        "tables/table2": accuracy_table(runs),
    }
