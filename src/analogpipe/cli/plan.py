"""Commands that look ahead: draw a schedule, say what a run will take."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from analogpipe.cli.options import (
    Device,
    HardwareName,
    ModeName,
    ProfileName,
    Set,
    Stages,
    hardware_of,
    profile_with,
    run_of,
    save_figure,
)
from analogpipe.files import FileError

if TYPE_CHECKING:
    from rich.table import Table

    from analogpipe.experiment.data import Data
    from analogpipe.experiment.estimate import Estimate
    from analogpipe.hardware.config import Hardware
    from analogpipe.profile.profile import Profile, Run


def schedule(
    what: Annotated[
        str, typer.Argument(metavar="MODE|FILE", help="a mode, or a schedule.txt as a run has it")
    ],
    stages: Stages = 4,
    micro_batches: Annotated[int, typer.Option(help="micro-batches in all, K")] = 8,
    mini_batch: Annotated[int, typer.Option(help="micro-batches between two flushes, n")] = 1,
    first: Annotated[int, typer.Option(min=0, help="first clock to draw")] = 0,
    clocks: Annotated[int, typer.Option(min=1, help="clocks to draw to a PDF, PNG or SVG")] = 40,
    out: Annotated[Path | None, typer.Option(help="file to write: .txt, .pdf, .png, .svg")] = None,
) -> None:
    """Draw a schedule; print its cycles, density, staleness and micro-batches in flight.

    \b
    Example: analogpipe schedule sync --stages 4 --micro-batches 8 --mini-batch 4 --out sync.pdf
    """
    import numpy as np

    from analogpipe.cli import terminal
    from analogpipe.schedule import staleness
    from analogpipe.schedule.modes import MODES
    from analogpipe.schedule.table import build

    if what in MODES:
        table = build(what, stages, micro_batches, mini_batch)
    elif Path(what).is_file():
        from analogpipe.results.run import read_schedule

        table = read_schedule(Path(what))
    else:
        raise FileError(f"schedule: found {what}, allowed: a file, or {', '.join(MODES)}")
    if first >= table.cycles:
        raise FileError(f"--first: found {first}, allowed: 0 to {table.cycles - 1}")
    if out is not None:
        _draw(table, out, first, clocks)
    screen = terminal.console()
    for line in terminal.draw(table, screen.width, first):
        screen.print(line, no_wrap=True)
    screen.print(
        f"\n{table.name}: M={table.stages}, K={table.micro_batches}, n={table.mini_batch}: "
        f"{table.cycles:,} cycles, density {table.density:.4f}"
    )
    m = np.arange(1, table.stages + 1)
    last = table.micro_batches - 1
    shape = (table.name, table.stages)
    columns = {
        "stage": m,
        "staleness": staleness.staleness(*shape, last, m, table.mini_batch),
        "weight gap F to B": staleness.gap(*shape, last, m, table.mini_batch),
        "in flight": staleness.in_flight(*shape, table.micro_batches, table.mini_batch, m),
    }
    screen.print(
        terminal.table(
            list(columns),
            zip(*(column.tolist() for column in columns.values()), strict=True),
        )
    )
    if out is not None:
        typer.echo(f"written to {out}")


def estimate(
    profile: ProfileName,
    device: Device = "digital",
    mode: ModeName = "async",
    stages: Stages = 4,
    changes: Set = None,
    read_ns: Annotated[
        float, typer.Option(min=0, help="time of one array read, for the latency in seconds")
    ] = 100.0,
    here: Annotated[
        bool, typer.Option("--here/--not-here", help="measure the simulation on this machine, too")
    ] = True,
    hardware: HardwareName = "ibm-proj",
) -> None:
    """Say what a run will take: cycles, latency, memory of each stage; and time and memory here.

    Seconds and joules on --hardware are for pulse trains of its mean length, and beside them those of the
    micro-batch sizes at which no pipeline, sync and async are fastest.

    For the time on this machine a second is trained for each device and mode, and thrown away.

    \b
    Example: analogpipe estimate quick --mode sync --stages 8 --set training.epochs=50
    """
    from analogpipe.cli import terminal
    from analogpipe.experiment import data
    from analogpipe.experiment.estimate import estimate as of_run

    path, settings = profile_with(profile, changes)
    run = run_of(path, settings, device, mode, stages, 0, 1.0, None)
    images = data.load(run.dataset)
    result = of_run(run, images)
    screen = terminal.console()
    for made in _in_reads(result, run.profile, read_ns):
        screen.print(made)
        screen.print()
    for made in _on_hardware(run, settings, images, hardware_of(hardware)):
        screen.print(made)
        screen.print()
    if here:
        screen.print(
            terminal.table(["", "on this machine", ""], _here(path, settings, run, images))
        )


def _in_reads(result: "Estimate", name: str, read_ns: float) -> list["Table"]:
    """Return what a run takes in cycles and array reads, and its stages, as tables."""
    from analogpipe.cli import terminal

    seconds = result.latency * read_ns * 1e-9
    rows = [
        ("micro-batches", result.micro_batches, ""),
        ("clock cycles", result.cycles, f"density {result.density:.4f}"),
        (
            "latency, array reads",
            result.latency,
            f"density {result.latency_density:.4f}, {result.speedup:.2f} times as fast as no pipeline",
        ),
        (
            "slowest stage over mean, reads",
            result.balance.slowest_to_mean,
            f"at most {result.balance.ceiling:.2f} times as fast as no pipeline",
        ),
        ("latency, seconds", seconds, f"at {read_ns:g} ns a read"),
    ]
    columns = ["stage", "weights", "reads", "in flight", "bytes a micro-batch", "activation bytes"]
    stages = [
        (m, s.weights, s.reads, s.in_flight, s.saved_bytes, s.activation_bytes)
        for m, s in enumerate(result.stages, start=1)
    ]
    return [terminal.table(["", name, ""], rows), terminal.table(columns, stages)]


def _on_hardware(
    run: "Run", profile: "Profile", images: "Data", hardware: "Hardware | None"
) -> list["Table"]:
    """Return what a run takes on an accelerator, and each schedule at its best, as tables."""
    from analogpipe.cli import terminal
    from analogpipe.experiment import events
    from analogpipe.hardware.best import choices, fastest
    from analogpipe.hardware.layers import cut
    from analogpipe.hardware.run import OnHardware
    from analogpipe.profile.rule import of_tile

    if hardware is None:
        return []
    size, n = run.training.micro_batch, run.mode.mini_batch
    stages = cut(events.blocks(run, images), run.stages, run.split)
    on = OnHardware(stages, of_tile(run.tile), hardware, size)
    total = len(images.train_targets) // size * run.training.epochs
    cost, even = on.run(run.mode.schedule, total, n), on.balance()
    alone = OnHardware(stages, on.rule, hardware, size).run("sequential", total)
    rows = [
        (
            "seconds",
            cost.seconds,
            f"{alone.seconds / cost.seconds:.2f} times as fast as no pipeline",
        ),
        ("joules", cost.joules, f"by {on.rule.kind}"),
        (
            "slowest stage over mean",
            even.slowest_to_mean,
            f"at most {even.ceiling:.2f} times as fast as no pipeline",
        ),
    ]
    mini_batch = size * max(mode.mini_batch for mode in profile.modes.values())
    best = fastest(choices(stages, on.rule, hardware, mini_batch))
    columns = [f"best for {mini_batch} samples to an update of sync", "micro-batch", "n",
               "seconds a sample", "joules a sample", "bytes of the fullest stage"]  # fmt: skip
    return [
        terminal.table(["", f"on {hardware.name}", ""], rows),
        terminal.table(
            columns,
            [
                (mode, one.micro_batch, one.micro_batches, one.seconds, one.joules, int(one.bytes))
                for mode, one in best.items()
            ],
        ),
    ]


def _here(path: Path, profile: "Profile", run: "Run", images: "Data") -> list[tuple[str, str, str]]:
    """Return what a run and its whole profile take on this machine, in rows."""
    import os
    import time

    import torch

    from analogpipe.experiment.estimate import measure, measure_profile, of_products
    from analogpipe.experiment.progress import duration
    from analogpipe.profile.profile import load_devices

    start = time.process_time()  # of this process, as a run has it
    torch.set_num_threads(1)  # as the workflow runs it
    rate = profile.learning_rates.get(run.device, {}).get(run.mode.name, 0.1)
    run = run.model_copy(update={"learning_rate": rate})
    one, formats = measure(run, images), of_products(run, images)
    tiles = load_devices(path.parent / profile.devices_file) if profile.analog_devices else {}
    runs, seconds = measure_profile(profile, tiles, images)
    seconds += runs * start
    jobs = 1 if run.compute.device == "cuda" else len(os.sched_getaffinity(0))
    return [
        (
            "one run",
            duration(one.seconds + start),
            f"{one.micro_batch * 1e3:.3g} ms a micro-batch, {duration(one.evaluation)} an evaluation, "
            f"{duration(start)} to start",
        ),
        (
            "faster products",
            min(formats, key=formats.__getitem__),
            ", ".join(f"{name} {1e3 * took:.3g} ms" for name, took in formats.items())
            + f" a micro-batch; compute.products is {run.compute.products}",
        ),
        ("its memory", f"{one.memory / 2**30:.2f} GiB", "one thread, one process"),
        (
            f"{runs} training runs",
            duration(seconds / jobs),
            f"of {profile.profile}, {jobs} at a time; {duration(seconds)} in all",
        ),
    ]


def _draw(table: Any, out: Path, first: int, clocks: int) -> None:
    """Write a schedule as text or as a picture, by the suffix of the file."""
    from analogpipe.files import write_text
    from analogpipe.schedule.text import to_text

    if out.suffix == ".txt":
        write_text(out, to_text(table))
        return
    from analogpipe.figures.gantt import figure

    save_figure(figure(table, first, clocks), out, "a name that ends in .txt, ")
