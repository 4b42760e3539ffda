"""Tables and schedules in the terminal."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from analogpipe.figures.gantt import cells
from analogpipe.schedule.table import Action, Schedule

if TYPE_CHECKING:
    import pandas as pd

STYLES = {Action.F: "black on #9ecae1", Action.B: "white on #a63603"}
WIDE = 400
"""Characters of a line in a file, so that no table is folded there."""
DRAWN = 160
"""Most characters of a drawn schedule."""


def console() -> Console:
    """Return a console on stdout, wide enough for tables when the output goes to a file."""
    screen = Console(highlight=False)
    return screen if screen.is_terminal else Console(highlight=False, width=WIDE)


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> Table:
    """Return a table; numbers are right-aligned and rounded, None is left empty."""
    rows = [list(row) for row in rows]
    made = Table(box=None, pad_edge=False, header_style="bold")
    for index, name in enumerate(columns):
        numeric = all(isinstance(row[index], int | float | None) for row in rows)
        made.add_column(name, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        made.add_row(*(Text(show(value)) for value in row))
    return made


def frame(data: "pd.DataFrame") -> Table:
    """Return a data frame as a table."""
    return table([str(name) for name in data.columns], data.itertuples(index=False, name=None))


def show(value: Any) -> str:
    """Return a value as people read it."""
    if value is None or value != value:
        return ""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int) or float(value).is_integer():
        return f"{value:,.0f}"
    return f"{value:.4g}"


def draw(schedule: Schedule, width: int, first: int = 0) -> list[Text]:
    """Draw as many clocks as fit into ``width`` characters, a line per stage.

    ``*`` marks a backward pass after which the weights change.
    """
    most = schedule.micro_batches - 1
    slot = len(f"F{most}*") * (2 if schedule.name == "async-full-duplex" else 1) + 1
    head = len(f"stage {schedule.stages} ")
    clocks = max(1, (min(width, DRAWN) - head) // slot)
    last = min(first + clocks, schedule.cycles)
    slots: dict[tuple[int, int], Text] = {}
    for cell in cells(schedule, first, last):
        mark = "*" if cell.updates else ""
        text = slots.setdefault((cell.stage, cell.clock), Text())
        text.append(f"{cell.kind.name}{cell.micro_batch}{mark}", STYLES[cell.kind])
    lines = []
    for stage in range(1, schedule.stages + 1):
        line = Text(f"stage {stage} ".ljust(head))
        for clock in range(first, last):
            content = slots.get((stage, clock), Text("."))
            line.append_text(content).append(" " * (slot - len(content)))
        line.rstrip()
        lines.append(line)
    if (first, last) != (0, schedule.cycles):
        lines.append(Text(f"(clocks {first} to {last - 1} of {schedule.cycles})", "dim"))
    return lines
