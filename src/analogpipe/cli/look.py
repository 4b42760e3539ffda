"""Commands that look back: list, show, compare and plot finished runs."""

from pathlib import Path
from typing import Annotated

import typer

from analogpipe.cli.options import HardwareName, hardware_of, save_figure
from analogpipe.files import FileError


def list_runs(
    root: Annotated[Path, typer.Argument(help="folder to search")] = Path("results"),
) -> None:
    """List the finished runs below a folder with their last epoch.

    \b
    Example: analogpipe list results/quick/runs
    """
    from analogpipe.cli import terminal
    from analogpipe.results import run as runs
    from analogpipe.results.compare import summary

    if not root.is_dir():
        raise FileError(f"{root}: found no such folder")
    rows = []
    for folder in runs.find(root):
        try:
            found = summary(runs.read(folder))
        except FileError as error:
            typer.echo(f"left out: {error}", err=True)
            continue
        rows.append([*found.values(), str(folder)])
    if not rows:
        typer.echo(f"no finished run below {root}")
        return
    terminal.console().print(terminal.table([*found, "folder"], rows))


def show(
    run: Annotated[Path, typer.Argument(help="folder of a run")],
    clocks: Annotated[bool, typer.Option("--schedule", help="draw its schedule as well")] = False,
) -> None:
    """Show one run: its configuration, where it ran, and the metrics of every epoch.

    \b
    Example: analogpipe show results/quick/runs/digits/resmlp8/digital/async/M4/lr0.025/seed0
    """
    from analogpipe.cli import terminal
    from analogpipe.results import run as runs
    from analogpipe.results.compare import summary

    found = runs.read(run)
    screen = terminal.console()
    facts = [*summary(found).items()]
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


def compare(
    one: Annotated[Path, typer.Argument(help="folder of a run")],
    two: Annotated[Path, typer.Argument(help="folder of another run")],
    target: Annotated[
        float | None,
        typer.Option(min=0, help="training loss to reach [the lowest that both reach]"),
    ] = None,
    hardware: HardwareName = None,
) -> None:
    """Compare two runs: what differs in their configuration, accuracy, samples and cycles to a target;
    with --hardware, seconds and joules there, too.

    \b
    Example: analogpipe compare results/quick/runs/digits/resmlp8/digital/{sequential/M1,async/M4}/seed0
    """
    from analogpipe.cli import terminal
    from analogpipe.results import compare as comparison
    from analogpipe.results import run as runs

    first, second = runs.read(one), runs.read(two)
    frame = comparison.compare(first, second, target, hardware_of(hardware))
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


def plot(
    runs_: Annotated[list[Path], typer.Argument(metavar="RUN...", help="folders of runs")],
    out: Annotated[Path, typer.Option(help="file to write: .pdf, .png, .svg")] = Path("curves.pdf"),
) -> None:
    """Draw the test accuracy of runs against samples and clock cycles.

    \b
    Example: analogpipe plot results/quick/runs/digits/resmlp8/digital/{sequential/M1,async/M4}/seed0
    """
    from analogpipe.figures import curves
    from analogpipe.results import run as runs

    save_figure(curves.figure([runs.read(folder) for folder in runs_]), out)
    typer.echo(f"written to {out}")
