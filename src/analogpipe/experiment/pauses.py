"""Where a run pauses: for readings of its loss, for its checkpoints, and about once a second."""

import math
import time
from bisect import bisect_right

from analogpipe.profile.sections import Interval

PERIOD = 1.0
"""Seconds between two pauses, once the run knows its speed."""


class Pace:
    """The pauses of one run, counted in finished micro-batches, and its speed between them.

    The results do not depend on where a run pauses. In one of several processes the leader's pace
    holds for all.
    """

    def __init__(self, interval: Interval, per_epoch: int, readings: int) -> None:
        self._interval = interval
        self._per_epoch = per_epoch
        self._readings = reading_places(per_epoch, readings)
        self._period = min(PERIOD, interval.seconds or PERIOD)
        self._step = 1
        self._saved_at = time.monotonic()

    def next(self, done: int) -> int:
        """Return the number of finished micro-batches at which to pause after ``done``."""
        epoch, within = divmod(done, self._per_epoch)
        reading = self._readings[bisect_right(self._readings, within)]
        stop = min(done + self._step, epoch * self._per_epoch + reading)
        if self._interval.micro_batches is not None:
            stop = min(stop, _after(done, self._interval.micro_batches))
        return stop

    def took(self, micro_batches: int, seconds: float) -> None:
        """Learn the speed from what was just run."""
        wanted = micro_batches * self._period / max(seconds, 1e-6)
        self._step = max(1, min(int(wanted), 2 * self._step))  # the first ones are slow

    def begin(self, left: float) -> None:
        """Make a checkpoint due now if the run will last longer than the interval.

        A disk that is full or closed to the run then shows at its start, and so does the memory
        that a checkpoint takes.
        """
        if self._interval.seconds is not None and left > self._interval.seconds:
            self._saved_at = -math.inf

    def due(self, done: int) -> bool:
        """Whether a checkpoint is due. It counts from here to the next one if so."""
        now = time.monotonic()
        if self._interval.micro_batches is not None:
            due = done % self._interval.micro_batches == 0
        else:
            due = now - self._saved_at >= (self._interval.seconds or 0.0)
        if due:
            self._saved_at = now
        return due


def reading_places(per_epoch: int, readings: int) -> list[int]:
    """Return after how many micro-batches of an epoch its loss is read; the last is the epoch's end."""
    return sorted({-(-per_epoch * k // readings) for k in range(1, readings + 1)})


def _after(done: int, every: int) -> int:
    """The first multiple of ``every`` after ``done``."""
    return (done // every + 1) * every
