"""From runs to seconds and joules on hardware: one run serves every accelerator."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analogpipe.hardware.best import choices, fastest
from analogpipe.hardware.config import Hardware
from analogpipe.hardware.cost import stage as stage_cost
from analogpipe.hardware.layers import Stage, linear
from analogpipe.hardware.presets import PRESETS
from analogpipe.hardware.rules import Rule, RuleError, RuleKind
from analogpipe.hardware.run import OnHardware
from analogpipe.profile.paths import run_folder
from analogpipe.profile.profile import Profile
from analogpipe.results import layout
from analogpipe.results.run import FinishedRun, read

KEY = ["device", "mode", "stages", "seed"]
ACTIONS = ("forward", "backward", "update", "accumulate", "program")
PLANE_STAGES, PLANE_BATCH = 8, 256
"""Stages and samples of a mini-batch of the plane."""
_RULES: tuple[RuleKind, ...] = ("analog_sgd", "ttv2", "mixed_precision")


def costs(run: FinishedRun, on: OnHardware, samples: float) -> dict[str, float]:
    """Return ``seconds`` and ``joules`` of the whole run, and to so many ``samples`` of it (NaN: NaN).

    Of a sync run, to the end of the mini-batch.
    """
    mode, size = run.config.mode, run.config.training.micro_batch
    whole = on.run(mode.schedule, int(run.record["micro_batches"]), mode.mini_batch)
    found = {"seconds": whole.seconds, "joules": whole.joules}
    found |= {"seconds_to_target": np.nan, "joules_to_target": np.nan}
    if not np.isnan(samples):
        n = mode.mini_batch
        part = on.run(mode.schedule, n * max(1, int(np.ceil(samples / size / n))), n)
        found |= {"seconds_to_target": part.seconds, "joules_to_target": part.joules}
    return found


def collect(
    root: Path, profile: Profile, targets: pd.DataFrame, presets: Mapping[str, Hardware] = PRESETS
) -> pd.DataFrame:
    """Return what each run of a profile takes on each accelerator, a row per run and accelerator.

    Columns: device, mode, stages, seed, hardware, seconds, joules, target, seconds_to_target,
    joules_to_target (both empty where ``targets``, the table of samples to target, is), and of the
    stages slowest_to_mean and ceiling. A digital run stands for one whose layers are in arrays that
    learn by plain pulses, of the accelerator's length. Runs of a device whose update has no costs
    are left out. Raises FileError for a missing or unreadable run, or one without event counts.
    """
    rows = []
    known = targets[[*KEY, "target", "samples"]].itertuples(index=False, name=None)
    reached = {tuple(key): (target, samples) for *key, target, samples in known}
    for device in profile.devices:
        for mode in profile.modes:
            for stages in profile.stages:
                trained = stages if stages in profile.trained_stages(mode) else 1
                for seed in profile.seeds:
                    run = read(run_folder(root, profile, device, mode, trained, seed))
                    target, samples = reached[device, mode, stages, seed]
                    key = zip(KEY, (device, mode, stages, seed), strict=True)
                    head = {**dict(key), "target": target}
                    rows += _rows(run, presets, stages, profile, head, float(samples))
    columns = [*KEY, "hardware", "seconds", "joules", "target", "seconds_to_target",
               "joules_to_target", "slowest_to_mean", "ceiling"]  # fmt: skip
    return pd.DataFrame(rows, columns=columns)


def _rows(
    run: FinishedRun,
    presets: Mapping[str, Hardware],
    stages: int,
    profile: Profile,
    head: dict[str, Any],
    samples: float,
) -> list[dict[str, Any]]:
    rows = []
    for name, hardware in presets.items():
        try:
            on = run.on_hardware(hardware, stages, profile.splits.get(stages))
        except RuleError:
            return []
        even = on.balance()._asdict()
        rows.append({**head, "hardware": name, **costs(run, on, samples), **even})
    return rows


def by_stage(
    root: Path, profile: Profile, presets: Mapping[str, Hardware] = PRESETS
) -> pd.DataFrame:
    """Return where the time of a sample goes: a row per device, stage count, accelerator, stage and
    action, with seconds and joules.

    Pulses are those of the sequential run with the first seed; ``program`` is as without a flush,
    after each micro-batch.
    """
    rows = []
    for device in profile.devices:
        run = read(run_folder(root, profile, device, "sequential", 1, profile.seeds[0]))
        for stages in profile.stages:
            for name, hardware in presets.items():
                try:
                    on = run.on_hardware(hardware, stages, profile.splits.get(stages))
                except RuleError:
                    continue
                for m, cost in enumerate(on.costs(), start=1):
                    for action in ACTIONS:
                        one = getattr(cost, action)
                        numbers = one.seconds / on.micro_batch, one.joules / on.micro_batch
                        rows.append((device, stages, name, m, action, *numbers))
    columns = ["device", "stages", "hardware", "stage", "action", "seconds", "joules"]
    return pd.DataFrame(rows, columns=columns)


def plane(presets: Mapping[str, Hardware] = PRESETS) -> pd.DataFrame:
    """Return how much faster async is than sync, against update over read time and micro-batches to
    a flush, n.

    Stages are equal, and a mini-batch holds PLANE_BATCH samples. Rows without ``hardware`` are a
    grid, from the closed form 1 + (1 - u)(M - 1) / n. Those of an accelerator, by rule, are for its
    best sync over its best async, with stages that fill one array.
    """
    m = PLANE_STAGES
    sizes = [2**k for k in range(PLANE_BATCH.bit_length())]
    counts = sorted({round(n) for n in np.geomspace(1, PLANE_BATCH, 33)})
    grid = [
        ("", "", float(ratio), n, 1 + (m - 1) / n * 2 / (2 + float(ratio)))
        for ratio in np.geomspace(0.05, 400, 37)
        for n in counts
    ]
    for name, hardware in presets.items():
        stages = [Stage((linear(hardware.lines, hardware.lines),))] * m
        for kind in _RULES:
            rule = Rule(kind)
            best = fastest(choices(stages, rule, hardware, PLANE_BATCH, sizes=sizes))
            one = stage_cost(stages[0], 1, rule, hardware)
            ratio = (one.update.seconds + one.accumulate.seconds) / one.forward.seconds
            gain = best["sync"].seconds / best["async"].seconds
            grid.append((name, kind, ratio, best["sync"].micro_batches, gain))
    columns = ["hardware", "rule", "update_over_read", "mini_batch", "async_over_sync"]
    return pd.DataFrame(grid, columns=columns)


def tables(root: Path, profile: Profile) -> dict[str, pd.DataFrame]:
    """Return the tables layout.HARDWARE of what the workflow has run below ``root``."""
    return {
        "tables/hardware": collect(root, profile, layout.read(root, "tables/targets")),
        "tables/hardware_stages": by_stage(root, profile),
        "tables/hardware_plane": plane(),
    }
