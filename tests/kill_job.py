"""A training run that is killed at a chosen moment. Forked from a warm process: torch is imported once."""

import os
import signal
from pathlib import Path
from typing import NamedTuple

import sklearn.datasets  # noqa: F401  (this and the next for the forked processes)
import torch
import torch.fx.experimental.symbolic_shapes

from analogpipe.experiment.train import train
from analogpipe.pipeline.pipeline import Pipeline
from analogpipe.profile.profile import Run


class Moment(NamedTuple):
    """When to die: before or after a forward or backward of a stage, or in the midst of a write."""

    what: str  # "forward", "backward", "write"
    stage: int
    micro_batch: int
    after: bool


def work(run: str, out: str, environment: dict[str, str], moment: Moment | None) -> None:
    """Train a run (JSON), and die at the moment."""
    os.environ.update(environment)
    torch.set_num_threads(1)
    if moment is not None:
        _die(moment)
    train(Run.model_validate_json(run), Path(out))


def _die(moment: Moment) -> None:
    def kill() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    if moment.what == "write":  # the data are written, the name is not theirs yet
        passed = [False]
        mark = _at("backward", moment, lambda: passed.__setitem__(0, True))
        sync = os.fsync
        os.fsync = lambda handle: kill() if passed[0] else sync(handle)  # type: ignore[assignment]
        Pipeline._backward = mark  # type: ignore[method-assign]
    else:
        setattr(Pipeline, f"_{moment.what}", _at(moment.what, moment, kill))


def _at(what: str, moment: Moment, do):  # type: ignore[no-untyped-def]
    """Return the method ``what`` of a pipeline with ``do`` at the moment."""
    method = getattr(Pipeline, f"_{what}")

    def wrapped(pipeline, stage, i, b):  # type: ignore[no-untyped-def]
        now = (i, b) == (moment.stage, moment.micro_batch)
        if now and not moment.after:
            do()
        method(pipeline, stage, i, b)
        if now:
            do()

    return wrapped
