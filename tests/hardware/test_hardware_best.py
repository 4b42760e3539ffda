"""The best micro-batch of each schedule: against closed forms, and where no size can help."""

from dataclasses import replace

import pytest

from analogpipe.hardware import cost
from analogpipe.hardware.best import Choice, choice, choices, fastest
from analogpipe.hardware.config import Hardware
from analogpipe.hardware.layers import Stage, convolution, linear, pipeline
from analogpipe.hardware.presets import PRESETS
from analogpipe.hardware.rules import RULES, Rule
from analogpipe.schedule.modes import ScheduleError

IBM = PRESETS["ibm-proj"]
STAGES = [Stage((linear(512, 512),))] * 8  # equal, without messages
C, U = 80e-9, 25e-9 + 1024 / 175e9


def changed(**constants: float) -> Hardware:
    """The accelerator with other constants."""
    return Hardware(**{**IBM.model_dump(), **constants})


def test_equal_stages_take_the_closed_forms() -> None:
    for one in choices(STAGES, Rule("analog_sgd"), IBM, 64):
        n = one.micro_batches
        expected = {"sequential": 8 * C + U, "sync": (1 + 7 / n) * C + U, "async": C + U}[one.mode]
        assert one.seconds == pytest.approx(expected, rel=1e-12)
        assert one.micro_batch * n == 64 or one.mode != "sync"


def test_sync_is_fastest_with_micro_batches_of_one_sample_where_actions_cost_nothing_else() -> None:
    best = fastest(choices(STAGES, Rule("analog_sgd"), IBM, 64))
    assert best["sync"].micro_batch == 1
    gain = best["sync"].seconds / best["async"].seconds
    assert gain == pytest.approx(1 + (C / (C + U)) * 7 / 64, rel=1e-12)


def test_an_overhead_of_each_action_makes_larger_micro_batches_better() -> None:
    """c = b C + 2 o; sync is fastest near b = sqrt(2 o B / (C (M - 1))), here sqrt(64) = 8."""
    overhead = 64 * 7 * C / (2 * 64)
    best = fastest(choices(STAGES, Rule("analog_sgd"), changed(action_overhead=overhead), 64))
    assert best["sync"].micro_batch == 8
    assert best["async"].micro_batch == best["sequential"].micro_batch == 64


def test_mixed_precision_programs_at_each_update() -> None:
    rule, found = Rule("mixed_precision"), {}
    for one in choices(STAGES, rule, IBM, 64):
        found[one.mode, one.micro_batch] = one
    outer, rows = (2 * 512**2 + 512) / 175e9, 512 * 5e-9
    assert found["async", 1].seconds == pytest.approx(C + outer + rows, rel=1e-12)
    assert found["async", 64].seconds == pytest.approx(C + outer + rows / 64, rel=1e-12)
    assert found["sync", 1].seconds == pytest.approx(
        (1 + 7 / 64) * C + outer + rows / 64, rel=1e-12
    )
    assert found["async", 1].seconds > found["sync", 1].seconds
    assert found["async", 1].joules > found["async", 64].joules
    assert found["async", 64].joules == pytest.approx(found["sync", 1].joules)
    best = fastest(found.values())
    assert best["async"].micro_batch == 64
    ratio = best["sequential"].seconds / best["async"].seconds
    assert 1.1 < ratio < 1.25


@pytest.mark.parametrize("kind", [kind for kind in RULES if kind != "mixed_precision"])
def test_dynamic_energy_is_that_of_any_schedule(kind: str) -> None:
    found = choices(STAGES, Rule(kind), IBM, 16)
    assert [one.joules for one in found] == pytest.approx([found[0].joules] * len(found))
    idle = choices(STAGES, Rule(kind), changed(static_power=1e-3), 16)
    arrays = 8 * Rule(kind).arrays
    for busy, with_idle in zip(found, idle, strict=True):
        static = with_idle.joules - busy.joules
        assert static == pytest.approx(1e-3 * arrays * busy.seconds, rel=1e-9)


def test_memory_of_activations_and_of_pairs_for_the_flush() -> None:
    small = convolution(3, 8, 3, 10, 10)
    stages = pipeline([[small], [linear(800, 10)]])
    sgd = Rule("analog_sgd")
    sync = choice("sync", stages, sgd, IBM, micro_batch=4, micro_batches=6)
    assert sync.activation_bytes == 6 * 4 * 800  # of the second stage
    assert sync.pair_bytes == 6 * 4 * (300 + 100 * 8)  # of the first
    early = choice("sync-1f1b", stages, sgd, IBM, micro_batch=4, micro_batches=6)
    assert early.activation_bytes == max(2 * 4 * 300, 1 * 4 * 800)
    assert early.pair_bytes == sync.pair_bytes
    live = choice("async", stages, sgd, IBM, micro_batch=4)
    assert (live.activation_bytes, live.pair_bytes, live.buffer_bytes) == (3200, 0, 0)
    mixed = choice("sync", stages, Rule("mixed_precision"), IBM, micro_batch=4, micro_batches=6)
    assert (mixed.pair_bytes, mixed.buffer_bytes) == (0, 8000)
    agad = choice("async", stages, Rule("agad"), IBM, micro_batch=4)
    assert agad.buffer_bytes == 3 * 8000


def test_unequal_stages_are_as_fast_as_the_slowest() -> None:
    stages = [Stage((convolution(16, 16, 3, 16, 16),)), *STAGES[:3]]
    one = choice("async", stages, Rule("analog_sgd"), IBM, micro_batch=2)
    slowest = cost.stage(stages[0], 1, Rule("analog_sgd"), IBM)
    busy = slowest.forward.seconds + slowest.backward.seconds + slowest.update.seconds
    assert one.seconds == pytest.approx(busy, rel=1e-12)


def test_of_equally_fast_choices_the_smallest_is_taken() -> None:
    one = Choice("async", 8, 1, 1.0, 1.0, 80.0, 0.0, 0.0)
    smaller = replace(one, micro_batch=2, seconds=1.0 + 1e-12, activation_bytes=20.0)
    slower = replace(one, micro_batch=1, seconds=1.1, activation_bytes=10.0)
    assert fastest([one, smaller, slower]) == {"async": smaller}


def test_bad_sizes_are_refused() -> None:
    with pytest.raises(ScheduleError, match="micro_batch is 5, allowed are divisors of 64"):
        choices(STAGES, Rule("analog_sgd"), IBM, 64, sizes=[8, 5])
    with pytest.raises(ScheduleError, match="mini_batch is 0"):
        choices(STAGES, Rule("analog_sgd"), IBM, 0)
    with pytest.raises(ScheduleError, match="micro_batch is 0"):
        choice("async", STAGES, Rule("analog_sgd"), IBM, 0)
