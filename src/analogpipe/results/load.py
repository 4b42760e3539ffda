"""Results on disk as tables, for notebooks and scripts."""

from pathlib import Path
from typing import Any

import pandas as pd

from analogpipe.files import FileError
from analogpipe.profile.profile import METRICS
from analogpipe.results.run import FinishedRun, find, read, read_schedule
from analogpipe.schedule.table import Schedule


def load_run(folder: str | Path) -> FinishedRun:
    """Read one finished run: its configuration, record, metrics and schedule. Raises FileError."""
    return read(Path(folder))


def load_runs(root: str | Path) -> pd.DataFrame:
    """Return the metrics of all finished runs below ``root``, a row per run and epoch.

    Columns: folder (for :func:`load_run`), dataset, model, device, mode, stages, seed,
    learning_rate, then those of metrics.csv. The runs are those that were trained: one with
    ``stages`` 1 stands for all stage counts of a mode whose weights do not depend on them.

    Raises:
        FileError: there is no finished run, or one cannot be read.
    """
    frames = []
    for folder in find(Path(root)):
        run = read(folder)
        config = run.config
        head: dict[str, Any] = {
            "folder": str(folder),
            "dataset": config.dataset.name,
            "model": config.model.name,
            "device": config.device,
            "mode": config.mode.name,
            "stages": config.stages,
            "seed": config.seed,
            "learning_rate": config.learning_rate,
        }
        frames.append(run.metrics.assign(**head)[[*head, *METRICS]])
    if not frames:
        raise FileError(f"{root}: found no finished run below it")
    return pd.concat(frames, ignore_index=True)


def load_schedule(path: str | Path) -> Schedule:
    """Read and check a table of actions as text (a run's ``schedule.txt``, or your own).

    Raises:
        FileError: the file cannot be read.
        ScheduleError: the table cannot run; names the slot that is wrong.
    """
    return read_schedule(Path(path))


def load_table(root: str | Path, name: str) -> pd.DataFrame:
    """Return a table that the workflow wrote for a profile, ``ROOT/tables/NAME.csv``.

    Raises:
        FileError: it is not there, or is no table.
    """
    path = Path(root) / "tables" / f"{name}.csv"
    if not path.is_file():
        there = ", ".join(sorted(table.stem for table in path.parent.glob("*.csv"))) or "none"
        raise FileError(f"{path}: no such table, there are: {there}")
    try:
        return pd.read_csv(path)
    except (OSError, ValueError) as error:
        reason = next(iter(str(error).splitlines()), "")
        raise FileError(f"{path}: cannot be read: {reason}") from None


def load_claims(root: str | Path) -> pd.DataFrame:
    """Return the claims of a profile as judged: claim, device, measure, expected, measured, low, high,
    verdict. Raises FileError."""
    return load_table(root, "claims")
