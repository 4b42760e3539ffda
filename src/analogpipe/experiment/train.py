"""One training run: data, network, pipeline, the metrics of each epoch."""

from pathlib import Path

from analogpipe.experiment import data, events
from analogpipe.experiment.course import Course
from analogpipe.experiment.evaluation import evaluate, reading
from analogpipe.experiment.pauses import reading_places
from analogpipe.experiment.record import write
from analogpipe.experiment.resume import Others
from analogpipe.experiment.run import make_pipeline
from analogpipe.pipeline.processes import is_leader
from analogpipe.profile.profile import Run


def train(
    run: Run,
    out: Path,
    file: Path | None = None,
    *,
    others: Others = "refuse",
    keep: bool = False,
) -> None:
    """Train and write ``metrics.csv`` (columns METRICS, a row per epoch), ``curve.csv`` (CURVE, a row per
    reading and one before the first micro-batch), ``tested.csv`` (TESTED, a row per test sample, at the end
    of the last epoch), ``run.json`` and ``schedule.txt``.

    A row is taken at the clock at which stage 1 has finished its last micro-batch, from the weights as they
    are at that clock: nothing waits for it. ``file`` holds the
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
    ends, places = pipeline.schedule.finished(), reading_places(per_epoch, run.training.readings)

    def read(done: int, clock: int) -> dict[str, float]:
        loss = reading(pipeline, samples, run.training.reading_samples)
        return {"samples": done * size, "cycles": clock, "loss": loss}

    with Course(run, samples, pipeline, out / "checkpoints", others=others, keep=keep) as course:
        if not course.curve:
            course.read(read(0, 0))
        while not course.finished:
            first, last = course.next()
            clock = int(ends[last - 1])
            pipeline.run(until=clock)
            course.trained(last, pipeline.mean_loss(first, last))
            if last % per_epoch in (0, *places):
                course.read(read(last, clock))
            if last % per_epoch == 0:
                row = {"epoch": last // per_epoch, "samples": last * size, "cycles": clock}
                loss = pipeline.mean_loss(last - per_epoch, last)
                tested = evaluate(pipeline, samples)
                course.evaluated({**row, "train_loss": loss, **tested.means()})
            course.pause()
    pipeline.run()
    network = events.counted(
        events.blocks(run, samples), pipeline, pipeline.schedule.micro_batches * size
    )
    pipeline.close()
    if is_leader():
        write(run, pipeline.schedule, course, tested, network, out)
        course.clear()
