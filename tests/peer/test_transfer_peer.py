"""Tiki-Taka, chopped TTv2 and AGAD against AIHWKit 1.1.0.

Where every pulse is certain (trains of one slot, constant steps without spread or noise) both are
deterministic, and all states are compared after every micro-batch. On a noisy regression the means and
spreads of the error that is left are compared, as AIHWKit cannot be seeded.
"""

import statistics
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from analogpipe.seeds import generator
from analogpipe.tile.config import TileConfig
from analogpipe.tile.presets import RULES
from analogpipe.tile.tile import AnalogTile

pytest.importorskip("aihwkit")
from aihwkit.nn import AnalogLinear
from aihwkit.simulator.configs import UnitCellRPUConfig, compounds
from aihwkit.simulator.configs import devices as peer_devices
from aihwkit.simulator.parameters import IOParameters, UpdateParameters
from aihwkit.simulator.presets import configs as peer_presets

pytestmark = pytest.mark.peer

COMPOUNDS = {
    "ttv1": "TransferCompound",
    "ttv2": "BufferedTransferCompound",
    "cttv2": "ChoppedTransferCompound",
    "agad": "DynamicTransferCompound",
}
NAMES = {"every": "transfer_every", "columns": "n_reads_per_transfer", "threshold": "thres_scale"}
PLAIN: dict[str, Any] = dict.fromkeys(
    ("dw_min_dtod", "dw_min_std", "w_max_dtod", "w_min_dtod", "up_down_dtod"), 0.0
)
OUT, IN = 3, 5


def _peer(
    kind: str,
    device: Any,
    update: UpdateParameters,
    options: dict[str, Any],
    shape: tuple[int, int] = (OUT, IN),
) -> Any:
    """A tile of AIHWKit with two arrays of ``device``, perfect reads and no weight scaling."""
    cell = getattr(compounds, COMPOUNDS[kind])(unit_cell_devices=[device, device])
    for key, value in options.items():
        assert hasattr(cell, NAMES.get(key, key))
        setattr(cell, NAMES.get(key, key), value)
    cell.transfer_forward = IOParameters(is_perfect=True)
    perfect = {"forward": IOParameters(is_perfect=True), "backward": IOParameters(is_perfect=True)}
    config = UnitCellRPUConfig(device=cell, update=update, **perfect)
    config.mapping.max_input_size = config.mapping.max_output_size = 0
    config.mapping.weight_scaling_omega = 0.0
    layer = AnalogLinear(shape[1], shape[0], bias=False, rpu_config=config)
    tile = next(layer.analog_tiles())
    tile.set_weights(torch.zeros(shape))
    return tile


def _ours(
    kind: str,
    device: dict[str, Any],
    update: dict[str, Any],
    options: dict[str, Any],
    shape: tuple[int, int] = (OUT, IN),
    seed: int = 0,
) -> AnalogTile:
    perfect = {"perfect": True}
    transfer = {"kind": kind, "forward": perfect, "reference": "none", **options}
    data = {"device": device, "update": update, "transfer": transfer}
    config = TileConfig.parse({**data, "forward": perfect, "backward": perfect})
    return AnalogTile(torch.zeros(shape), config, seed=seed, name="peer")


def _signals(updates: int, vectors: int) -> tuple[Tensor, Tensor]:
    """Signals of sizes near 1 that drift, and zeros."""
    numbers = torch.Generator().manual_seed(1)
    x = torch.rand(updates, vectors, IN, generator=numbers) + 0.5
    x *= torch.rand(updates, vectors, IN, generator=numbers).gt(0.3) * 1.0
    e = torch.rand(updates, vectors, OUT, generator=numbers) + 0.5
    way = torch.tensor([0.5, -0.5, 0.2])
    e *= (torch.randn(updates, vectors, OUT, generator=numbers) + way).sign()
    return x, e


SURE: list[tuple[str, dict[str, Any]]] = [
    ("ttv1", {"fast_lr": 9.0, "gamma": 0.7, "transfer_lr": 4.17, "columns": 1}),
    ("ttv2", {"fast_lr": 9.0, "transfer_lr": 1.717, "columns": 2, "every": 2, "momentum": 0.3}),
    ("ttv2", {"fast_lr": 9.0, "transfer_lr": 1.717, "gamma": 0.4, "forget_buffer": True}),
    (
        "ttv2",
        {
            "fast_lr": 9.0,
            "transfer_lr": 1.0131,
            "every": 2,
            "units_in_mbatch": False,
            "threshold": 1.5,
        },
    ),
    ("cttv2", {"fast_lr": 9.0, "transfer_lr": 0.717, "in_chop_prob": 0.0}),
    ("cttv2", {"fast_lr": 9.0, "transfer_lr": 0.717, "in_chop_prob": 0.3, "every": 3}),
    ("cttv2", {"fast_lr": 9.0, "auto_granularity": 17.7, "momentum": 0.2, "forget_buffer": False}),
    ("cttv2", {"fast_lr": 90.0, "auto_scale": True, "correct_gradient_magnitudes": True}),
    (
        "cttv2",
        {"fast_lr": 9.0, "units_in_mbatch": True, "transfer_lr": 0.717, "out_chop_prob": 1.0},
    ),
    ("cttv2", {"fast_lr": 9.0, "transfer_lr": 0.717, "out_chop_prob": 1.0}),
    ("agad", {"fast_lr": 9.0, "transfer_lr": 0.717, "in_chop_prob": 0.3, "tail_weightening": 2.0}),
    ("agad", {"fast_lr": 9.0, "transfer_lr": 0.717, "in_chop_prob": 0.5, "every": 2}),
    (
        "agad",
        {
            "fast_lr": 90.0,
            "auto_scale": True,
            "auto_momentum": 0.8,
            "correct_gradient_magnitudes": True,
            "transfer_lr": 11.7,
            "forget_buffer": False,
            "buffer_cap": 1.7,
        },
    ),
]


@pytest.mark.parametrize(("kind", "options"), SURE)
@pytest.mark.parametrize("rule", ["mean", "pulse_train"])
@pytest.mark.parametrize("vectors", [4, 13])
def test_all_states_are_the_same_where_every_pulse_is_sure(
    kind: str, options: dict[str, Any], rule: str, vectors: int
) -> None:
    """Up pulses are larger than down pulses; ``mean`` takes a pass at once, ``pulse_train`` does not."""
    if kind in ("ttv2", "cttv2"):  # what is not the default of both
        own = {"ttv2": ("forget_buffer", False), "cttv2": ("in_chop_random", False)}[kind]
        options = dict([own]) | options
    sizes = {"dw_min": 0.01, "w_max": 50.0, "w_min": -50.0, "up_down": 0.25, **PLAIN}
    trains = {"desired_bl": 1, "update_management": False, "update_bl_management": False}
    device = peer_devices.ConstantStepDevice(**sizes)
    peer = _peer(kind, device, UpdateParameters(**trains), options)
    tile = _ours(kind, {"kind": "constant_step", **sizes}, {"rule": rule, **trains}, options)
    lr = 0.37
    peer.set_learning_rate(lr)
    for x, e in zip(*_signals(70, vectors), strict=True):
        peer.update(x, e)
        tile.update(x, e, lr)
        state, theirs = tile.array.state_dict(), peer.get_hidden_parameters()
        pairs = [("fast", "hidden_weights_0"), ("mean", "running_mean_weight")]
        pairs += [("past", "past_mean_weight"), ("buffer", "buffered_FP_weight")]
        pairs += [("buffer", "buffered_FP_weight_0")]
        for own, other in pairs:
            if own in state and other in theirs:
                # a pulse is 0.01, in the buffer of chopped rules 1
                near = 1e-3 if other == "buffered_FP_weight" else 1e-4
                torch.testing.assert_close(state[own], theirs[other], rtol=1e-4, atol=near)
        if kind != "ttv1":  # the trains of its transfers are random
            torch.testing.assert_close(tile.weight, peer.get_weights()[0], rtol=0, atol=1e-4)
    assert int(tile.weight.count_nonzero()) > OUT * IN // 2


ARRAYS, UPDATES, SHAPE = 8, 2000, (40, 10)
NOISY: list[tuple[str, dict[str, Any], float]] = [
    ("ttv1", {"fast_lr": 0.02, "transfer_lr": 5.0}, -0.2),
    ("ttv2", {"fast_lr": 0.02, "transfer_lr": 5.0, "forget_buffer": False}, -0.2),
    ("cttv2", {"fast_lr": 0.02}, 0.0),
    ("cttv2", {"fast_lr": 0.02}, -0.2),
    ("agad", {"fast_lr": 0.02}, 0.0),
    ("agad", {"fast_lr": 0.02}, -0.2),
    ("agad", {"fast_lr": 0.1, "auto_scale": True}, -0.2),
]


def _left(update: Callable[..., None], weight: Callable[[], Tensor], seed: int) -> list[float]:
    """Regress on noisy targets; mean and spread, over the rows, of the logarithm of the squared error
    that is left in the end."""
    stream = generator(seed, "regression")
    target = 0.3 * (torch.rand(SHAPE, generator=stream) * 2 - 1)
    errors = []
    for step in range(UPDATES):
        x = torch.randn(4, SHAPE[1], generator=stream)
        noise = 0.5 * torch.randn(4, SHAPE[0], generator=stream)
        update(x, x @ (weight() - target).t() + noise)
        if step >= UPDATES * 3 // 4:
            errors.append((weight() - target).square().mean(1))
    rows = torch.stack(errors).mean(0).log()
    return [float(rows.mean()), float(rows.std())]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "options", "up_down"), NOISY)
def test_the_same_error_is_left_of_a_noisy_regression(
    kind: str, options: dict[str, Any], up_down: float
) -> None:
    """Means and spreads of arrays of 40 rows; ``up_down`` -0.2 puts symmetric points to -0.06.

    A two-sided t test of 14 degrees of freedom at 5e-4 each (4.5) for 14 comparisons: 7e-3 in all.
    """
    device = {"dw_min": 0.002, "up_down": up_down}
    ours, theirs = [], []
    for seed in range(ARRAYS):
        tile = _ours(kind, {"kind": "soft_bounds", **device}, {}, options, SHAPE, seed)
        peer = _peer(
            kind, peer_devices.SoftBoundsDevice(**device), UpdateParameters(), options, SHAPE
        )
        peer.set_learning_rate(0.02)

        def update(x: Tensor, e: Tensor, tile: AnalogTile = tile) -> None:
            tile.update(x, e, 0.02)

        ours.append(_left(update, lambda tile=tile: tile.weight, seed))
        theirs.append(_left(peer.update, lambda peer=peer: peer.get_weights()[0], seed))
    for i, name in enumerate(("mean", "spread")):
        one, other = [left[i] for left in ours], [left[i] for left in theirs]
        error = ((statistics.variance(one) + statistics.variance(other)) / ARRAYS) ** 0.5
        means = statistics.mean(one), statistics.mean(other)
        print(f"{kind} {options} {up_down} {name}: {means[0]:.3f} {means[1]:.3f} +- {error:.3f}")
        assert abs(means[0] - means[1]) < 4.5 * error, (name, means, error)


@pytest.mark.parametrize("name", RULES)
def test_presets_have_the_same_values(name: str) -> None:
    tile, peer = TileConfig.parse({"preset": name}), getattr(peer_presets, f"{name}Preset")()
    cell = peer.device
    assert tile.transfer is not None
    kinds = {COMPOUNDS["ttv1"]: "ttv1", COMPOUNDS["cttv2"]: "cttv2", COMPOUNDS["agad"]: "agad"}
    assert kinds[type(cell).__name__] == tile.transfer.kind
    ours = {NAMES.get(key, key): value for key, value in tile.transfer.model_dump().items()}
    unused = {"ttv1": {"momentum", "forget_buffer"}}.get(tile.transfer.kind, set())
    same = [key for key in ours if hasattr(cell, key) and key not in unused]
    assert {key: ours[key] for key in same} == {key: getattr(cell, key) for key in same}
    assert peer.update.desired_bl == tile.update.desired_bl
    assert cell.transfer_forward.out_noise == tile.transfer.forward.out_noise
    for device in cell.unit_cell_devices:
        assert device.dw_min == getattr(tile.device, "dw_min", None)
        found = getattr(tile.device, "subtract_symmetry_point", None)
        assert getattr(device, "subtract_symmetry_point", None) == found
