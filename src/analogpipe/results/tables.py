"""From run files to tidy tables."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analogpipe.profile.paths import run_folder
from analogpipe.profile.profile import COMMON, SYMMETRIC, Profile
from analogpipe.profile.sections import Mode
from analogpipe.results import layout
from analogpipe.results.intervals import mean_interval
from analogpipe.results.ladder import climb, finest
from analogpipe.results.run import FinishedRun, read
from analogpipe.schedule import staleness
from analogpipe.schedule.modes import cycles, density, slots_per_clock
from analogpipe.schedule.table import build

KEY = ["device", "mode", "stages", "rate", "seed"]
"""What tells the runs of a profile apart; ``rate`` is that of the grid."""


def finished(root: Path, profile: Profile) -> Iterator[tuple[dict[str, Any], FinishedRun]]:
    """Return every run of a profile with its keys (KEY). Raises FileError for a missing one."""
    for key in profile.trained_runs():
        device, mode, stages, rate, seed = key
        found = read(run_folder(root, profile, device, mode, stages, rate, seed))
        yield dict(zip(KEY, key, strict=True)), found


def at_stages(profile: Profile, head: Mapping[str, Any]) -> list[int]:
    """Return the stage counts that a run stands for: all where the count changes no weight."""
    if head["device"] not in profile.devices:
        return [1]
    depends = profile.modes[head["mode"]].weights_depend_on_stages
    return [head["stages"]] if depends else profile.stages


def collect(root: Path, profile: Profile) -> dict[str, pd.DataFrame]:
    """Return the tables ``runs``, ``curves`` and ``ladder`` of a profile.

    ``runs``: the metrics of every run, a row per epoch; columns KEY, trained_stages, start_loss (the first
    reading, before any update), density, then those of metrics.csv. ``curves``: a row per reading of the
    modes at the largest stage count and the common rate; columns device, mode, stages, rate, samples,
    finest_cycles (see LADDER), loss, least and most of the seeds. ``ladder``: a row per run and rung;
    columns KEY, then LADDER. Where the stage count does not change the weights the one trained run stands
    for every stage count, with the cycles that the schedule table of that count gives for the same
    micro-batches. Raises FileError for a missing or unreadable run.
    """
    epochs, curves, ladder = [], [], []
    for head, found in finished(root, profile):
        mode, size = profile.modes[head["mode"]], profile.micro_batch(head["mode"])
        count = found.record["micro_batches"]
        rungs = profile.ladder[head["device"].removesuffix(SYMMETRIC)]
        for stages in at_stages(profile, head):
            table = build(mode.schedule, stages, count, mode.mini_batch)
            ends = np.concatenate([[0], table.finished()])
            key = {**head, "stages": stages}
            metrics, curve = (
                rows.assign(cycles=ends[rows["samples"] // size])
                for rows in (found.metrics, found.curve())
            )
            more = {
                "trained_stages": head["stages"],
                "start_loss": float(curve["loss"].iloc[0]),
                "density": density(mode.schedule, stages, count, mode.mini_batch),
            }
            epochs.append(metrics.assign(**key, **more)[[*key, *more, *metrics.columns]])
            known = profile.learning_rates.get(head["device"], {})
            if stages == max(profile.stages) and head["rate"] == known.get(COMMON):
                counted = curve.assign(finest_cycles=finest(curve, mode, size, stages))
                curves.append(counted.assign(**key)[[*key, *counted.columns]])
            climbed = climb(curve, rungs, mode, size, stages)
            ladder.append(climbed.assign(**key)[[*key, *climbed.columns]])
    return {
        "tables/runs": pd.concat(epochs, ignore_index=True),
        "tables/curves": _over_seeds(pd.concat(curves, ignore_index=True)),
        "tables/ladder": pd.concat(ladder, ignore_index=True),
    }


def _over_seeds(curves: pd.DataFrame) -> pd.DataFrame:
    """Return the geometric mean, the least and the most of the seeds' losses at each reading."""
    keys = ["device", "mode", "stages", "rate", "samples", "finest_cycles"]
    logs = curves.assign(loss=np.log(curves["loss"])).groupby(keys, sort=False)["loss"]
    found = logs.agg(loss="mean", least="min", most="max").transform(np.exp)
    return found.reset_index()


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
    """Table 2: final test accuracy and loss per device, mode, stages and rate: mean, spread and interval
    over seeds."""
    rows = []
    for key, group in final(runs).groupby(["device", "mode", "stages", "rate"], sort=False):
        for measure in ("test_accuracy", "test_loss"):
            values = group[measure].to_numpy()
            mean, low, high = mean_interval(values)
            spread = float(np.std(values, ddof=1)) if len(values) > 1 else np.nan
            rows.append((*key, measure, len(values), mean, spread, low, high))
    columns = ["device", "mode", "stages", "rate", "measure", "seeds", "mean", "std", "low", "high"]
    return pd.DataFrame(rows, columns=columns)


def aggregate(root: Path, profile: Profile) -> dict[str, pd.DataFrame]:
    """Return the tables layout.AGGREGATED of what the workflow has run below ``root``."""
    tables = collect(root, profile)
    return {
        **tables,
        "tables/response": collect_calibration(root, profile, "response"),
        "tables/calibration": collect_calibration(root, profile, "elements"),
        "tables/table1": schedule_table(layout.read(root, "schedules/schedules"), profile),
        "tables/table2": accuracy_table(tables["tables/runs"]),
    }
