"""What a training run says while it lasts: a bar on a terminal, lines of text in a log."""

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as Bar

LINE_EVERY = 60.0
"""Seconds after which a log gets a line in the midst of an epoch."""
MEASURED = 1.0
"""Seconds of training from which the whole run is estimated."""
_MEMORY = 0.98
"""What of the measured speed is kept at each pause, about a second apart."""


def duration(seconds: float) -> str:
    """Return a time as people say it: ``4.2 s``, ``12 min``, ``3 h 20 min``, ``2 d 4 h``."""
    if seconds < 99.5:
        return f"{seconds:.2g} s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h" if hours else f"{days} d"


class Progress:
    """Speed, time left and messages of a run of ``epochs`` epochs of ``per_epoch`` micro-batches.

    ``done`` micro-batches were finished by an earlier process. With ``quiet`` it only measures. The
    bar goes to ``screen``, by default stderr if that is a terminal. Times are in seconds.
    """

    def __init__(
        self,
        epochs: int,
        per_epoch: int,
        done: int,
        *,
        quiet: bool,
        screen: "Console | None" = None,
    ) -> None:
        self.epochs, self.per_epoch, self.done = epochs, per_epoch, done
        self.measured = 0.0
        self.estimated = False
        self._quiet = quiet
        self._started = self._said = time.monotonic()
        self._pauses = 0
        self._count = self._seconds = self._evaluation = 0.0
        self._accuracy = ""
        self._bar: Bar | None = None
        if not quiet and (screen is not None or sys.stderr.isatty()):
            self._bar = _bar(screen)
            self._task = self._bar.add_task("", total=epochs * per_epoch, completed=done, facts="")

    def __enter__(self) -> "Progress":
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    @property
    def micro_batch(self) -> float:
        """Time of a micro-batch, as lately measured."""
        return self._seconds / max(self._count, 1e-9)

    @property
    def left(self) -> float:
        """Estimated time to the end of the run."""
        epochs = self.epochs - self.done // self.per_epoch
        return (
            self.micro_batch * (self.epochs * self.per_epoch - self.done)
            + self._evaluation * epochs
        )

    def trained(self, done: int, loss: float, seconds: float) -> None:
        """Take in that ``done`` micro-batches are finished, the last of them in ``seconds``."""
        if self._pauses == 1:  # the first pause came after start-up work
            self._count = self._seconds = 0.0
        if self._pauses:
            self.measured += seconds
        self._pauses += 1
        self._count = _MEMORY * self._count + done - self.done
        self._seconds = _MEMORY * self._seconds + seconds
        self.done = done
        now = time.monotonic()
        if self._bar is not None:
            epoch = -(-done // self.per_epoch)
            facts = f"{self._rate()}, loss {loss:.4f}{self._accuracy}, {self._to_go()}"
            self._bar.update(
                self._task, completed=done, description=f"epoch {epoch}/{self.epochs}", facts=facts
            )
        elif now - self._said >= LINE_EVERY and done % self.per_epoch:
            epoch, part = divmod(done, self.per_epoch)
            self._say(
                f"epoch {epoch + 1}/{self.epochs}, {part / self.per_epoch:.0%}: "
                f"train loss {loss:.4f}, {self._rate()}, {self._to_go()}"
            )

    def evaluated(self, train_loss: float, accuracy: float, seconds: float) -> None:
        """Take in the results of an epoch and the time that evaluating took."""
        self._evaluation = seconds
        self._accuracy = f", accuracy {accuracy:.4f}"
        self._say(
            f"epoch {self.done // self.per_epoch}/{self.epochs}: train loss {train_loss:.4f}, "
            f"test accuracy {accuracy:.4f}, {self._rate()}, {self._to_go()}"
        )

    def expect(self, evaluation: float) -> None:
        """Take in the time of an evaluation that was measured for the estimate."""
        self._evaluation = evaluation

    def announce(self, memory: int) -> None:
        """Say once what the whole run will take; ``memory`` is its peak in bytes."""
        self.estimated = True
        total = self.epochs * self.per_epoch
        whole = time.monotonic() - self._started + self.left
        step = self.micro_batch
        self._say(
            f"estimated {duration(whole)} and {memory / 2**30:.2f} GiB: "
            f"{step * 1e3:.3g} ms a micro-batch, {total:,} micro-batches"
            + (f", {duration(self._evaluation)} an evaluation" if self._evaluation else "")
        )

    def _rate(self) -> str:
        return f"{1 / max(self.micro_batch, 1e-9):.3g} micro-batches/s"

    def _to_go(self) -> str:
        if self.done == self.epochs * self.per_epoch:
            return f"done in {duration(time.monotonic() - self._started)}"
        return f"about {duration(self.left)} to go"

    def _say(self, line: str) -> None:
        self._said = time.monotonic()
        if self._bar is not None:
            self._bar.console.print(line, highlight=False, markup=False)
        elif not self._quiet:
            print(line, flush=True)


def _bar(screen: "Console | None") -> "Bar":
    from rich.console import Console
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn
    from rich.progress import Progress as Bar

    return Bar(
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        TaskProgressColumn(),
        TextColumn("{task.fields[facts]}"),
        console=screen or Console(stderr=True),
        redirect_stdout=False,
        redirect_stderr=False,
    )
