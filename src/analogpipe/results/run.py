"""Finished runs on disk, one folder each, wherever they are: find and read."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from analogpipe.files import FileError
from analogpipe.hardware.config import Hardware
from analogpipe.hardware.layers import LayerError, Stage, cut
from analogpipe.hardware.record import from_record
from analogpipe.hardware.run import OnHardware
from analogpipe.profile.profile import CURVE, METRICS, TESTED, Run
from analogpipe.profile.rule import of_tile
from analogpipe.schedule.table import Schedule
from analogpipe.schedule.text import from_text
from analogpipe.settings import checked


@dataclass(frozen=True)
class FinishedRun:
    """What a run wrote: its configuration, its record (run.json) and its metrics, a row per epoch."""

    folder: Path
    config: Run
    record: dict[str, Any]
    metrics: pd.DataFrame

    def curve(self) -> pd.DataFrame:
        """Return the readings of the training loss, columns CURVE. Raises FileError."""
        return self._table("curve", CURVE)

    def tested(self) -> pd.DataFrame:
        """Return loss and accuracy of each test sample, columns TESTED. Raises FileError."""
        return self._table("tested", TESTED)

    def _table(self, name: str, columns: Sequence[str]) -> pd.DataFrame:
        path = self.folder / f"{name}.csv"
        try:
            table = pd.read_csv(path)
        except (OSError, ValueError) as error:
            raise FileError(f"{path}: cannot be read: {str(error).splitlines()[0]}") from None
        if list(table.columns) != list(columns) or table.empty:
            raise FileError(f"{path}: found columns {list(table.columns)}, allowed: {columns}")
        return table

    def schedule(self) -> Schedule:
        """Return the schedule that was executed. Raises FileError or ScheduleError."""
        return read_schedule(self.folder / "schedule.txt")

    def network(self) -> list[Stage]:
        """Return the blocks of the network with the pulses that the run has sent, for the cost model.

        Raises FileError for a run of a version that did not count them.
        """
        found = self.record.get("network")
        try:
            if not isinstance(found, list):
                raise LayerError(
                    "found no network in it, the run is of a version without; run it anew"
                )
            return from_record(found)
        except LayerError as error:
            raise FileError(f"{self.folder}/run.json: {error}") from None

    def on_hardware(
        self, hardware: Hardware, stages: int, split: Sequence[int] | None
    ) -> OnHardware:
        """Return the network of the run, in so many stages, on an accelerator; a digital run as if its
        layers were in arrays that learn by plain pulses, of the accelerator's length.

        Raises FileError, PartitionError, or RuleError where the update rule has no costs.
        """
        cut_up = cut(self.network(), stages, split)
        return OnHardware(
            cut_up, of_tile(self.config.tile), hardware, self.config.training.micro_batch
        )


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
