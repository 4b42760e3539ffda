"""Time the engine against a plain loop, and real processes against one process.

Writes ``results/bench/pipeline.json``:

``engine_over_loop``  time of training the quick profile's digital network through the engine with
                      one stage, over that of a plain loop that does the same arithmetic
``processes``         for each mode, wall-clock speedup of two processes over one process on the same
                      work, the speedup that the density predicts, and their ratio

On one thread per process. Repeats are interleaved; engine and loop are compared by their medians,
processes by their shortest times, which other programs disturb least: two processes need two idle
cores at once.
"""

import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from analogpipe.experiment import models
from analogpipe.pipeline.launch import launch
from analogpipe.pipeline.pipeline import Pipeline
from analogpipe.pipeline.processes import is_leader, make_pipeline
from analogpipe.profile.profile import load_profile
from analogpipe.schedule.modes import density
from analogpipe.schedule.table import build

ROOT = Path(__file__).parents[1]
OUT = ROOT / "results/bench/pipeline.json"
PROCESSES = ROOT / "results/bench/processes.json"
MODES = (("sequential", 1), ("sync", 4), ("async", 1))
STAGES = 2


def timed(function: Callable[[], Any]) -> float:
    begin = time.perf_counter()
    function()
    return time.perf_counter() - begin


def learning_rate(b: int) -> float:
    return 0.01


def data(size: int, width: int, classes: int) -> Callable[[int], tuple[Tensor, Tensor]]:
    stream = torch.Generator().manual_seed(0)
    x = torch.randn(64, size, width, generator=stream)
    target = torch.randint(0, classes, (64, size), generator=stream)
    return lambda b: (x[b % 64], target[b % 64])


def engine_over_loop(repeats: int = 41, micro_batches: int = 100) -> float:
    """Time of a micro-batch through the engine over that of a plain loop."""
    profile = load_profile(ROOT / "config/quick.yaml")
    batch = data(profile.training.micro_batch, 64, 10)

    def network() -> nn.Module:
        return nn.Sequential(*models.build(profile.model, (64,), 10, None, 0))

    plain = network()
    parameters = list(plain.parameters())
    for p in parameters:
        p.grad = torch.zeros_like(p)
    gradients = [p.grad for p in parameters]
    losses = torch.empty(micro_batches)

    def loop() -> None:
        for b in range(micro_batches):
            x, target = batch(b)
            loss = cross_entropy(plain(x), target)
            loss.backward()
            with torch.no_grad():
                torch._foreach_add_(parameters, gradients, alpha=-learning_rate(b))
                torch._foreach_zero_(gradients)
            losses[b] = loss.detach()

    table = build("async", 1, micro_batches)
    options = {"loss": cross_entropy, "batch": batch, "lr": learning_rate}
    engines = [Pipeline([network()], table, **options) for _ in range(repeats)]
    times = [(timed(engine.run), timed(loop)) for engine in engines]
    by_engine, by_loop = (statistics.median(column) for column in zip(*times, strict=True))
    for name, seconds in (("engine", by_engine), ("plain loop", by_loop)):
        print(f"{name}: {seconds / micro_batches * 1e6:.0f} us a micro-batch")
    return by_engine / by_loop


def work(repeats: int = 14, micro_batches: int = 24, size: int = 64, width: int = 512) -> None:
    """What each of the two processes does: one process does all, then both do, in each mode."""
    torch.set_num_threads(1)
    options = {"loss": cross_entropy, "batch": data(size, width, width), "lr": learning_rate}

    def modules() -> list[nn.Module]:
        torch.manual_seed(0)
        return [
            nn.Sequential(
                *(layer for _ in range(8) for layer in (nn.Linear(width, width), nn.Tanh()))
            )
            for _ in range(STAGES)
        ]

    seconds: dict[str, list[float]] = {name: [] for name in ("one", *(mode for mode, _ in MODES))}
    for repeat in range(repeats + 1):
        took = {"one": 0.0}
        if is_leader():  # the other process waits meanwhile, which takes no computing time
            table = build("sequential", 1, micro_batches)
            one = Pipeline([nn.Sequential(*modules())], table, **options)
            took["one"] = timed(one.run)
        for mode, n in MODES:
            table = build(mode, STAGES, micro_batches, n)
            pipeline = make_pipeline(modules(), table, limit=60.0, **options)
            dist.barrier()  # both are there
            begin = time.perf_counter()
            pipeline.run()
            pipeline.close()
            took[mode] = time.perf_counter() - begin
        for name, value in took.items() if repeat else ():  # the first repeat warms up
            seconds[name].append(value)
    if is_leader():
        shortest = {name: min(values) for name, values in seconds.items()}
        stage = shortest["one"] / micro_batches / STAGES * 1e3
        print(f"a stage takes {stage:.1f} ms a micro-batch, forward and backward")
        rows = []
        for mode, n in MODES:
            speedup = shortest["one"] / shortest[mode]
            predicted = STAGES * density(mode, STAGES, micro_batches, n)
            row = {"mode": mode, "stages": STAGES, "speedup": speedup}
            rows.append({**row, "predicted": predicted, "ratio": speedup / predicted})
        PROCESSES.write_text(json.dumps(rows))


def main() -> None:
    torch.set_num_threads(1)
    OUT.parent.mkdir(parents=True, exist_ok=True)
    ratio = engine_over_loop()
    if launch([sys.executable, __file__, "--work"], STAGES):
        raise SystemExit(1)
    result = {"engine_over_loop": ratio, "processes": json.loads(PROCESSES.read_text())}
    PROCESSES.unlink()
    OUT.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    work() if "--work" in sys.argv and "RANK" in os.environ else main()
