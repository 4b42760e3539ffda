"""Copies of weights between arrays, and replicas that are brought together by them."""

import pytest
import torch

from analogpipe.experiment import data
from analogpipe.experiment.copy import program, read_out
from analogpipe.experiment.replicas import Copying, Replicas
from analogpipe.profile.profile import load_profile
from analogpipe.seeds import generator
from analogpipe.tile.config import TileConfig, digital
from analogpipe.tile.sections import ReadoutConfig, UpdateConfig
from analogpipe.tile.tile import AnalogTile

PERFECT = ReadoutConfig(perfect=True)
NO_SPREAD = {"dw_min_std": 0, "dw_min_dtod": 0, "up_down_dtod": 0}
EXACT = {"kind": "constant_step", "dw_min": 0.01, **NO_SPREAD}
TARGET = torch.rand(6, 9, generator=generator(0, "target")) - 0.5


def _tile(device: dict[str, object], name: str = "copy", **settings: object) -> AnalogTile:
    config = TileConfig.parse({"device": device, "backward": {"perfect": True}, **settings})
    return AnalogTile(torch.zeros(6, 9), config, seed=0, name=name)


def test_a_copy_takes_as_many_iterations_as_its_pulses_and_ends_near_a_pulse() -> None:
    tile = _tile(EXACT, forward={"perfect": True}, update={"desired_bl": 20})
    after = list(program(tile, TARGET, iterations=12, reads=1))
    # 0.5 in steps of 0.01, at most 20 an iteration
    assert after[0].slots == 20
    assert after[0].error > after[1].error > after[2].error
    assert after[-1].error < 0.01


def test_more_reads_leave_less_error() -> None:
    noisy = {"out_noise": 0.1, "inp_res": 0, "out_res": 0}
    left = []
    for reads in (1, 25):
        tile = _tile(EXACT, forward=noisy, update={"desired_bl": 100})
        *_, last = program(tile, TARGET, iterations=15, reads=reads)
        left.append(last.error)
    # what the last read was off: 0.1 and 0.02, and the rounding to pulses
    assert left[0] == pytest.approx(0.1, rel=0.3)
    assert left[1] == pytest.approx(0.02, abs=0.012)


def test_columns_at_once_are_as_columns_one_by_one() -> None:
    """All columns of an iteration are one update, for speed: errors as if programmed in turn."""
    device = {"kind": "soft_bounds", "dw_min": 0.005}
    left = []
    for name in ("together", "in turn"):
        errors = []
        for k in range(20):
            tile = _tile(device, f"{k}", forward={"perfect": True})
            columns = torch.eye(9) if name == "together" else torch.eye(9).unsqueeze(1)
            for _ in range(3):
                difference = read_out(tile, 1) - TARGET
                if name == "together":
                    tile.update(columns, difference.t().contiguous(), 1.0)
                else:
                    for j in range(9):
                        tile.update(columns[j], difference[:, j].unsqueeze(0), 1.0)
            errors.append((tile.weight - TARGET).square().mean().sqrt())
        left.append(float(torch.stack(errors).mean()))
    assert left[0] == pytest.approx(left[1], rel=0.05)


@pytest.fixture(scope="module")
def run(tiny_profile):
    profile = load_profile(tiny_profile)
    run = profile.run("linear-tau0.6", "sequential", 1, 0, tile=digital(), rate=0.1)
    return run, data.load(run.dataset)


def test_exact_replicas_after_every_step_are_one_network_with_large_batches(run) -> None:
    many = Replicas(*run, 4, Copying(every=1, iterations=1, reads=1))
    large = run[0].training.model_copy(update={"micro_batch": 32})
    one = Replicas(run[0].model_copy(update={"training": large}), run[1], 1, Copying(1, 1, 1))
    for replicas in (many, one):
        rows = replicas.train(1, 0.1)
    assert rows[-1]["samples"] == 320
    assert many.copies == 10
    states = [stage.module.state_dict() for stage in (*many.stages, *one.stages)]
    first, *others = ([t for t in state.values() if t.is_floating_point()] for state in states)
    for other in others:
        for a, b in zip(first, other, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_analog_replicas_have_elements_of_their_own_and_the_same_weights(run) -> None:
    device = {"kind": "soft_bounds", "dw_min": 0.002}
    tile = TileConfig.parse({"device": device, "forward": PERFECT, "update": UpdateConfig()})
    analog = run[0].model_copy(update={"tile": tile})
    replicas = Replicas(analog, run[1], 2, Copying(every=4, iterations=30, reads=1))
    one, two = (stage.analog[0].tile for stage in replicas.stages)
    assert not torch.equal(one.array.response.high, two.array.response.high)
    assert (one.weight - two.weight).square().mean().sqrt() < 0.01
    assert replicas.copies == 0
    rows = replicas.train(1, 0.1)
    assert rows[-1]["copies"] == replicas.copies == 5
    assert 1 <= replicas.slots <= 31
