"""Devices, updates and read-out against AIHWKit 1.1.0: distributions, never sequences.

AIHWKit's runs cannot be seeded, so each comparison has a chance to fail by itself: with |z| < 4.5
for 276 comparisons of means and spreads, 1.9e-3 in all. ``peer_moments.TOLERANCE`` is what the closed form of
``pulsed`` may be off beyond the statistical error. ``test_a_wrong_device_is_noticed`` shows that an
error of 5 % in mean or spread would be found.
"""

from typing import Any

import pytest
import torch
from torch import Tensor

from analogpipe.device.presets import PRESETS
from analogpipe.device.response import draw
from analogpipe.seeds import generator
from analogpipe.tile.config import TileConfig
from analogpipe.tile.pulsed import PulsedArray
from analogpipe.tile.sections import ReadoutConfig
from analogpipe.tile.tile import AnalogTile
from peer_moments import Z, assert_alike, pulls

pytest.importorskip("aihwkit")
from aihwkit.nn import AnalogLinear
from aihwkit.simulator.configs import SingleRPUConfig, UnitCellRPUConfig
from aihwkit.simulator.configs import devices as peer_devices
from aihwkit.simulator.parameters import IOParameters
from aihwkit.simulator.presets import devices as peer_presets
from aihwkit.simulator.presets.compounds import PCMPresetUnitCell

pytestmark = pytest.mark.peer

ROWS, COLUMNS, ARRAYS = 1500, 6, 2
RECORDED = (1, 10, 1000)

CLASSES = {
    "constant_step": "ConstantStepDevice",
    "linear_step": "LinearStepDevice",
    "soft_bounds": "SoftBoundsDevice",
    "soft_bounds_reference": "SoftBoundsReferenceDevice",
    "exp_step": "ExpStepDevice",
    "pow_step": "PowStepDevice",
}
DEVICES: dict[str, dict[str, Any]] = {
    "constant": {"kind": "constant_step", "up_down": 0.1},
    "linear": {"kind": "linear_step", "gamma_up": 0.5, "gamma_down": 0.3, "dw_min": 0.002},
    "linear-additive": {"kind": "linear_step", "gamma_up": 0.5, "mult_noise": False},
    "soft": {"kind": "soft_bounds", "dw_min": 0.002, "up_down": -0.1},
    # AIHWKit clips a weight that is set as if the reference were 0: keep the bounds away from it
    "reference": {
        "kind": "soft_bounds_reference",
        "dw_min": 0.002,
        "reference_std": 0.05,
        "w_max_dtod": 0.05,
        "w_min_dtod": 0.05,
    },
    "exponential": {"kind": "exp_step", "dw_min": 0.002},
    "power": {"kind": "pow_step", "dw_min": 0.004, "pow_gamma": 1.5, "pow_up_down": 0.1},
}
CASES = [
    pytest.param(name, marks=pytest.mark.slow) if name == "PCM" else name
    for name in [*DEVICES, *PRESETS]
]


def _peer_config(name: str) -> Any:
    if name == "PCM":
        return UnitCellRPUConfig(device=PCMPresetUnitCell())
    if name in PRESETS:
        device = getattr(peer_presets, f"{name}PresetDevice")()
    else:
        options = dict(DEVICES[name])
        device = getattr(peer_devices, CLASSES[options.pop("kind")])(**options)
    if hasattr(device, "lifetime"):
        device.lifetime = 0.0  # leakage is not modelled here
    return SingleRPUConfig(device=device)


def _tile(name: str) -> TileConfig:
    return TileConfig.parse({"preset": name} if name in PRESETS else {"device": DEVICES[name]})


def _peer_tile(config: Any, rows: int, columns: int) -> Any:
    """A single tile of AIHWKit, without splitting or weight scaling."""
    config.mapping.max_input_size = config.mapping.max_output_size = 0
    config.mapping.weight_scaling_omega = 0.0
    layer = AnalogLinear(columns, rows, bias=False, rpu_config=config)
    return next(layer.analog_tiles())


def _signals(granularity: float) -> tuple[Tensor, Tensor, Tensor]:
    """Inputs that fire all columns, and up and down error signals at a learning rate of 1.

    The last row has the largest error (6 or 4 pulses a sample); the others fire half as often.
    """
    x = torch.ones(1, COLUMNS)
    e = torch.full((1, ROWS), 0.5)
    e[0, -1] = 1.0
    return x, -5.9999 * granularity * e, 3.9999 * granularity * e


def _peer_changes(
    name: str, start: float, arrays: int = ARRAYS, recorded: tuple[int, ...] = RECORDED
) -> dict[int, Tensor]:
    changes: dict[int, list[Tensor]] = {n: [] for n in recorded}
    x, up, down = _signals(_tile(name).device.granularity)
    for _ in range(arrays):
        tile = _peer_tile(_peer_config(name), ROWS, COLUMNS)
        tile.set_weights(torch.full((ROWS, COLUMNS), start))
        begin = tile.get_weights()[0].clone()
        tile.set_learning_rate(1.0)
        for n in range(1, recorded[-1] + 1):
            tile.update(x, up if n % 2 else down)
            if n in recorded:
                changes[n].append((tile.get_weights()[0] - begin)[:-1])
    return {n: torch.cat(parts) for n, parts in changes.items()}


def _our_changes(
    config: TileConfig, start: float, arrays: int = ARRAYS, recorded: tuple[int, ...] = RECORDED
) -> dict[int, Tensor]:
    changes: dict[int, list[Tensor]] = {n: [] for n in recorded}
    x, up, down = _signals(config.device.granularity)
    for array in range(arrays):
        tile = AnalogTile(torch.full((ROWS, COLUMNS), start), config, seed=array, name="peer")
        begin = tile.weight.clone()
        for n in range(1, recorded[-1] + 1):
            tile.update(x, up if n % 2 else down, 1.0)
            if n in recorded:
                changes[n].append((tile.weight - begin)[:-1])
    return {n: torch.cat(parts) for n, parts in changes.items()}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("start", [-0.3, 0.0, 0.3])
def test_weight_changes_have_the_same_mean_and_spread(name: str, start: float) -> None:
    assert_alike(_our_changes(_tile(name), start), _peer_changes(name, start))


@pytest.mark.usefixtures("in_bfloat16")
@pytest.mark.parametrize("name", ["soft", "constant"])
def test_weight_changes_are_alike_with_products_in_bfloat16(name: str) -> None:
    assert_alike(_our_changes(_tile(name), 0.0), _peer_changes(name, 0.0))


def test_the_first_changes_of_a_one_sided_pair_are_the_same() -> None:
    """The first part of the slow case PCM; by then the first pairs have been refreshed."""
    recorded = (1, 10)
    ours = _our_changes(_tile("PCM"), 0.0, recorded=recorded)
    assert_alike(ours, _peer_changes("PCM", 0.0, recorded=recorded))


SINGLE = [name for name in [*DEVICES, *PRESETS] if name != "PCM"]


@pytest.mark.parametrize("name", SINGLE)
def test_steps_are_the_same_where_nothing_is_random(name: str) -> None:
    """One pulse from each of many weights, elements alike and without noise."""
    device = _tile(name).device
    random = [
        key for key in type(device).model_fields if key.endswith("_dtod") or key.endswith("_std")
    ]
    plain = dict.fromkeys(random, 0.0)
    response = draw(device.model_copy(update=plain), (19, 6), generator(0, name))
    config = _peer_config(name)
    for key in random:
        setattr(config.device, key, 0.0)
    peer = _peer_tile(config, 19, 6)
    peer.set_learning_rate(1.0)
    weight = torch.linspace(-0.9, 0.9, 19).unsqueeze(1) * response.high.clamp(max=0.6)
    steps = response.steps(weight, torch.empty(2, 19, 6))
    e = torch.full((1, 19), 0.999999 * device.granularity)
    for signs, sizes in ((-1, steps[0]), (1, -steps[1])):
        peer.set_weights(weight)
        peer.update(torch.ones(1, 6), signs * e)
        change = peer.get_weights()[0] - weight
        # AIHWKit's 15-bit random numbers can miss a row or column that is to fire for certain
        pulsed = change != 0
        assert float(pulsed.float().mean()) > 0.5
        torch.testing.assert_close(change[pulsed], sizes[pulsed], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("change", [{"dw_min": 0.0021}, {"dw_min_std": 0.5}, {"w_max": 0.65}])
def test_a_wrong_device_is_noticed(change: dict[str, float]) -> None:
    wrong = TileConfig.parse({"device": DEVICES["soft"] | change})
    ours, peers = _our_changes(wrong, 0.0, arrays=5), _peer_changes("soft", 0.0, arrays=5)
    assert max(max(pulls(ours[n], peers[n])) for n in RECORDED) > Z


def test_alternating_pulses_end_at_the_same_symmetric_point() -> None:
    options: dict[str, Any] = {"dw_min": 0.01, "up_down": -0.2}
    config = TileConfig.parse({"device": {"kind": "soft_bounds", **options}})
    peer_config = SingleRPUConfig(device=peer_devices.SoftBoundsDevice(**options))
    peer = _peer_tile(peer_config, ROWS, COLUMNS)
    peer.set_weights(torch.zeros(ROWS, COLUMNS))
    peer.set_learning_rate(1.0)
    tile = AnalogTile(torch.zeros(ROWS, COLUMNS), config, seed=0, name="peer")
    x, e = torch.ones(1, COLUMNS), torch.full((1, ROWS), 0.009999)
    for n in range(800):
        peer.update(x, e if n % 2 else -e)
        tile.update(x, e if n % 2 else -e, 1.0)
    mean, spread = pulls(tile.weight, peer.get_weights()[0])
    assert mean < Z
    assert spread < Z
    assert isinstance(tile.array, PulsedArray)
    point = tile.array.response.symmetric_point()
    # half a step: the last pulse was a down pulse
    assert float(tile.weight.mean()) == pytest.approx(float(point.nanmean()), abs=0.006)


def _io(config: ReadoutConfig) -> IOParameters:
    options = config.model_dump(exclude={"perfect", "noise_management", "bound_management"})
    return IOParameters(**options)


def _far_from_ties(x: Tensor, config: ReadoutConfig) -> Tensor:
    """Which rows of ``x`` (b, in) no rounding error brings to another input level, read at a scale of
    1 to 64 times their largest input."""
    sizes = x.abs().double()
    levels = sizes / (sizes.amax(1, keepdim=True) * config.levels.inp_step)
    scales = 2.0 ** torch.arange(7).view(-1, 1, 1)
    return ((levels / scales % 1 - 0.5).abs() > 1e-5).all(2).all(0)


@pytest.mark.parametrize("scale", [1.0, 40.0])
def test_read_outs_quantise_alike(scale: float) -> None:
    """Without noise the read-outs agree to ties of the output; scale 40 needs bound management.

    A tie at the input changes a whole row of outputs. With 63 levels on each side, the default, the
    largest input of each row read at twice its scale is one; with 64 it stays on a level.
    """
    config = ReadoutConfig(inp_res=1 / 128, out_noise=0)
    peer_config = SingleRPUConfig(device=peer_devices.IdealDevice())
    peer_config.forward, peer_config.backward = _io(config), _io(config)
    peer = _peer_tile(peer_config, 30, 50)
    numbers = torch.Generator().manual_seed(0)
    weight = torch.randn(30, 50, generator=numbers) * scale * 0.2
    peer.set_weights(weight)
    data: dict[str, Any] = {"device": {"kind": "ideal"}, "forward": config.model_dump()}
    data["backward"] = config.model_dump() | {"bound_management": "none"}
    tile = AnalogTile(weight, TileConfig.parse(data), seed=0, name="peer")
    x, e = torch.randn(400, 50, generator=numbers), torch.randn(400, 30, generator=numbers)
    x, e = x[_far_from_ties(x, config)], e[_far_from_ties(e, config)]
    assert min(len(x), len(e)) > 350
    for ours, peers in (
        (tile.read_forward(x).detach(), peer.forward(x).detach()),
        (tile.read_backward(e).detach(), peer.backward(e).detach()),
    ):
        step = float(peers.abs().max()) / 255
        different = ((ours - peers).abs() > 1e-3 * step).float().mean()
        assert float(different) < 1e-3


@pytest.mark.usefixtures("in_both_formats")
def test_read_outs_are_equally_noisy() -> None:
    config = ReadoutConfig(inp_noise=0.02, inp_res=0, out_res=0)
    peer_config = SingleRPUConfig(device=peer_devices.IdealDevice())
    peer_config.forward = _io(config)
    weight = torch.randn(30, 50) * 0.2
    peer = _peer_tile(peer_config, 30, 50)
    peer.set_weights(weight)
    data = {"device": {"kind": "ideal"}, "forward": config.model_dump()}
    tile = AnalogTile(weight, TileConfig.parse(data), seed=0, name="peer")
    x = torch.randn(1, 50).expand(4000, -1).contiguous()
    ours, peers = tile.read_forward(x), peer.forward(x).detach()
    # 30 outputs of 4000 reads: the mean ratio has an error of 1 / sqrt(4000 * 30) = 0.3 %
    assert float((ours.std(0) / peers.std(0)).mean()) == pytest.approx(1, abs=0.015)
    pull = (ours.mean(0) - peers.mean(0)) / peers.std(0) * (4000 / 2) ** 0.5
    assert float(pull.abs().max()) < Z
