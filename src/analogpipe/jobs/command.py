"""How a module of the package becomes a command: typer options, one line for a user's mistake."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from analogpipe.files import FileError

DataFile = Annotated[
    Path | None,
    typer.Option("--data", help="the data set, as the job data wrote it"),
]


def run(function: Callable[..., None]) -> None:
    """Run ``function`` with the options of the command line.

    A FileError (a configuration or file that cannot be used) ends it with the message alone and
    exit status 2.
    """
    try:
        typer.run(function)
    except FileError as error:
        typer.echo(f"error: {error}", err=True)
        raise SystemExit(2) from None


class OneLineErrors(TyperGroup):
    """Ends every mistake of a user with one line."""

    def main(self, *args: Any, **options: Any) -> NoReturn:
        """Run the command line; exit status 2 for a mistake, else the command's own."""
        try:
            status = super().main(*args, **(options | {"standalone_mode": False}))
        except Exception as error:
            message = _mistake(error)
            if message is None:
                raise
            typer.echo(f"error: {message}", err=True)
            raise SystemExit(2) from None
        raise SystemExit(status if isinstance(status, int) else 0)


def _mistake(error: Exception) -> str | None:
    """Return what to tell the user, or None for a fault of the program.

    Mistakes are the usage errors of typer, files that the system refuses, and the package's own
    kinds of ValueError.
    """
    if hasattr(error, "format_message"):
        return f"{error.format_message()} See --help.".replace("\n", " ")
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    if isinstance(error, ValueError) and type(error).__module__.startswith("analogpipe."):
        return next(iter(str(error).splitlines()), "")
    return None
