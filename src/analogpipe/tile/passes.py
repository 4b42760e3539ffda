"""When the columns of a fast array are read.

Columns are read in turn, and a pass ends with the last one. No column is read twice in a pass: what
happens to a column between its reads concerns no other column, so that a pass needs no loop.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True)
class Pass:
    """Some input vectors (or micro-batches), and the columns that are read while they come in."""

    vectors: slice
    columns: slice
    times: list[int]
    """After how many of the vectors each of the columns is read."""
    complete: bool
    """Whether the last column of the array is among them; its read ends the pass."""


def passes(
    vectors: int, *, column: int, waited: int, every: int, columns: int, width: int
) -> Iterator[Pass]:
    """Cut ``vectors`` into passes: after every ``every`` of them ``columns`` columns are read.

    Args:
        column: the next column, of ``width``.
        waited: vectors since the last transfer, of earlier calls.
    """
    reads = columns * ((waited + vectors) // every)
    edges = [0, *range(width - column, reads + 1, width)] if reads else [0]
    start = 0
    for first, last in pairwise(edges):
        times = [every - waited + every * (read // columns) for read in range(first, last)]
        begin = (column + first) % width
        yield Pass(
            slice(start, times[-1]), slice(begin, width), [time - start for time in times], True
        )
        start = times[-1]
    rest = range(edges[-1], reads)
    if rest or start < vectors:
        times = [every - waited + every * (read // columns) - start for read in rest]
        begin = (column + edges[-1]) % width
        yield Pass(slice(start, vectors), slice(begin, begin + len(rest)), times, False)
