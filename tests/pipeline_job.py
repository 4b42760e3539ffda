"""What the tests of distributed run in each process: many pipelines, one after another.

    python -m pipeline_job FOLDER STAGES compute CASE ...

A case is mode:kind, e.g. async:analog. Writes FOLDER/CASE.safetensors: the state at the end, the
predictions and the mean loss; and CASE.middle.safetensors, the same in mid-flight.
"""

import os
import signal
import sys
import time
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from analogpipe.pipeline.pipeline import Pipeline
from analogpipe.pipeline.processes import is_leader, make_pipeline
from analogpipe.schedule.modes import SYNC_MODES
from analogpipe.seeds import generator
from tiny_network import BATCH, WIDTH, pipeline_parts

MICRO_BATCHES = 9
MIDDLE = 7


def make(mode: str, kind: str, stages: int, micro_batches: int = MICRO_BATCHES) -> Pipeline:
    n = 4 if mode in SYNC_MODES else 1
    kinds = {kind: True} if kind else {}
    modules, options = pipeline_parts(mode, stages, micro_batches, n, **kinds)
    return make_pipeline(modules, options.pop("schedule"), **options, limit=6.0)


def results(pipeline: Pipeline) -> dict[str, Tensor]:
    x = torch.randn(3 * BATCH, WIDTH, generator=generator(3, "test"))
    scores = pipeline.predict(x)
    loss = torch.tensor(pipeline.mean_loss(2, 6), dtype=torch.float64)
    return {"scores": scores, "mean_loss": loss, **pipeline.state_dict()}


def compute(case: str, stages: int, folder: Path) -> None:
    """Run a case in two pieces, through a checkpoint if there is one, and save what comes out."""
    mode, _, kind = case.partition(":")
    pipeline = make(mode, kind, stages)
    pipeline.run(until=MIDDLE)
    middle = results(pipeline)
    pipeline.run()
    end = results(pipeline)
    pipeline.close()
    if is_leader():
        save_file(middle, folder / f"{case}.middle.safetensors")
        save_file(end, folder / f"{case}.safetensors")


def resume(case: str, stages: int, folder: Path) -> None:
    """Go on from the middle that one process has stored."""
    mode, _, kind = case.partition(":")
    pipeline = make(mode, kind, stages)
    pipeline.load_state_dict(load_file(folder / f"{case}.middle.safetensors"))
    pipeline.run()
    end = results(pipeline)
    pipeline.close()
    if is_leader():
        save_file(end, folder / f"{case}.resumed.safetensors")


def misbehave(how: str, stages: int, folder: Path) -> None:
    """Train with checkpoints, until stage 2 dies, stops, sleeps or raises at clock 400."""
    pipeline = make("async", "", stages, 100_000)
    for clock in range(100, 100_001, 100):
        pipeline.run(until=clock)
        state = pipeline.state_dict()
        if is_leader():
            save_file(state, folder / "new")
            os.replace(folder / "new", folder / "last.safetensors")
        if clock == 400 and int(os.environ["RANK"]) == 1:
            if how == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            elif how == "stopped":
                os.kill(os.getpid(), signal.SIGSTOP)
            elif how == "sleeping":
                time.sleep(1000)
            elif how == "raising":
                raise FileNotFoundError("no such data")


def main() -> None:
    folder, stages, do, *cases = sys.argv[1:]
    torch.set_num_threads(1)
    for case in cases:
        globals()[do](case, int(stages), Path(folder))


if __name__ == "__main__":
    main()
