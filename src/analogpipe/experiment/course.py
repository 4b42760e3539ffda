"""The course of a run: how far it is, where it pauses, what it says and what it saves there."""

import json
import time
from pathlib import Path
from types import TracebackType

from analogpipe.experiment import machine, provenance
from analogpipe.experiment.checkpoint import Store
from analogpipe.experiment.data import Data
from analogpipe.experiment.evaluation import evaluation_seconds
from analogpipe.experiment.pauses import Pace
from analogpipe.experiment.progress import MEASURED, Progress
from analogpipe.experiment.resume import Others, find, last_common
from analogpipe.pipeline.pipeline import Pipeline
from analogpipe.pipeline.processes import agree, is_leader, total
from analogpipe.profile.profile import Run
from analogpipe.profile.sections import parse_interval


class Course:
    """The way of a run from stop to stop, counted in finished micro-batches.

    It begins at the last checkpoint in ``folder`` that is the run's own, to which it restores the
    pipeline; ``others`` says what becomes of those of another run. With ``keep`` it leaves one from
    which the run can be extended. Who runs the pipeline calls ``next``, ``trained``, at a reading ``read``, at
    the end of an epoch ``evaluated``, then ``pause``; in many processes all do so together. ``rows`` holds
    the metrics of the epochs so far, ``curve`` the readings.
    """

    def __init__(
        self,
        run: Run,
        samples: Data,
        pipeline: Pipeline,
        folder: Path,
        *,
        others: Others = "refuse",
        keep: bool = False,
    ) -> None:
        epochs = run.training.epochs
        self._samples, self._pipeline = samples, pipeline
        self._total = pipeline.schedule.micro_batches
        self._started = self._since = time.monotonic()
        data = samples.digest()
        self._run = run
        self._store = Store(folder, provenance.key(run, data))
        self._spent = self._reading = 0.0
        self.done = 0
        self.rows: list[dict[str, float]] = []
        self.curve: list[dict[str, float]] = []
        saved = find(self._store, run, data, pipeline.schedule, others)
        if saved is not None:
            pipeline.load_state_dict(saved.tensors)
            names = ("micro_batches", "rows", "curve", "seconds")
            self.done, self.rows, self.curve, self._spent = (saved.notes[name] for name in names)
        per_epoch = self._total // epochs
        self._keep_at = last_common(pipeline.schedule, per_epoch) if keep else None
        interval = parse_interval(run.training.checkpoint_every)
        self._pace = Pace(interval, per_epoch, run.training.readings)
        self._progress = Progress(epochs, per_epoch, self.done, quiet=not is_leader())

    def __enter__(self) -> "Course":
        self._progress.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.__exit__(kind, error, trace)

    @property
    def finished(self) -> bool:
        """Whether all micro-batches of the run are through."""
        return self.done == self._total

    @property
    def seconds(self) -> float:
        """Time that the run has taken so far, in all its processes before this one too."""
        return self._spent + time.monotonic() - self._started

    def next(self) -> tuple[int, int]:
        """Return the micro-batches ``first <= b < last`` to finish before the next pause."""
        stop = self._pace.next(self.done)
        if self._keep_at is not None and self.done < self._keep_at:
            stop = min(stop, self._keep_at)
        stop = agree(stop)
        self._since = time.monotonic()
        return self.done, stop

    def trained(self, done: int, loss: float) -> None:
        """Take in that ``done`` micro-batches are finished, and the mean loss since the last pause."""
        seconds = self._lap()
        self._pace.took(done - self.done, seconds)
        self._progress.trained(done, loss, seconds)
        self.done = done

    def read(self, row: dict[str, float]) -> None:
        """Take in a reading of the training loss."""
        self.curve.append(row)
        self._reading += self._lap()

    def evaluated(self, row: dict[str, float]) -> None:
        """Take in the metrics of an epoch."""
        self.rows.append(row)
        seconds, self._reading = self._reading + self._lap(), 0.0
        self._progress.evaluated(row["train_loss"], row["test_accuracy"], seconds)

    def pause(self) -> None:
        """Save a checkpoint if one is due; say once what the run will take."""
        if self.done == self._keep_at:
            self._save()
        if self.finished:
            return
        known = int(self._progress.measured >= MEASURED)
        if first := not self._progress.estimated and bool(agree(known)):
            training = self._run.training
            readings = training.readings * training.reading_samples
            self._progress.expect(evaluation_seconds(self._pipeline, self._samples, readings))
            self._pace.begin(self._progress.left)
        due = self._pace.due(self.done) and (self._keep_at is None or self.done < self._keep_at)
        if agree(int(due)):
            self._save()
        if first:
            self._progress.announce(total(machine.peak_memory()))

    def clear(self) -> None:
        """Remove the checkpoints of the run, but for one that is to be kept."""
        if self._keep_at is None:
            self._store.clear()

    def _save(self) -> None:
        notes = {
            "micro_batches": self.done,
            "rows": self.rows,
            "curve": self.curve,
            "seconds": self.seconds,
            "run": json.loads(self._run.model_dump_json()),
        }
        state = self._pipeline.state_dict()
        if is_leader():
            self._store.save(self.done, state, notes)

    def _lap(self) -> float:
        """Return the time since the last call, or since ``next``."""
        since, self._since = self._since, time.monotonic()
        return self._since - since
