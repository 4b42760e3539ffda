"""The modes: names and closed formulas.

They are those of arXiv 2410.15155 and two usual companions (1F1B with flush; weight stashing as in
PipeDream, a digital reference):

=================== ====================================================================
sequential          no pipeline: one micro-batch passes all stages, forward and back
sync                fill-drain (GPipe): all forwards of a mini-batch, then all backwards, flush
sync-1f1b           the same weights and bubble, backward as early as possible, less memory
async               1F1B without flush: update after each backward, one copy of each weight
async-full-duplex   the same on arrays that do one forward and one backward in a clock
async-stash         timing of ``async``; each backward uses the weights of its forward
=================== ====================================================================
"""

import numpy as np
from numpy.typing import NDArray

MODES = ("sequential", "sync", "sync-1f1b", "async", "async-full-duplex", "async-stash")
SYNC_MODES = ("sync", "sync-1f1b")
FULL_DUPLEX = "async-full-duplex"


class ScheduleError(ValueError):
    """A schedule that cannot be built or must not run."""


def slots_per_clock(mode: str) -> int:
    """Micro-batches that a stage can handle in one clock: 2 for full-duplex arrays, else 1."""
    return 2 if mode == FULL_DUPLEX else 1


def check_sizes(mode: str, stages: int, micro_batches: int, mini_batch: int) -> None:
    """Raise ScheduleError unless the mode exists and the sizes make sense for it."""
    if mode not in MODES:
        raise ScheduleError(f"mode is {mode!r}, allowed are {', '.join(MODES)}")
    sizes = {"stages": stages, "micro_batches": micro_batches, "mini_batch": mini_batch}
    for name, size in sizes.items():
        if size < 1:
            raise ScheduleError(f"{name} is {size}, allowed is 1 or more")
    if mini_batch != 1 and mode not in SYNC_MODES:
        raise ScheduleError(
            f"mini_batch is {mini_batch}, allowed is 1 in mode {mode} (only sync modes accumulate)"
        )


def cycles(mode: str, stages: int, micro_batches: int, mini_batch: int = 1) -> int:
    """Closed form of the number of clocks; the last mini-batch may be short."""
    check_sizes(mode, stages, micro_batches, mini_batch)
    if mode == "sequential":
        return 2 * stages * micro_batches
    if mode == FULL_DUPLEX:
        return micro_batches + 2 * (stages - 1)
    if mode in SYNC_MODES:
        full, rest = divmod(micro_batches, mini_batch)
        total = full * 2 * (mini_batch + stages - 1)
        return total + (2 * (rest + stages - 1) if rest else 0)
    return 2 * (micro_batches + stages - 1)


def density(mode: str, stages: int, micro_batches: int, mini_batch: int = 1) -> float:
    """Closed form of the computation density."""
    clocks = cycles(mode, stages, micro_batches, mini_batch)
    return 2 * micro_batches / (slots_per_clock(mode) * clocks)


def closes_mini_batch(mode: str, micro_batches: int, mini_batch: int) -> NDArray[np.bool_]:
    """For each micro-batch, whether an update follows its backward."""
    b = np.arange(micro_batches)
    if mode not in SYNC_MODES:
        return np.ones(micro_batches, dtype=np.bool_)
    closing: NDArray[np.bool_] = (b % mini_batch == mini_batch - 1) | (b == micro_batches - 1)
    return closing
