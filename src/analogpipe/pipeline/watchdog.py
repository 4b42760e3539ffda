"""Watching over the stages of a job in many processes, so that none waits for a dead one for ever.

Every process runs a thread that publishes in a shared store, twice a second, a counter, the
progress of its stage, and which stage it waits for. From this each process can tell a stage that
died or was stopped (its counter stands) and one that is stuck (it waits for nobody and makes no
progress) from those that merely wait for it.
"""

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import NoReturn

from torch.distributed import Store  # type: ignore[attr-defined]

PERIOD = 0.5
SILENT = 2.5
"""Seconds without a sign of life after which a stage counts as gone, when a connection broke."""

EXIT_STATUS = 70
"""Exit status of a process that ends because of another stage, or of an error of its own."""

DONE = "done"
ALL = -1
"""Stage to wait for when all are waited for."""


class _StageLostError(RuntimeError):
    """Another stage of the job died or stalled."""


@dataclass
class _Seen:
    """What was last published by a stage, and when it changed."""

    text: str = ""
    progress: str = ""
    waits_for: str = ""
    alive_at: float = 0.0
    moved_at: float = 0.0


class Watch:
    """The watch of one stage (1-based) over the others; ``limit`` is in seconds.

    When a stage gives no sign of life or makes no progress for longer than ``limit``, the process
    prints a line that names it and ends with EXIT_STATUS, whatever its main thread is doing.
    """

    def __init__(self, store: Store, stage: int, stages: int, limit: float) -> None:
        self.stage = stage
        self.limit = limit
        self.progress = 0  # counted up by the main thread
        self._waits_for = 0
        self._store = store
        self._others = {m: _Seen() for m in range(1, stages + 1) if m != stage}
        self._beat = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._publish("")

    def start(self) -> None:
        """Begin, once every stage has published."""
        now = time.monotonic()
        for seen in self._others.values():
            seen.alive_at = seen.moved_at = now
        self._thread.start()

    def stop(self, reason: str = "") -> None:
        """End, because the work is done, or else for a reason that ends the others, too."""
        self._stop.set()
        self._thread.join()
        with suppress(RuntimeError):  # the launcher may be gone
            self._publish(reason or DONE)

    @contextmanager
    def waiting_for(self, stage: int) -> Iterator[None]:
        """Say that the main thread waits for ``stage``; a broken connection ends the process."""
        self._waits_for = stage
        try:
            yield
        except RuntimeError as error:
            self._end(self._explain(stage, error))
        finally:
            self._waits_for = 0
            self.progress += 1

    def fail(self, reason: str) -> NoReturn:
        """Tell all stages why this one ends, and end."""
        self._end(reason)

    def _publish(self, note: str) -> None:
        self._beat += 1
        fields = (str(self._beat), str(self.progress), str(self._waits_for), note)
        self._store.set(f"watch/{self.stage}", "\t".join(fields))

    def _look(self) -> None:
        """Read what the others have published."""
        now = time.monotonic()
        for m, seen in self._others.items():
            text = self._store.get(f"watch/{m}").decode()
            if text == seen.text:
                continue
            _, progress, waits_for, note = text.split("\t", 3)
            if note == DONE:
                seen.alive_at = seen.moved_at = float("inf")
            elif note:
                raise _StageLostError(note)
            else:
                seen.alive_at = now
                if (progress, waits_for) != (seen.progress, seen.waits_for):
                    seen.moved_at = now
            seen.text, seen.progress, seen.waits_for = text, progress, waits_for

    def _watch(self) -> None:
        try:
            last = time.monotonic()
            while not self._stop.wait(PERIOD):
                now = time.monotonic()
                if now - last > PERIOD + SILENT:  # this process was stopped: what it saw is old
                    for seen in self._others.values():
                        seen.alive_at = max(seen.alive_at, now)
                        seen.moved_at = max(seen.moved_at, now)
                last = now
                self._publish("")
                self._look()
                self._judge(now)
        except _StageLostError as error:
            self._end(str(error))
        except RuntimeError as error:
            if not self._stop.is_set():
                self._end(f"stage {self.stage}: the launcher of the job is gone ({error})")

    def _judge(self, now: float) -> None:
        """Raise _StageLostError for a stage that is gone or stuck longer than the limit."""
        for m, seen in self._others.items():
            if now - seen.alive_at > self.limit:
                raise _StageLostError(f"stage {m} gave no sign of life for {self.limit:g} s")
            if seen.waits_for == "0" and now - seen.moved_at > self.limit:
                raise _StageLostError(f"stage {m} made no progress for {self.limit:g} s")
        stuck = all(now - seen.moved_at > self.limit for seen in self._others.values())
        if self._waits_for and stuck:
            waits = [f"stage {m} for {seen.waits_for}" for m, seen in self._others.items()]
            raise _StageLostError(f"no stage makes progress: {', '.join(waits)} are waiting")

    def _explain(self, peer: int, error: Exception) -> str:
        """Why the connection to ``peer`` broke: the stage that began it, if that can be told."""
        deadline = time.monotonic() + SILENT + PERIOD
        while time.monotonic() < deadline:
            time.sleep(PERIOD / 5)
            now = time.monotonic()
            gone = [m for m, seen in self._others.items() if now - seen.alive_at > SILENT]
            if gone:
                return f"stage {gone[0]} died"
        who = "a stage" if peer == ALL else f"stage {peer}"
        return f"{who} cannot be reached: {next(iter(str(error).splitlines()), '')}"

    def _end(self, reason: str) -> NoReturn:
        print(f"error (reported by stage {self.stage}): {reason}", file=sys.stderr, flush=True)
        try:
            self._publish(reason)
        finally:
            os._exit(EXIT_STATUS)
