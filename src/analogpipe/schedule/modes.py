"""The modes: each one object with its clocks and its closed forms. A further mode is one more entry.

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

In the formulas M is the number of stages, K that of micro-batches, n that of micro-batches between two
flushes; stages m count from 1, micro-batches b and clocks from 0.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


class ScheduleError(ValueError):
    """A schedule that cannot be built or must not run."""


@dataclass(frozen=True)
class Mode:
    """What makes a mode. The tests compare the closed forms with the table and with executed runs."""

    name: str
    clocks: Callable[[Ints, Ints, int, int, int], tuple[Ints, Ints]]
    """Clocks of forward and backward by m (M, 1), b (1, K), M, K, n."""
    cycles: Callable[[int, int, int], int]
    """Number of clocks by M, K, n."""
    delay: Callable[[Ints, int], Ints]
    """Updates between the forward and the backward of a micro-batch in the steady state, by m, M."""
    in_flight: Callable[[Ints, int, int, int], Ints]
    """Most micro-batches between their forward and their backward, by m, M, K, n."""
    flushes: bool = False
    """Whether weights change at the flush after n micro-batches alone, and not after each."""
    pipelined: bool = True
    """Whether a micro-batch may start before the one before it is through."""
    full_duplex: bool = False
    """Whether a stage does one forward and one backward in a clock."""
    stashes: bool = False
    """Whether a backward uses a copy of the weights of its forward."""

    @property
    def stale(self) -> bool:
        """Whether the weights depend on the number of stages."""
        return bool((self.delay(np.arange(1, 3), 2) > 0).any())


def _no_delay(m: Ints, stages: int) -> Ints:
    return np.zeros_like(m)


def _of_delay(delay: Callable[[Ints, int], Ints]) -> Callable[[Ints, int, int, int], Ints]:
    """Micro-batches in flight where each is followed by its own update."""
    return lambda m, stages, count, n: np.minimum(count, delay(m, stages) + 1)


def _one_at_a_time(m: Ints, b: Ints, stages: int, count: int, n: int) -> tuple[Ints, Ints]:
    start = 2 * stages * b
    return start + m - 1, start + 2 * stages - m


def _fill_drain(m: Ints, b: Ints, stages: int, count: int, n: int) -> tuple[Ints, Ints]:
    j, i = np.divmod(b, n)
    start = 2 * (n + stages - 1) * j
    size = np.minimum(n, count - j * n)
    return start + i + m - 1, start + (size + stages - 1) + i + (stages - m)


def _1f1b_flush(m: Ints, b: Ints, stages: int, count: int, n: int) -> tuple[Ints, Ints]:
    j, i = np.divmod(b, n)
    start = 2 * (n + stages - 1) * j
    return start + 2 * i + m - 1, start + 2 * i + 2 * stages - m


def _flushed(stages: int, count: int, n: int) -> int:
    full, rest = divmod(count, n)
    return full * 2 * (n + stages - 1) + (2 * (rest + stages - 1) if rest else 0)


SEQUENTIAL = Mode(
    "sequential",
    clocks=_one_at_a_time,
    cycles=lambda stages, count, n: 2 * stages * count,
    delay=_no_delay,
    in_flight=lambda m, stages, count, n: np.ones_like(m),
    pipelined=False,
)
SYNC = Mode(
    "sync",
    clocks=_fill_drain,
    cycles=_flushed,
    delay=_no_delay,
    in_flight=lambda m, stages, count, n: np.full_like(m, min(n, count)),
    flushes=True,
)
SYNC_1F1B = Mode(
    "sync-1f1b",
    clocks=_1f1b_flush,
    cycles=_flushed,
    delay=_no_delay,
    in_flight=lambda m, stages, count, n: np.minimum(min(n, count), stages - m + 1),
    flushes=True,
)
ASYNC = Mode(
    "async",
    clocks=lambda m, b, stages, count, n: (2 * b + m - 1, 2 * b + 2 * stages - m),
    cycles=lambda stages, count, n: 2 * (count + stages - 1),
    delay=lambda m, stages: stages - m,
    in_flight=_of_delay(lambda m, stages: stages - m),
)
ASYNC_FULL_DUPLEX = Mode(
    "async-full-duplex",
    clocks=lambda m, b, stages, count, n: (b + m - 1, b + 2 * stages - m - 1),
    cycles=lambda stages, count, n: count + 2 * (stages - 1),
    delay=lambda m, stages: 2 * (stages - m),
    in_flight=_of_delay(lambda m, stages: 2 * (stages - m)),
    full_duplex=True,
)
ASYNC_STASH = replace(ASYNC, name="async-stash", stashes=True)

MODE = {
    mode.name: mode for mode in (SEQUENTIAL, SYNC, SYNC_1F1B, ASYNC, ASYNC_FULL_DUPLEX, ASYNC_STASH)
}
MODES = tuple(MODE)
SYNC_MODES = tuple(name for name, mode in MODE.items() if mode.flushes)


def slots_per_clock(mode: str) -> int:
    """Micro-batches that a stage can handle in one clock: 2 for full-duplex arrays, else 1."""
    return 2 if MODE[mode].full_duplex else 1


def check_sizes(mode: str, stages: int, micro_batches: int, mini_batch: int) -> None:
    """Raise ScheduleError unless the mode exists and the sizes make sense for it."""
    if mode not in MODE:
        raise ScheduleError(f"mode is {mode!r}, allowed are {', '.join(MODES)}")
    sizes = {"stages": stages, "micro_batches": micro_batches, "mini_batch": mini_batch}
    for name, size in sizes.items():
        if size < 1:
            raise ScheduleError(f"{name} is {size}, allowed is 1 or more")
    if mini_batch != 1 and not MODE[mode].flushes:
        raise ScheduleError(
            f"mini_batch is {mini_batch}, allowed is 1 in mode {mode} (only sync modes accumulate)"
        )


def cycles(mode: str, stages: int, micro_batches: int, mini_batch: int = 1) -> int:
    """Closed form of the number of clocks; the last mini-batch may be short."""
    check_sizes(mode, stages, micro_batches, mini_batch)
    return MODE[mode].cycles(stages, micro_batches, mini_batch)


def density(mode: str, stages: int, micro_batches: int, mini_batch: int = 1) -> float:
    """Closed form of the computation density."""
    clocks = cycles(mode, stages, micro_batches, mini_batch)
    return 2 * micro_batches / (slots_per_clock(mode) * clocks)


def closes_mini_batch(mode: str, micro_batches: int, mini_batch: int) -> NDArray[np.bool_]:
    """For each micro-batch, whether an update follows its backward."""
    b = np.arange(micro_batches)
    if not MODE[mode].flushes:
        return np.ones(micro_batches, dtype=np.bool_)
    closing: NDArray[np.bool_] = (b % mini_batch == mini_batch - 1) | (b == micro_batches - 1)
    return closing
