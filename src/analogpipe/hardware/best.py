"""The micro-batch size with which each schedule is fastest, with its energy and memory beside it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from analogpipe.hardware import cost
from analogpipe.hardware.config import Hardware
from analogpipe.hardware.layers import Layer, Stage
from analogpipe.hardware.rules import Rule
from analogpipe.schedule import staleness
from analogpipe.schedule.modes import MODE, ScheduleError
from analogpipe.schedule.timing import period

COMPARED = ("sequential", "sync", "async")


@dataclass(frozen=True)
class Choice:
    """A schedule with a micro-batch size: what a sample takes in a long run, and what is held.

    ``micro_batches`` pass between two updates: n at a flush, 1 without one. Bytes are those of the
    stage that holds most of each kind: ``activation_bytes`` between forward and backward,
    ``pair_bytes`` (inputs and errors) between backward and flush, ``buffer_bytes`` always, for the
    digital matrices of the update rule.
    """

    mode: str
    micro_batch: int
    micro_batches: int
    seconds: float
    joules: float
    activation_bytes: float
    pair_bytes: float
    buffer_bytes: float

    @property
    def bytes(self) -> float:
        """All that is held, an upper bound: activations turn to pairs as backwards are done."""
        return self.activation_bytes + self.pair_bytes + self.buffer_bytes


def choice(
    mode: str,
    stages: Sequence[Stage],
    rule: Rule,
    hardware: Hardware,
    micro_batch: int,
    micro_batches: int = 1,
) -> Choice:
    """Return what a sample costs in a long run of ``mode``, with ``micro_batches`` to an update.

    Raises ScheduleError for sizes that the mode does not have.
    """
    if micro_batch < 1:
        raise ScheduleError(f"micro_batch is {micro_batch}, allowed is 1 or more")
    costs = [cost.stage(stage, micro_batch, rule, hardware) for stage in stages]
    seconds = period(
        mode,
        micro_batches,
        [c.forward.seconds for c in costs],
        [c.backward.seconds for c in costs],
        [c.update.seconds for c in costs],
        accumulate=[c.accumulate.seconds for c in costs],
        program=[c.program.seconds for c in costs],
    )
    dynamic = sum(c.joules + c.program.joules / micro_batches for c in costs)
    static = seconds * hardware.static_power * sum(c.arrays for c in costs)
    held = staleness.in_flight(
        mode, len(stages), 10**9, micro_batches, np.arange(1, len(stages) + 1)
    )
    waiting = micro_batches if MODE[mode].flushes and rule.pulsed else 0
    value = hardware.value_bits / 8
    return Choice(
        mode,
        micro_batch,
        micro_batches,
        seconds / micro_batch,
        (dynamic + static) / micro_batch,
        max(
            int(h) * micro_batch * value * sum(layer.stored_values for layer in stage.layers)
            for h, stage in zip(held, stages, strict=True)
        ),
        max(waiting * micro_batch * value * _pair(stage.layers) for stage in stages),
        max(value * rule.buffers * _weights(stage.layers) for stage in stages),
    )


def choices(
    stages: Sequence[Stage],
    rule: Rule,
    hardware: Hardware,
    mini_batch: int,
    *,
    modes: Iterable[str] = COMPARED,
    sizes: Iterable[int] | None = None,
) -> list[Choice]:
    """Return every mode with every micro-batch size that divides ``mini_batch``, or with ``sizes``.

    The synchronous modes update once in a mini-batch, the others after each micro-batch. Raises
    ScheduleError for a size that does not divide the mini-batch.
    """
    if mini_batch < 1:
        raise ScheduleError(f"mini_batch is {mini_batch}, allowed is 1 or more")
    if sizes is None:
        sizes = [b for b in range(1, mini_batch + 1) if mini_batch % b == 0]
    sizes = list(sizes)
    wrong = [b for b in sizes if b < 1 or mini_batch % b]
    if wrong:
        raise ScheduleError(f"micro_batch is {wrong[0]}, allowed are divisors of {mini_batch}")
    return [
        choice(mode, stages, rule, hardware, b, mini_batch // b if MODE[mode].flushes else 1)
        for mode in modes
        for b in sizes
    ]


def fastest(found: Iterable[Choice]) -> dict[str, Choice]:
    """Return the fastest choice of each mode; of equally fast ones (1e-9) that with least memory."""
    best: dict[str, Choice] = {}
    for mode, group in groupby(sorted(found, key=_mode), key=_mode):
        ordered = sorted(group, key=lambda one: one.seconds)
        equal = [one for one in ordered if one.seconds <= ordered[0].seconds * (1 + 1e-9)]
        best[mode] = min(equal, key=lambda one: one.bytes)
    return best


def _mode(one: Choice) -> str:
    return one.mode


def _pair(layers: Sequence[Layer]) -> int:
    """Values of a sample that wait for a flush: the input and the error of each array."""
    return sum(
        layer.stored_values + layer.positions * layer.outputs
        for layer in layers
        if layer.kind != "attention"
    )


def _weights(layers: Sequence[Layer]) -> int:
    return sum(layer.inputs * layer.outputs for layer in layers if layer.kind != "attention")
