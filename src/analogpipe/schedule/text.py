"""A schedule as text: a header, then a line per stage with a token per clock."""

import re

import numpy as np

from analogpipe.schedule.modes import ScheduleError
from analogpipe.schedule.table import Action, Schedule, tokens, validate

_HEADER = re.compile(
    r"#\s*mode=(\S+) stages=(\d{1,9}) micro_batches=(\d{1,9}) mini_batch=(\d{1,9})\s*", re.A
)
_ACTION = re.compile(r"([FBU])(\d{1,9})", re.A)


def to_text(schedule: Schedule) -> str:
    """The table as text: a header, then a line per stage with a token per clock.

    A token is ``.`` (idle) or the actions of the slot joined by ``+``: ``F0 F1 B0+U0 .``
    """
    s = schedule
    header = (
        f"# mode={s.name} stages={s.stages} "
        f"micro_batches={s.micro_batches} mini_batch={s.mini_batch}"
    )
    rows = [" ".join(row) for row in tokens(s, 0, s.cycles)]
    return "\n".join([header, *rows]) + "\n"


def from_text(text: str) -> Schedule:
    """Parse and validate what :func:`to_text` wrote. Raises ScheduleError."""
    schedule = _parse(text)
    validate(schedule)
    return schedule


def _parse(text: str) -> Schedule:
    lines = [line for line in text.splitlines() if line.strip()]
    header = _HEADER.fullmatch(lines[0]) if lines else None
    if header is None:
        raise ScheduleError(
            "the first line must be '# mode=... stages=... micro_batches=... mini_batch=...'"
        )
    mode, (stages, micro_batches, mini_batch) = header[1], (int(header[i]) for i in (2, 3, 4))
    rows = [line for line in lines if not line.startswith("#")]
    if len(rows) != stages:
        raise ScheduleError(f"found {len(rows)} lines of actions, the header says {stages} stages")
    actions: list[tuple[int, int, int, int]] = []
    for stage, row in enumerate(rows, start=1):
        for clock, token in enumerate(row.split()):
            for part in () if token == "." else token.split("+"):
                action = _ACTION.fullmatch(part)
                if action is None:
                    raise ScheduleError(f"stage {stage}, clock {clock}: {part!r} is no action")
                actions.append((clock, int(Action[action[1]]), stage, int(action[2])))
    if len(actions) < 2 * stages * micro_batches or not actions:
        raise ScheduleError(
            f"found {len(actions)} actions, {stages} stages and {micro_batches} micro-batches "
            "need more"
        )
    clock_, kind_, stage_, micro_batch_ = np.array(sorted(actions), dtype=np.int64).T
    return Schedule(mode, stages, micro_batches, mini_batch, clock_, stage_, kind_, micro_batch_)
