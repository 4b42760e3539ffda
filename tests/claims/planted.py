"""Runs of a profile that never were: their files, so that faults can be planted in them.

Losses fall as exp(-samples / scale) with a little noise of the seed, so that every claim holds; a test
changes what it wants to see fail. Nothing below the tables is touched: they are made by the library.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analogpipe.claims.evidence import Evidence
from analogpipe.experiment.copies import COLUMNS
from analogpipe.profile.paths import run_folder
from analogpipe.profile.profile import SYMMETRIC, Profile, load_devices
from analogpipe.results import pairs
from analogpipe.results.hardware import collect as prices
from analogpipe.results.tables import collect
from analogpipe.schedule.table import build
from run_snakemake import ROOT

SEEDS, EPOCHS, PER_EPOCH, TESTS = 6, 3, 40, 400
"""Seeds, epochs, micro-batches of 8 in each, test samples."""


@dataclass
class Course:
    """How a run goes: loss exp(-samples / scale) above a floor, and the part of the test that is right."""

    scale: float = 250.0
    floor: float = 0.0
    accuracy: float = 0.9
    diverges: bool = False
    seed: int = 0


def network() -> list[dict[str, Any]]:
    """Return the record of three equal layers, as run.json has it."""
    layer = {"kind": "linear", "inputs": 64, "outputs": 64, "mean_pulses": 5.0}
    return [{"layers": [layer], "sent": 64} for _ in range(3)]


@dataclass
class Planted:
    """The run files of a profile below ``root``; ``course`` says how the run of a key goes."""

    profile: Profile
    root: Path
    course: Callable[[str, str, int, float, int], Course]

    def evidence(self) -> Evidence:
        """Write the runs and return what the claims are judged by."""
        for device, mode, stages, rate, seed in self.profile.trained_runs():
            folder = run_folder(self.root, self.profile, device, mode, stages, rate, seed)
            self._write(folder, device, mode, stages, rate, seed)
        tables = collect(self.root, self.profile)
        hardware = prices(self.root, self.profile)
        schedules = pd.DataFrame(
            [(0, "F", 0), (1, "B", 0), (1, "U", 0), (2, "F", 1), (3, "B", 1), (3, "U", 1)],
            columns=["clock", "action", "version"],
        ).assign(mode="async", stages=1, stage=1)
        modes = list(self.profile.modes)
        weights = pd.DataFrame({"mode": modes, "in_place": True, "compared": 9, "deviation": 1e-7})
        return Evidence(
            self.profile,
            schedules,
            weights,
            tables["tables/runs"],
            pairs.differences(self.root, self.profile),
            pairs.ratios(self.profile, tables["tables/ladder"], hardware),
            pairs.losses(tables["tables/runs"], self.profile),
            copies(self.profile),
        )

    def _write(
        self, folder: Path, device: str, mode: str, stages: int, rate: float, seed: int
    ) -> None:
        course = self.course(device, mode, stages, rate, seed)
        noise = np.random.default_rng(1000 * course.seed + len(mode) + stages)
        scale = course.scale * (1 + 0.01 * noise.standard_normal())
        size = self.profile.micro_batch(mode)
        total = EPOCHS * PER_EPOCH * 8 // size
        samples = np.linspace(0, total * size, 4 * EPOCHS + 1).astype(int)
        loss = 2.3 * np.exp(-samples / scale) + course.floor
        loss[0] = 2.3 + 0.01 * course.seed  # the same network, read on the same samples
        if course.diverges:
            loss[3:] = np.nan
        schedule = build(
            self.profile.modes[mode].schedule, stages, total, self.profile.modes[mode].mini_batch
        )
        ends = np.concatenate([[0], schedule.finished()])
        curve = pd.DataFrame({"samples": samples, "cycles": ends[samples // size], "loss": loss})
        right = np.random.default_rng(seed).random(TESTS) < course.accuracy
        tested = pd.DataFrame(
            {"sample": range(TESTS), "loss": 1.0 - right, "accuracy": right.astype(float)}
        )
        metrics = curve.iloc[4::4].rename(columns={"loss": "train_loss"})
        metrics.insert(0, "epoch", range(1, EPOCHS + 1))
        metrics = metrics.assign(test_loss=1.0, test_accuracy=right.mean())
        name = device.removesuffix(SYMMETRIC)
        tile = load_devices(ROOT / "config" / "devices.yaml").get(name)
        run = self.profile.run(device, mode, stages, seed, tile=tile, rate=rate)
        record = {
            "config": json.loads(run.model_dump_json()),
            "micro_batches": total,
            "network": network(),
        }
        folder.mkdir(parents=True, exist_ok=True)
        for table, rows in (("curve", curve), ("tested", tested), ("metrics", metrics)):
            rows.to_csv(folder / f"{table}.csv", index=False)
        (folder / "run.json").write_text(json.dumps(record))


def copies(profile: Profile) -> pd.DataFrame:
    """Return a table of copies that take 500 training steps."""
    rows = [
        {**dict.fromkeys(COLUMNS, 1.0), "device": device, "seed": seed, "reached": True,
         "hardware": "rpu", "inputs": "columns", "steps_in_time": 500.0 + seed}
        for device in profile.analog_devices
        for seed in profile.seeds
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=list(COLUMNS))
