"""Whole runs on hardware: lengths against the full simulation, stages from blocks, records."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analogpipe.hardware.layers import LayerError, Stage, attention, convolution, cut, linear
from analogpipe.hardware.presets import PRESETS
from analogpipe.hardware.record import from_record, to_record
from analogpipe.hardware.rules import Rule, RuleError
from analogpipe.hardware.run import OnHardware
from analogpipe.profile.rule import of_tile
from analogpipe.schedule.modes import MODES, SYNC_MODES
from analogpipe.schedule.partition import PartitionError, balance
from analogpipe.schedule.table import build
from analogpipe.schedule.timing import duration, simulate
from analogpipe.tile.config import TileConfig, preset

IBM, SGD = PRESETS["ibm-proj"], Rule("analog_sgd")
BLOCKS = [
    Stage((convolution(3, 8, 3, 16, 16),), 8 * 256),
    Stage((convolution(8, 8, 3, 16, 16),), 8 * 256),
    Stage((*attention(8, 16),), 128),
    Stage((linear(128, 10),), 10),
]


@settings(max_examples=40, deadline=None)
@given(
    mode=st.sampled_from(MODES),
    times=st.lists(st.tuples(*[st.floats(0.1, 3.0)] * 3), min_size=1, max_size=6),
    n=st.integers(1, 6),
    micro_batches=st.integers(1, 150),
)
def test_a_run_is_as_long_as_its_simulation(mode, times, n, micro_batches) -> None:
    n = n if mode in SYNC_MODES else 1
    costs = tuple(zip(*times, strict=True))
    none = [0.0] * len(times)
    found = duration(mode, micro_batches, n, *costs, accumulate=none, program=none)
    whole = simulate(build(mode, len(times), micro_batches, n), *costs).makespan
    assert found == pytest.approx(whole, rel=1e-2 if micro_batches > 8 * len(times) else 1e-12)


def test_energy_grows_with_the_samples_alone() -> None:
    on = OnHardware(cut(BLOCKS, 3), SGD, IBM, 4)
    async_, sync = on.run("async", 100), on.run("sync", 100, 10)
    assert async_.joules == pytest.approx(sync.joules)
    assert async_.joules == pytest.approx(100 * sum(stage.joules for stage in on.costs()))
    assert async_.seconds < sync.seconds < on.run("sequential", 100).seconds


def test_stages_are_cut_as_training_cuts_them() -> None:
    # reads of a sample: 256, 256, 2 * 16, 1
    assert [len(stage.layers) for stage in cut(BLOCKS, 2)] == [1, 5]
    assert [len(stage.layers) for stage in cut(BLOCKS, 2, [3, 1])] == [5, 1]
    assert [(s.sent, s.returned) for s in cut(BLOCKS, 3, [1, 2, 1])] == [
        (2048, 0),
        (128, 2048),
        (0, 128),
    ]
    assert cut(BLOCKS, 1)[0].sent == 0


def test_the_slowest_stage_sets_the_ceiling() -> None:
    assert balance([1, 1, 2]) == pytest.approx((1.5, 2.0))
    assert balance([3, 3]) == (1, 2)
    with pytest.raises(PartitionError, match="one above 0"):
        balance([0, 0])


def test_a_record_gives_the_network_back() -> None:
    text = json.dumps(to_record(BLOCKS))
    assert from_record(json.loads(text)) == BLOCKS
    with pytest.raises(LayerError, match="record of a network cannot be read"):
        from_record([{"layers": [{"shape": 3}], "sent": 1}])


def test_rules_of_tiles() -> None:
    device = {"kind": "soft_bounds"}
    transfer = {"kind": "ttv2", "every": 3, "columns": 2}
    assert of_tile(None) == of_tile(TileConfig.parse({"device": device})) == SGD
    two = of_tile(TileConfig.parse({"device": device, "transfer": transfer}))
    assert two == Rule("ttv2", 3, 2, units_in_mbatch=True)
    assert (
        of_tile(TileConfig.parse({"device": device, "mixed_precision": {}})).kind
        == "mixed_precision"
    )
    slow = TileConfig.parse({"device": device, "mixed_precision": {"transfer_every": 2}})
    with pytest.raises(RuleError, match="transfer_every is 2"):
        of_tile(slow)
    agad = of_tile(TileConfig.parse({"device": device, "transfer": {"kind": "agad", "every": 5}}))
    assert agad == Rule("agad", 5, 1)
    with pytest.raises(RuleError, match="refresh has no cost"):
        of_tile(preset("PCM"))
