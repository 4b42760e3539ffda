"""Checkpoints of AIHWKit's layers in our pipeline."""

import pytest
import torch
from torch import Tensor

import analogpipe as ap
from analogpipe.aihwkit.layers import AihwkitError, AihwkitLayer
from analogpipe.aihwkit.state import set_state, state_of

pytest.importorskip("aihwkit")
from aihwkit.nn import (
    AnalogLinear,
)
from aihwkit.simulator import presets as peer_presets

from peer_lenet import Digits, lenet
from peer_pipelines import assert_same, exact, noisy, pair, pipeline

pytestmark = pytest.mark.peer


def test_an_async_run_is_taken_up_to_the_bit_where_nothing_is_random() -> None:
    net, other = pair(lambda: lenet(exact))
    other = ap.from_aihwkit(other)
    digits = Digits(0, 8)
    one = pipeline(net, "async", 4, 14, digits, 0.1)
    one.run(until=15)
    state = one.state_dict()
    assert all(isinstance(value, Tensor) for value in state.values())
    one.run()
    torch.manual_seed(7)
    fresh = ap.from_aihwkit(lenet(exact))
    two = pipeline(fresh, "async", 4, 14, digits, 0.1)
    two.load_state_dict(state)
    two.run()
    assert_same(net, fresh)
    assert torch.equal(one.losses, two.losses)


def test_pending_micro_batches_are_part_of_a_checkpoint() -> None:
    net, fresh = (ap.from_aihwkit(lenet(exact)) for _ in range(2))
    digits = Digits(0, 8)
    one, two = (pipeline(m, "sync", 2, 6, digits, 0.1, mini_batch=3) for m in (net, fresh))
    one.run(until=5)
    state = one.state_dict()
    assert any("pending" in key for key in state)
    one.run()
    two.load_state_dict(state)
    two.run()
    assert_same(net, fresh)


KEPT = ["EcRam", "ReRamES", "ReRamSB", "PCM", "EcRam2", "TikiTakaEcRam", "TTv2EcRam", "AGADEcRam"]
PARTS = ["weight", "hidden"]
KEPT += ["MixedPrecisionEcRam", "MixedPrecisionReRamSB", "MixedPrecisionPCM", "Capacitor"]


@pytest.mark.parametrize("name", KEPT)
def test_states_of_noisy_arrays_are_restored(name: str) -> None:
    """All but the noise of writing; AIHWKit's own loading loses fast arrays, pairs and residuals."""

    def make() -> AihwkitLayer:
        config = getattr(peer_presets, f"{name}Preset")()
        return ap.from_aihwkit(AnalogLinear(5, 4, rpu_config=config))

    layer, fresh = make(), make()
    x = torch.rand(3, 5)
    for _ in range(7):
        layer(x).square().sum().backward()
        layer.update(0.1)
    state = {key: value.clone() for key, value in layer.state_dict().items()}
    fresh.load_state_dict(state)
    noisy = "ReRam" in name
    for key, value in fresh.state_dict().items():
        if not (noisy and key == "tiles.0.weight"):
            torch.testing.assert_close(value, state[key], rtol=0, atol=0, equal_nan=True)
    for _ in range(3):
        fresh(x).square().sum().backward()
        fresh.update(0.1)
    after = fresh.state_dict()
    changed = [not torch.equal(after[f"tiles.0.{key}"], state[f"tiles.0.{key}"]) for key in PARTS]
    assert any(changed)


@pytest.mark.parametrize("name", ["TTv2ReRamES", "AGADReRamSB"])
def test_what_aihwkit_cannot_restore_is_refused_when_it_is_saved(name: str) -> None:
    layer = ap.from_aihwkit(AnalogLinear(5, 4, rpu_config=getattr(peer_presets, f"{name}Preset")()))
    layer(torch.rand(3, 5)).sum().backward()
    layer.update(0.1)
    with pytest.raises(AihwkitError, match="has no way to set persistent_weights_0, persistent"):
        layer.state_dict()


def test_a_state_of_another_tile_is_refused() -> None:
    one = ap.from_aihwkit(AnalogLinear(5, 4, rpu_config=peer_presets.EcRamPreset()))
    two = ap.from_aihwkit(AnalogLinear(4, 4, rpu_config=peer_presets.EcRamPreset()))
    with pytest.raises(RuntimeError, match="the state is that of another tile"):
        two.load_state_dict(one.state_dict())
    with pytest.raises(RuntimeError, match=r"tiles\.0\.weight"):
        two.load_state_dict({})


def test_a_state_that_is_not_held_is_refused() -> None:
    tile = next(AnalogLinear(5, 4, rpu_config=peer_presets.EcRamPreset()).analog_tiles())
    state = state_of(tile)
    state["weight"] = state["weight"] + 100.0  # beyond all bounds
    with pytest.raises(AihwkitError, match="does not hold the state"):
        set_state(tile, state)


def test_four_stages_learn_in_async_and_are_taken_up() -> None:
    torch.manual_seed(0)
    digits = Digits(0, 8)
    net = ap.from_aihwkit(lenet(noisy))
    one = pipeline(net, "async", 4, 200, digits, 0.3)
    one.run(until=200)
    state = one.state_dict()
    fresh = ap.from_aihwkit(lenet(noisy))
    two = pipeline(fresh, "async", 4, 200, digits, 0.3)
    two.load_state_dict(state)
    for key, value in two.state_dict().items():
        torch.testing.assert_close(value, state[key], rtol=0, atol=0, equal_nan=True)
    two.run()
    assert digits.accuracy(two.predict) > 0.6
    assert float(two.losses[-30:].mean()) < 0.7 * float(two.losses[:30].mean())
