"""One training run: data, network, pipeline, the metrics of each epoch, checkpoints."""

import json
import shutil
from pathlib import Path

import pandas as pd

from analogpipe.experiment import data, provenance
from analogpipe.experiment.course import Course
from analogpipe.experiment.evaluation import evaluate
from analogpipe.experiment.resume import Others
from analogpipe.experiment.run import make_pipeline
from analogpipe.files import write_json, write_text
from analogpipe.pipeline.processes import is_leader
from analogpipe.profile.profile import METRICS, Run
from analogpipe.schedule.table import Schedule
from analogpipe.schedule.text import to_text


def train(
    run: Run,
    out: Path,
    file: Path | None = None,
    *,
    others: Others = "refuse",
    keep: bool = False,
) -> None:
    """Train and write ``metrics.csv`` (columns METRICS, a row per epoch), ``run.json`` and ``schedule.txt``.

    An epoch's row is taken at the clock at which stage 1 has finished the epoch's last
    micro-batch, from the weights as they are at that clock: nothing waits for it. ``file`` holds the
    data set (see data.load). A run that was killed goes on from its last checkpoint and writes the
    same bytes, wherever that was. ``others`` says what becomes of checkpoints of another run in
    ``out`` (see resume); ``keep`` leaves one from which this run can be extended.

    Raises FileError where there are such checkpoints, which stay, and for a file that cannot be
    written, e.g. on a full disk; the last checkpoint stays.
    """
    samples = data.load(run.dataset, validation=run.validation, file=file)
    size = run.training.micro_batch
    per_epoch = len(samples.train_targets) // size
    pipeline = make_pipeline(run, samples, per_epoch * run.training.epochs)
    ends = pipeline.schedule.finished()
    with Course(run, samples, pipeline, out / "checkpoints", others=others, keep=keep) as course:
        while not course.finished:
            first, last = course.next()
            clock = int(ends[last - 1])
            pipeline.run(until=clock)
            course.trained(last, pipeline.mean_loss(first, last))
            if last % per_epoch == 0:
                row = {"epoch": last // per_epoch, "samples": last * size, "cycles": clock}
                loss = pipeline.mean_loss(last - per_epoch, last)
                course.evaluated({**row, "train_loss": loss, **evaluate(pipeline, samples)})
            course.pause()
    pipeline.run()
    pipeline.close()
    if is_leader():
        _write(run, pipeline.schedule, course, out)
        course.clear()


def remove(out: Path) -> None:
    """Remove a run, finished or not, from its folder."""
    for name in ("run.json", "metrics.csv", "schedule.txt"):
        (out / name).unlink(missing_ok=True)
    shutil.rmtree(out / "checkpoints", ignore_errors=True)


def _write(run: Run, schedule: Schedule, course: Course, out: Path) -> None:
    """Write the files of a finished run; run.json comes last and says that it is complete."""
    metrics = pd.DataFrame(course.rows, columns=list(METRICS))
    write_text(out / "schedule.txt", to_text(schedule))
    write_text(out / "metrics.csv", metrics.to_csv(index=False))
    write_json(
        out / "run.json",
        {
            "config": json.loads(run.model_dump_json()),
            "cycles": schedule.cycles,
            "density": schedule.density,
            "micro_batches": schedule.micro_batches,
            "wall_seconds": round(course.seconds, 3),
            **provenance.environment(run.compute.device),
        },
    )
