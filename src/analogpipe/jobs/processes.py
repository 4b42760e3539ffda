"""Run a module in one process per stage on this machine."""

import sys
from typing import Annotated

import typer

from analogpipe.pipeline.launch import launch

app = typer.Typer(add_completion=False)


@app.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
def main(
    stages: Annotated[int, typer.Option(min=1, help="number of stages, a process for each")],
    module: Annotated[str, typer.Argument(help="module to run in each process")],
    options: Annotated[list[str] | None, typer.Argument(help="its options")] = None,
) -> None:
    """Run a module in one process per stage on this machine."""
    raise SystemExit(launch([sys.executable, "-m", module, *(options or [])], stages))


if __name__ == "__main__":
    app()
