"""Write the JSON schemas of the configuration files, and the reference that people read."""

from pathlib import Path
from typing import Annotated

import typer

from analogpipe.files import write_json, write_text
from analogpipe.jobs.command import run as run_command
from analogpipe.profile.reference import SCHEMAS, reference


def main(
    schemas: Annotated[Path, typer.Option(help="folder for the JSON schemas")],
    page: Annotated[Path, typer.Option(help="file for the reference")],
) -> None:
    """Write the schemas and the reference."""
    for name, schema in SCHEMAS.items():
        write_json(schemas / f"{name}.schema.json", schema())
    write_text(page, reference())


if __name__ == "__main__":
    run_command(main)
