"""How far the runs of a workflow are, in a line of its log after each of them."""

import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from analogpipe.experiment.progress import duration


class RunsDone(logging.Handler):
    """Listens to what Snakemake logs, and logs how many runs are done and left.

    Args:
        logger: the logger of Snakemake; it gets the lines, too.
        rule: name of the rule whose jobs are the runs.
        files: what these jobs make, a file for each run that the profile has. Those that exist when the
        workflow starts and need no run count as done.
        clock: gives the present time in seconds since the epoch.

    The time left comes from the runs of this start of the workflow. A run in progress counts half.
    """

    def __init__(
        self,
        logger: logging.Logger,
        rule: str,
        files: Sequence[str],
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__()
        self._logger, self._rule, self._files, self._clock = logger, rule, files, clock
        self._before = self._todo = self._finished = 0
        self._running: set[Any] = set()
        self._started = 0.0

    def emit(self, record: logging.LogRecord) -> None:
        """Take in one message of Snakemake."""
        event = getattr(record, "event", None)
        name = getattr(event, "name", "")
        facts = vars(record)
        if name == "RUN_INFO":
            self._plan(facts.get("stats", {}))
        elif name == "JOB_INFO" and facts.get("rule_name") == self._rule:
            self._started = self._started or self._clock()
            self._running.add(facts.get("jobid"))
        elif name == "JOB_FINISHED" and facts.get("job_id") in self._running:
            self._running.remove(facts.get("job_id"))
            self._finished += 1
            self._logger.info(self._line())

    def _plan(self, stats: dict[str, int]) -> None:
        self._todo = stats.get(self._rule, 0)
        existing = sum(Path(file).exists() for file in self._files)
        # a file may exist and its run be due all the same, because something that it depends on changed
        self._before = max(0, min(existing, len(self._files) - self._todo))

    def _line(self) -> str:
        now = self._clock()
        total = self._before + max(self._todo, self._finished)
        left = total - self._before - self._finished
        line = f"run {total - left} of {total} done, {left} left"
        if left == 0:
            return f"{line}: {self._finished} in {duration(now - self._started)}"
        finished = self._finished + len(self._running) / 2
        seconds = (now - self._started) / finished * (left - len(self._running) / 2)
        end = time.localtime(now + seconds)
        today = end[:3] == time.localtime(now)[:3]
        at = time.strftime("%H:%M" if today else "%a %d %b %H:%M", end)
        return f"{line}, about {duration(seconds)} to go, finish about {at}"
