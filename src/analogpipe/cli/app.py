"""The command ``analogpipe``: train, calibrate, draw, estimate and compare, outside the workflow too.

The commands call the functions that the workflow calls. A user's mistake ends in one line on stderr
and exit status 2. Modules that load slowly are imported by the commands that need them.
"""

from importlib.metadata import version
from typing import Annotated

import typer

from analogpipe.cli.look import compare, list_runs, plot, show
from analogpipe.cli.make import calibrate, train, validate
from analogpipe.cli.plan import estimate, schedule
from analogpipe.jobs.command import OneLineErrors

app = typer.Typer(
    cls=OneLineErrors,
    help="Pipelined training of neural networks on simulated analog in-memory accelerators.",
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,
)


def _tell(wanted: bool) -> None:
    if wanted:
        typer.echo(version("analogpipe"))
        raise typer.Exit


@app.callback()
def _options(
    told: Annotated[
        bool,
        typer.Option("--version", callback=_tell, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    pass


app.command()(train)
app.command()(calibrate)
app.command()(schedule)
app.command()(estimate)
app.command("list")(list_runs)
app.command()(show)
app.command()(compare)
app.command()(plot)
app.command()(validate)


if __name__ == "__main__":
    app()
