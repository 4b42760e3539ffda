import pytest
import torch
from torch import Tensor

from analogpipe.device.parameters import ConstantStep, Pulsed, SoftBounds, SoftBoundsReference
from analogpipe.device.response import draw
from analogpipe.seeds import generator
from analogpipe.tile import update
from analogpipe.tile.config import TileConfig, digital
from analogpipe.tile.pulsed import RewrittenArray
from analogpipe.tile.sections import UpdateConfig
from analogpipe.tile.tile import AnalogTile
from analogpipe.tile.update import Updater

PLAIN = {"dw_min_dtod": 0, "w_max_dtod": 0, "w_min_dtod": 0, "up_down_dtod": 0}


def _changes(
    device: Pulsed,
    start: float,
    x: Tensor,
    e: Tensor,
    lr: float,
    config: UpdateConfig,
    repeats: int = 4000,
) -> Tensor:
    """Changes of a one-input array whose rows all see the same signals, (repeats,)."""
    elements = draw(device, (repeats, x.shape[1]), generator(0, "elements"))
    weight = torch.full((repeats, x.shape[1]), start)
    updater = Updater(weight, elements, device.granularity, config, generator(0, "update"))
    updater.apply(x, e.expand(-1, repeats), lr)
    return weight[:, 0] - start


def test_ideal_is_sgd() -> None:
    weight, x, e = torch.randn(3, 4), torch.randn(5, 4), torch.randn(5, 3)
    tile = AnalogTile(weight, digital(), seed=0, name="tile")
    tile.update(x, e, 0.1)
    torch.testing.assert_close(tile.weight, weight - 0.1 * e.t() @ x)


def test_mean_follows_the_mean_dynamics() -> None:
    device = SoftBounds(dw_min=0.002, **PLAIN)
    x, e, lr, w = torch.tensor([[0.5], [0.2]]), torch.tensor([[0.1], [-0.3]]), 0.1, 0.24
    change = _changes(device, w, x, e, lr, UpdateConfig(rule="mean"))
    wanted, activity = -lr * (0.05 - 0.06), lr * (0.05 + 0.06)
    # F = 1 and G = w / tau
    torch.testing.assert_close(
        change, torch.full_like(change, wanted - activity * w / 0.6), atol=1e-7, rtol=1e-4
    )


@pytest.mark.parametrize("e", [0.09, -0.4])
def test_pulsed_has_the_mean_and_variance_of_a_binomial_count(e: float) -> None:
    device = ConstantStep(dw_min=0.001, dw_min_std=0.5, **PLAIN)
    x, lr = torch.tensor([[0.5, 1.0]]), 0.05
    change = _changes(device, 0.0, x, torch.tensor([[e]]), lr, UpdateConfig())
    needed = lr * 1.0 * abs(e) / 0.001  # BL = 5 or 20 slots, p = 0.5 k / BL
    slots = -(-needed // 1)
    count, chance = 0.5 * needed, 0.5 * needed / slots
    variance = count * (1 - chance) + count * 0.5**2
    assert float(change.mean()) == pytest.approx(-count * 0.001 * (1 if e > 0 else -1), rel=0.03)
    assert float(change.var()) == pytest.approx(variance * 1e-6, rel=0.06)


def test_a_saturated_pulse_train_clips_the_error_signal() -> None:
    device = ConstantStep(dw_min=0.001, **PLAIN)
    x, e = torch.tensor([[0.5, 1.0]]), torch.tensor([[0.8]])
    change = _changes(device, 0.0, x, e, 0.1, UpdateConfig())  # k = 80 > 31
    assert float(change.mean()) == pytest.approx(-0.0155, rel=0.02)


def test_without_update_management_both_signals_clip() -> None:
    device = ConstantStep(dw_min=0.001, dw_min_std=0, **PLAIN)
    config = UpdateConfig(update_management=False, update_bl_management=False, desired_bl=10)
    x, e = torch.tensor([[2.0]]), torch.tensor([[0.01]])
    change = _changes(
        device, 0.0, x, e, 0.01, config
    )  # p_x = 1 (2 sqrt(lr / (g BL)) = 2), p_e = 0.01
    assert float(change.mean()) == pytest.approx(-0.001 * 10 * 1 * 0.01, rel=0.1)


def test_a_huge_step_does_not_overshoot_the_bounds() -> None:
    device = SoftBounds(dw_min=0.01, dw_min_std=0, **PLAIN)
    x, e = torch.ones(64, 1), -torch.ones(64, 1)
    change = _changes(device, -0.5, x, e, 0.3, UpdateConfig())
    assert float(change.max()) <= 1.1 + 1e-6
    assert float(change.mean()) > 0.9


@pytest.mark.parametrize("block", [50, 10**6])
def test_blocks_do_not_change_the_mean(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(update, "BLOCK", block)
    elements = draw(SoftBounds(dw_min=1e-4), (20, 10), generator(0, "blocks"))
    weight = torch.zeros(20, 10)
    x, e = torch.randn(8, 10, generator=generator(1)), torch.randn(8, 20, generator=generator(2))
    updater = Updater(weight, elements, 1e-4, UpdateConfig(rule="mean"), generator(0))
    updater.apply(x, e, 5e-4)
    up, down = elements.base
    wanted, activity = -5e-4 * e.t() @ x, 5e-4 * e.abs().t() @ x.abs()
    expected = ((activity + wanted) * up - (activity - wanted) * down) / 2e-4
    torch.testing.assert_close(weight, expected, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("rule", ["pulsed", "pulse_train"])
def test_write_noise_is_new_only_where_an_element_is_pulsed(rule: str) -> None:
    device = SoftBoundsReference(dw_min=0.001, write_noise_std=20, **PLAIN)
    config = TileConfig(device=device, update=UpdateConfig(rule=rule))  # type: ignore[arg-type]
    tile = AnalogTile(torch.zeros(2000, 2), config, seed=0, name="tile")
    assert isinstance(tile.array, RewrittenArray)
    state = tile.array.state
    offset = tile.weight - state
    assert float(offset.std()) == pytest.approx(0.02, rel=0.05)
    e = torch.zeros(1, 2000)
    e[:, :1000] = 0.1
    tile.update(torch.tensor([[1.0, 0.0]]), e, 0.1)
    new = tile.weight - state
    torch.testing.assert_close(new[1000:], offset[1000:])
    torch.testing.assert_close(new[:, 1], offset[:, 1])
    assert float((new - offset)[:1000, 0].std()) == pytest.approx(0.02 * 2**0.5, rel=0.1)
    assert float(state[:1000, 0].mean()) == pytest.approx(-0.01, rel=0.05)


def test_elements_at_their_bounds_take_no_pulses_ahead() -> None:
    device = SoftBounds(dw_min=0.001, w_max_dtod=0.1, w_min_dtod=0.1)
    elements = draw(device, (500, 400), generator(0, "elements"))
    weight = elements.high.clone()
    updater = Updater(weight, elements, 0.001, UpdateConfig(), generator(0, "update"))
    e = -torch.rand(3, 500, generator=generator(1)) * 0.1
    updater.apply(torch.rand(3, 400, generator=generator(2)), e, 0.1)
    torch.testing.assert_close(weight, elements.high, atol=1e-5, rtol=0)
