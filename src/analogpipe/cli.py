"""The command ``analogpipe``: train, calibrate, draw, estimate and compare, outside the workflow too.

The commands call the functions that the workflow calls. A user's mistake ends in one line on stderr
and exit status 2. Modules that load slowly are imported by the commands that need them.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from analogpipe.command import OneLineErrors
from analogpipe.files import FileError

if TYPE_CHECKING:
    from analogpipe.config import Profile, Run
    from analogpipe.data import Data


app = typer.Typer(
    cls=OneLineErrors,
    help="Pipelined training of neural networks on simulated analog in-memory accelerators.",
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,
)

ProfileName = Annotated[
    str, typer.Argument(metavar="PROFILE", help="YAML file, or the name of one in config/")
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="use instead of the profile's; repeatable"),
]
Device = Annotated[str, typer.Option(help="'digital' or a device of the devices file")]
ModeName = Annotated[str, typer.Option(help="a mode of the profile")]
Stages = Annotated[int, typer.Option(help="number of stages, M")]
LearningRate = Annotated[float | None, typer.Option(help="instead of the profile's")]
Tile = Annotated[
    Path | None,
    typer.Option(help="calibrated tile of the device, instead of its entry in the devices file"),
]


@app.command()
def train(
    profile: ProfileName,
    device: Device = "digital",
    mode: ModeName = "async",
    stages: Stages = 4,
    seed: Annotated[int, typer.Option(help="seed of weights, data order and noise")] = 0,
    learning_rate: LearningRate = None,
    tile: Tile = None,
    changes: Set = None,
    out: Annotated[
        Path | None, typer.Option(help="folder [results/manual/PROFILE/DEVICE/MODE/M*/seed*]")
    ] = None,
    overwrite: Annotated[bool, typer.Option(help="replace the run that is in the folder")] = False,
    threads: Annotated[int, typer.Option(min=1, help="threads of torch")] = 1,
) -> None:
    """Train one network; writes metrics.csv, run.json and schedule.txt.

    \b
    Example: analogpipe train quick --device linear-tau0.6 --stages 4 --set training.epochs=3
    """
    run = _run(*_profile(profile, changes), device, mode, stages, seed, learning_rate, tile)
    folder = out or Path(
        "results", "manual", run.profile, device, mode, f"M{stages}", f"seed{seed}"
    )
    if (folder / "run.json").exists() and not overwrite:
        raise FileError(f"{folder}: holds a run already; give another --out, or --overwrite")

    import torch

    from analogpipe import training

    torch.set_num_threads(threads)
    training.train(run, folder)
    typer.echo(f"written to {folder}")


@app.command()
def calibrate(
    device: Annotated[str, typer.Argument(help="a device of the devices file, or a preset")],
    measured: Annotated[
        Path | None,
        typer.Option(
            help="CSV with pulse, polarity, conductance, element: fit the device's type to it"
        ),
    ] = None,
    reach: Annotated[
        float,
        typer.Option(min=0, help="weight at the ends of the measured range; 0: they are weights"),
    ] = 0.6,
    devices: Annotated[Path, typer.Option(help="YAML file of named tiles")] = Path(
        "config/devices.yaml"
    ),
    seed: Annotated[int, typer.Option(help="seed of a simulated array")] = 0,
    out: Annotated[Path | None, typer.Option(help="folder [results/manual/calibration/DEVICE]")] = (
        None
    ),
) -> None:
    """Fit a device to its measured pulse response; writes device.yaml, tables and a figure.

    \b
    Example: analogpipe calibrate linear-tau0.6
    Example: analogpipe calibrate linear-tau0.6 --measured mine.csv --out mine
    """
    from analogpipe import calibration, device_figures, terminal
    from analogpipe.config import load_devices
    from analogpipe.presets import PRESETS
    from analogpipe.tile_config import TileConfig

    known = load_devices(devices)
    if device not in known and device not in PRESETS:
        allowed = ", ".join([*known, *PRESETS])
        raise FileError(f"device: found {device}, allowed: {allowed}")
    tile = known[device] if device in known else TileConfig.parse({"preset": device})
    if measured is None:
        result = calibration.calibrate(tile, seed=seed, name=device)
    else:
        result = calibration.calibrate_csv(tile, measured, reach or None)
    folder = out or Path("results", "manual", "calibration", device)
    calibration.write(result, folder)
    device_figures.draw_device(folder, device, folder / "device")
    screen = terminal.console()
    screen.print(terminal.frame(result.summary))
    if result.note:
        typer.echo(result.note)
    typer.echo(f"written to {folder}; train with --tile {folder / 'device.yaml'}")


@app.command()
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

    from analogpipe import staleness, terminal
    from analogpipe.schedule import MODES, build

    if what in MODES:
        table = build(what, stages, micro_batches, mini_batch)
    elif Path(what).is_file():
        from analogpipe.runs import read_schedule

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
        f"\n{table.mode}: M={table.stages}, K={table.micro_batches}, n={table.mini_batch}: "
        f"{table.cycles:,} cycles, density {table.density:.4f}"
    )
    m = np.arange(1, table.stages + 1)
    last = table.micro_batches - 1
    shape = (table.mode, table.stages)
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


@app.command()
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
) -> None:
    """Say what a run will take: cycles, latency, memory of each stage; and time and memory here.

    For the time on this machine a second is trained for each device and mode, and thrown away.

    \b
    Example: analogpipe estimate quick --mode sync --stages 8 --set training.epochs=50
    """
    from analogpipe import data, terminal
    from analogpipe.estimate import estimate as of_run

    path, settings = _profile(profile, changes)
    run = _run(path, settings, device, mode, stages, 0, 1.0, None)
    images = data.load(run.dataset)
    result = of_run(run, images)
    screen = terminal.console()
    seconds = result.latency * read_ns * 1e-9
    rows = [
        ("micro-batches", result.micro_batches, ""),
        ("clock cycles", result.cycles, f"density {result.density:.4f}"),
        (
            "latency, array reads",
            result.latency,
            f"density {result.latency_density:.4f}, {result.speedup:.2f} times as fast as no pipeline",
        ),
        ("latency, seconds", seconds, f"at {read_ns:g} ns a read"),
    ]
    screen.print(terminal.table(["", run.profile, ""], rows))
    screen.print()
    columns = ["stage", "weights", "reads", "in flight", "bytes a micro-batch", "activation bytes"]
    screen.print(
        terminal.table(
            columns,
            [
                (m, s.weights, s.reads, s.in_flight, s.saved_bytes, s.activation_bytes)
                for m, s in enumerate(result.stages, start=1)
            ],
        )
    )
    if here:
        screen.print()
        screen.print(
            terminal.table(["", "on this machine", ""], _here(path, settings, run, images))
        )


@app.command("list")
def list_runs(
    root: Annotated[Path, typer.Argument(help="folder to search")] = Path("results"),
) -> None:
    """List the finished runs below a folder with their last epoch.

    \b
    Example: analogpipe list results/quick/runs
    """
    from analogpipe import runs, terminal

    if not root.is_dir():
        raise FileError(f"{root}: found no such folder")
    rows = []
    for folder in runs.find(root):
        try:
            found = runs.summary(runs.read(folder))
        except FileError as error:
            typer.echo(f"left out: {error}", err=True)
            continue
        rows.append([*found.values(), str(folder)])
    if not rows:
        typer.echo(f"no finished run below {root}")
        return
    terminal.console().print(terminal.table([*found, "folder"], rows))


@app.command()
def show(
    run: Annotated[Path, typer.Argument(help="folder of a run")],
    clocks: Annotated[bool, typer.Option("--schedule", help="draw its schedule as well")] = False,
) -> None:
    """Show one run: its configuration, where it ran, and the metrics of every epoch.

    \b
    Example: analogpipe show results/quick/runs/digits/resmlp8/digital/async/M4/seed0
    """
    from analogpipe import runs, terminal

    found = runs.read(run)
    screen = terminal.console()
    facts = [*runs.summary(found).items()]
    facts += [
        (key, value)
        for key, value in found.record.items()
        if key not in ("config", "cycles") and not isinstance(value, dict | list)
    ]
    screen.print(terminal.table(["", str(run)], [(k, terminal.show(v)) for k, v in facts]))
    screen.print()
    screen.print(terminal.frame(found.metrics))
    if clocks:
        screen.print()
        for line in terminal.draw(found.schedule(), screen.width):
            screen.print(line, no_wrap=True)


@app.command()
def compare(
    one: Annotated[Path, typer.Argument(help="folder of a run")],
    two: Annotated[Path, typer.Argument(help="folder of another run")],
    target: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="test accuracy to reach [the highest that both reach]"),
    ] = None,
) -> None:
    """Compare two runs: what differs in their configuration, accuracy, samples and cycles to a target.

    \b
    Example: analogpipe compare results/quick/runs/digits/resmlp8/digital/{sequential/M1,async/M4}/seed0
    """
    from analogpipe import runs, terminal

    first, second = runs.read(one), runs.read(two)
    frame = runs.compare(first, second, target)
    head = ["", str(one), str(two), "two over one"]
    terminal.console().print(
        terminal.table(
            head, [[*map(terminal.show, row)] for row in frame.itertuples(index=False, name=None)]
        )
    )
    counts = first.config.stages, second.config.stages
    if counts[0] != counts[1]:
        typer.echo(
            f"A clock cycle is one stage's work: at {counts[0]} and {counts[1]} stages they last "
            "differently long. Compare cycles at one --stages."
        )


@app.command()
def plot(
    runs_: Annotated[list[Path], typer.Argument(metavar="RUN...", help="folders of runs")],
    out: Annotated[Path, typer.Option(help="file to write: .pdf, .png, .svg")] = Path("curves.pdf"),
) -> None:
    """Draw the test accuracy of runs against samples and clock cycles.

    \b
    Example: analogpipe plot results/quick/runs/digits/resmlp8/digital/{sequential/M1,async/M4}/seed0
    """
    from analogpipe import curves, runs

    _save(curves.figure([runs.read(folder) for folder in runs_]), out)
    typer.echo(f"written to {out}")


@app.command()
def validate(
    file: Annotated[str, typer.Argument(help="YAML file, or the name of a profile in config/")],
    devices: Annotated[
        bool, typer.Option("--devices", help="it is a devices file, not a profile")
    ] = False,
    changes: Set = None,
) -> None:
    """Check a profile, or a devices file, and say what it holds. Runs nothing.

    \b
    Example: analogpipe validate config/quick.yaml --set stages=[1,2]
    """
    from analogpipe.config import load_devices, load_profile
    from analogpipe.overrides import profile_file

    path = profile_file(file)
    if devices:
        if changes:
            raise FileError("--set: found with --devices, allowed: with a profile")
        known = load_devices(path)
        typer.echo(f"{path}: valid, {len(known)} devices: {', '.join(known)}")
        return
    profile = load_profile(path, changes or ())
    counts = {mode: len(profile.trained_stages(mode)) for mode in profile.modes}
    runs = len(profile.devices) * len(profile.seeds) * sum(counts.values())
    typer.echo(
        f"{path}: valid, {runs} training runs: {len(profile.devices)} devices, "
        f"{len(profile.seeds)} seeds, stage counts by mode "
        + ", ".join(f"{mode} {count}" for mode, count in counts.items())
    )


def _profile(name: str, changes: list[str] | None) -> tuple[Path, "Profile"]:
    """Return a profile, with changes, and where it was found."""
    from analogpipe.config import load_profile
    from analogpipe.overrides import profile_file

    path = profile_file(name)
    return path, load_profile(path, changes or ())


def _run(
    path: Path,
    profile: "Profile",
    device: str,
    mode: str,
    stages: int,
    seed: int,
    learning_rate: float | None,
    tile: Path | None,
) -> "Run":
    """Return the configuration of one run; a device outside the profile needs a learning rate."""
    from analogpipe.config import DIGITAL, load_devices, load_tile

    chosen = None
    if tile is not None:
        chosen = load_tile(tile)
    elif device != DIGITAL:
        known = load_devices(path.parent / profile.devices_file)
        if device not in known:
            raise FileError(f"device: found {device}, allowed: {', '.join([DIGITAL, *known])}")
        chosen = known[device]
    if device not in profile.devices:
        if learning_rate is None:
            raise FileError(f"{path}: has no learning rate for {device}; give --learning-rate")
        profile = profile.model_copy(update={"devices": [*profile.devices, device]})
    return profile.run(device, mode, stages, seed, tile=chosen, learning_rate=learning_rate)


def _here(path: Path, profile: "Profile", run: "Run", images: "Data") -> list[tuple[str, str, str]]:
    """Return what a run and its whole profile take on this machine, in rows."""
    import os
    import time

    import torch

    from analogpipe.config import load_devices
    from analogpipe.estimate import measure, measure_profile
    from analogpipe.progress import duration

    start = time.process_time()  # of this process, as a run has it
    torch.set_num_threads(1)  # as the workflow runs it
    rate = profile.learning_rates.get(run.device, {}).get(run.mode, 0.1)
    one = measure(run.model_copy(update={"learning_rate": rate}), images)
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

    if out.suffix == ".txt":
        write_text(out, table.to_text())
        return
    from analogpipe.gantt import figure

    _save(figure(table, first, clocks), out, "a name that ends in .txt, ")


def _save(figure: Any, out: Path, allowed: str = "a name that ends in ") -> None:
    """Write a figure in the format of the file's suffix."""
    import io

    from analogpipe.files import write_bytes

    if out.suffix not in (".pdf", ".png", ".svg"):
        raise FileError(f"--out: found {out}, allowed: {allowed}.pdf, .png, .svg")
    drawn = io.BytesIO()
    figure.savefig(drawn, format=out.suffix[1:], dpi=200)
    write_bytes(out, drawn.getvalue())


if __name__ == "__main__":
    app()
