"""How a module of the package becomes a command: typer options, one line for a user's mistake."""

from collections.abc import Callable

import typer

from analogpipe.files import FileError


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
