"""Weight versions that each micro-batch meets, and micro-batches in flight: closed forms.

A version is the number of updates that a stage has applied. Micro-batches ``b`` count from 0,
stages ``m`` from 1; the closed forms take arrays of either (they broadcast). ``counted_versions``
gets the same numbers from a table; the tests compare both with what an executed run records.
"""

import numpy as np
from numpy.typing import ArrayLike

from analogpipe.schedule.modes import MODE, Ints, ScheduleError, check_sizes
from analogpipe.schedule.table import Action, Schedule


def _indices(mode: str, M: int, b: ArrayLike, m: ArrayLike, n: int) -> tuple[Ints, Ints]:
    check_sizes(mode, M, 1, n)
    b_, m_ = np.asarray(b, dtype=np.int64), np.asarray(m, dtype=np.int64)
    if b_.size and b_.min() < 0:
        raise ScheduleError(f"micro-batch is {b_.min()}, allowed is 0 or more")
    if m_.size and not (m_.min() >= 1 and m_.max() <= M):
        raise ScheduleError(f"stage is outside of 1 to {M}: {m_.min()} to {m_.max()}")
    return b_, m_


def delay(mode: str, M: int, m: ArrayLike) -> Ints:
    """Updates between the forward and the backward of a micro-batch in the steady state."""
    _, m_ = _indices(mode, M, 0, m, 1)
    return MODE[mode].delay(m_, M)


def forward_version(mode: str, M: int, b: ArrayLike, m: ArrayLike, n: int = 1) -> Ints:
    """Version of stage ``m`` that the forward of micro-batch ``b`` uses."""
    b_, m_ = _indices(mode, M, b, m, n)
    oldest: Ints = np.maximum(0, b_ // n - delay(mode, M, m_))
    return oldest


def backward_version(mode: str, M: int, b: ArrayLike, m: ArrayLike, n: int = 1) -> Ints:
    """Version of stage ``m`` that the backward of micro-batch ``b`` uses."""
    check_sizes(mode, M, 1, n)
    if MODE[mode].stashes:
        return forward_version(mode, M, b, m, n)
    b_, m_ = _indices(mode, M, b, m, n)
    return b_ // n + 0 * m_


def gap(mode: str, M: int, b: ArrayLike, m: ArrayLike, n: int = 1) -> Ints:
    """Forward/backward weight gap: backward version minus forward version."""
    return backward_version(mode, M, b, m, n) - forward_version(mode, M, b, m, n)


def staleness(mode: str, M: int, b: ArrayLike, m: ArrayLike, n: int = 1) -> Ints:
    """Updates applied to stage ``m`` since the forward of ``b`` when its own update comes."""
    b_, m_ = _indices(mode, M, b, m, n)
    return b_ // n - forward_version(mode, M, b_, m_, n)


def in_flight(mode: str, M: int, K: int, n: int, m: ArrayLike) -> Ints:
    """Peak number of micro-batches of ``K`` that stage ``m`` holds between their F and their B."""
    check_sizes(mode, M, K, n)
    _, m_ = _indices(mode, M, 0, m, n)
    return MODE[mode].in_flight(m_, M, K, n)


def counted_versions(schedule: Schedule, m: int) -> tuple[Ints, Ints]:
    """Updates of stage ``m`` before each forward and before each backward, counted in the table."""
    kind = schedule.row(m).kind
    updates = np.cumsum(kind == Action.U)
    return updates[kind == Action.F], updates[kind == Action.B]
