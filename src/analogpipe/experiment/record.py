"""The files of a finished run: its metrics, its schedule, and run.json, which says what made them."""

import json
import shutil
from pathlib import Path

import pandas as pd

from analogpipe.experiment import provenance
from analogpipe.experiment.course import Course
from analogpipe.experiment.evaluation import Tested
from analogpipe.files import write_json, write_text
from analogpipe.hardware.layers import Stage
from analogpipe.hardware.record import to_record
from analogpipe.profile.profile import CURVE, METRICS, Run
from analogpipe.schedule.table import Schedule
from analogpipe.schedule.text import to_text


def write(
    run: Run, schedule: Schedule, course: Course, tested: Tested, network: list[Stage], out: Path
) -> None:
    """Write ``schedule.txt``, ``metrics.csv``, ``curve.csv``, ``tested.csv`` and ``run.json`` (see train).

    ``network`` are its blocks with the pulses that they sent (see events). run.json comes last and says
    that the run is complete. Raises FileError for a file that cannot be written.
    """
    samples = pd.DataFrame({"loss": tested.losses, "accuracy": tested.accuracies})
    tables = {
        "metrics": pd.DataFrame(course.rows, columns=list(METRICS)),
        "curve": pd.DataFrame(course.curve, columns=list(CURVE)),
        "tested": samples.rename_axis("sample").reset_index().astype({"loss": "float32"}),
    }
    write_text(out / "schedule.txt", to_text(schedule))
    for name, table in tables.items():
        write_text(out / f"{name}.csv", table.to_csv(index=False))
    write_json(
        out / "run.json",
        {
            "config": json.loads(run.model_dump_json()),
            "cycles": schedule.cycles,
            "density": schedule.density,
            "micro_batches": schedule.micro_batches,
            "wall_seconds": round(course.seconds, 3),
            "network": to_record(network),
            **provenance.environment(run.compute.device),
        },
    )


def remove(out: Path) -> None:
    """Remove a run, finished or not, from its folder."""
    for name in ("run.json", "metrics.csv", "curve.csv", "tested.csv", "schedule.txt"):
        (out / name).unlink(missing_ok=True)
    shutil.rmtree(out / "checkpoints", ignore_errors=True)
