"""How often to save: a time or a number of micro-batches, written with its unit."""

import re
from typing import NamedTuple

UNITS = {"s": 1.0, "min": 60.0, "h": 3600.0}
MICRO_BATCHES = "micro-batches"
PATTERN = r"^(?=.*[1-9])([0-9]{1,9}(\.[0-9]{1,3})? (s|min|h)|[0-9]{1,9} micro-batches)$"  # not zero


class Interval(NamedTuple):
    """An interval in seconds or in micro-batches; the other one is None."""

    seconds: float | None
    micro_batches: int | None


def parse(text: object) -> Interval:
    """Return the interval that ``text`` (``30 s``, ``5 min``, ``1 h``, ``500 micro-batches``) means.

    Raises ValueError, in one line, for anything else.
    """
    if not isinstance(text, str) or re.fullmatch(PATTERN.rstrip("$"), text) is None:
        raise ValueError(
            f"found {str(text)[:40]!r}, allowed: a number and s, min, h or {MICRO_BATCHES}, "
            "e.g. '5 min'"
        )
    number, unit = text.split()
    if unit == MICRO_BATCHES:
        return Interval(None, int(number))
    return Interval(float(number) * UNITS[unit], None)
