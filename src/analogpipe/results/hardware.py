"""From runs to seconds and joules on hardware: one run serves every accelerator."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analogpipe.hardware.best import choice, choices, fastest
from analogpipe.hardware.config import Hardware
from analogpipe.hardware.cost import stage as stage_cost
from analogpipe.hardware.layers import Stage, linear
from analogpipe.hardware.presets import PRESETS
from analogpipe.hardware.rules import Rule, RuleError, RuleKind
from analogpipe.hardware.run import OnHardware
from analogpipe.profile.paths import run_folder
from analogpipe.profile.profile import COMMON, Profile
from analogpipe.results.run import FinishedRun, read
from analogpipe.results.tables import KEY, at_stages, finished
from analogpipe.schedule.modes import MODE

ACTIONS = ("forward", "backward", "update", "accumulate", "program")
PLANE_STAGES, PLANE_BATCH = 8, 256
"""Stages and samples of a mini-batch of the plane."""
_RULES: tuple[RuleKind, ...] = ("analog_sgd", "ttv2", "mixed_precision")


def costs(run: FinishedRun, on: OnHardware) -> dict[str, float]:
    """Return ``seconds`` and ``joules`` of the whole run, ``samples`` of it, and what a sample takes in a long
    run with the micro-batches that are the fastest for the same updates: ``best_micro_batch``,
    ``best_seconds``, ``best_joules``.

    Where weights change at a flush, its mini-batch may be cut in any way; elsewhere they change after
    each micro-batch, whose size stays.
    """
    mode, size = run.config.mode, run.config.training.micro_batch
    count = int(run.record["micro_batches"])
    whole = on.run(mode.schedule, count, mode.mini_batch)
    if MODE[mode.schedule].flushes:
        found = choices(
            on.stages, on.rule, on.hardware, size * mode.mini_batch, modes=[mode.schedule]
        )
        best = fastest(found)[mode.schedule]
    else:
        best = choice(mode.schedule, on.stages, on.rule, on.hardware, size)
    return {
        "seconds": whole.seconds,
        "joules": whole.joules,
        "samples": count * size,
        "best_micro_batch": best.micro_batch,
        "best_seconds": best.seconds,
        "best_joules": best.joules,
    }


def collect(
    root: Path, profile: Profile, presets: Mapping[str, Hardware] = PRESETS
) -> pd.DataFrame:
    """Return what each run of a profile takes on each accelerator, a row per run and accelerator.

    Columns: KEY, hardware, those of ``costs``, and of the stages slowest_to_mean and ceiling. A digital
    run stands for one whose layers are in arrays that learn by plain pulses, of the accelerator's length.
    Runs of a device whose update has no costs are left out. Raises FileError for a missing or unreadable
    run, or one without event counts.
    """
    rows = []
    for head, run in finished(root, profile):
        if head["device"] not in profile.devices:
            continue
        for stages in at_stages(profile, head):
            rows += _rows(run, presets, profile, {**head, "stages": stages})
    columns = [*KEY, "hardware", "seconds", "joules", "samples", "best_micro_batch", "best_seconds",
               "best_joules", "slowest_to_mean", "ceiling"]  # fmt: skip
    return pd.DataFrame(rows, columns=columns)


def _rows(
    run: FinishedRun, presets: Mapping[str, Hardware], profile: Profile, head: dict[str, Any]
) -> list[dict[str, Any]]:
    rows = []
    stages = head["stages"]
    for name, hardware in presets.items():
        try:
            on = run.on_hardware(hardware, stages, profile.splits.get(stages))
        except RuleError:
            return []
        even = on.balance()._asdict()
        rows.append({**head, "hardware": name, **costs(run, on), **even})
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
        rate = profile.learning_rates[device][COMMON]
        run = read(run_folder(root, profile, device, "sequential", 1, rate, profile.seeds[0]))
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
        "tables/hardware": collect(root, profile),
        "tables/hardware_stages": by_stage(root, profile),
        "tables/hardware_plane": plane(),
    }
