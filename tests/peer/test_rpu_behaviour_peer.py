"""What arrays of AIHWKit's configurations do, read and written back.

AIHWKit's runs cannot be seeded: |z| < 4.5 for some 350 comparisons of means and spreads, 2.4e-3 in all.
"""

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import analogpipe as ap
from analogpipe.seeds import generator
from analogpipe.tile.config import TileConfig
from analogpipe.tile.mixed_precision import MixedPrecisionArray
from analogpipe.tile.tile import AnalogTile
from analogpipe.tile.transfer import TransferArray
from peer_moments import assert_alike

pytest.importorskip("aihwkit")
from aihwkit.nn import AnalogLinear as PeerLinear
from aihwkit.simulator import configs as peer_configs
from aihwkit.simulator.configs import compounds, devices
from aihwkit.simulator.configs.helpers import build_config
from aihwkit.simulator.parameters import IOParameters, UpdateParameters
from aihwkit.simulator.presets.utils import StandardIOParameters

from peer_presets import READ, elements, preset

pytestmark = pytest.mark.peer

ROWS, COLUMNS, ARRAYS, RECORDED = 375, 6, 8, (1, 10)
"""Several arrays, as one of AIHWKit's draws its noise from a table of 32,768 numbers."""
DEVICES = Path(__file__).parents[2] / "config" / "devices.yaml"
POINTS = ["linear-tau0.6-ttv1", "linear-tau0.6-ttv2"]
"""Soft bounds that are read against their symmetric points."""

OWN: dict[str, Any] = {
    "power": lambda: build_config("sgd", devices.PowStepReferenceDevice(pow_gamma=1.5)),
    "range": lambda: build_config("sgd", devices.SoftBoundsPmaxDevice()),
    "cell": lambda: peer_configs.UnitCellRPUConfig(
        device=compounds.VectorUnitCell(unit_cell_devices=[devices.LinearStepDevice(gamma_up=0.4)])
    ),
    "managed": lambda: build_config(
        "sgd", devices.SoftBoundsDevice, up_parameters=UpdateParameters(update_management=False)
    ),
    "levels": lambda: build_config(
        "sgd", devices.IdealDevice, io_parameters=IOParameters(inp_res=64, out_res=-1)
    ),
    "standard": lambda: build_config("sgd", devices.SoftBoundsDevice, StandardIOParameters),
    "float": lambda: peer_configs.FloatingPointRPUConfig(),
}
KINDS = ["ttv1", "ttv2", "c-ttv2", "agad", "mp"]
OWN |= {kind: lambda kind=kind: build_config(kind, devices.SoftBoundsDevice) for kind in KINDS}


def _config(name: str) -> Any:
    config = OWN[name]() if name in OWN else preset(name)
    config.mapping.max_input_size = config.mapping.max_output_size = 0
    return config


def _quiet(config: Any) -> Any:
    """The same with reads that draw nothing, and elements that hold any weight of the test."""
    config = deepcopy(config)
    if hasattr(config, "forward"):
        config.forward.out_noise = config.backward.out_noise = 0.0
    for device in elements(config.device):
        for key in ("w_max_dtod", "w_min_dtod", "write_noise_std"):
            if hasattr(device, key):
                setattr(device, key, 0.0)
    return config


@pytest.mark.parametrize("name", [*READ, *OWN])
@pytest.mark.parametrize(
    "mapping", [{}, {"weight_scaling_omega": 0.4, "weight_scaling_columnwise": True}], ids=str
)
def test_reads_are_those_of_the_configuration(name: str, mapping: dict[str, Any]) -> None:
    """Without noise: the same to ties of the converters, of a layer read, and of AIHWKit's when
    written back."""
    config = _quiet(_config(name))
    for key, value in mapping.items():
        setattr(config.mapping, key, value)
    tile = ap.from_rpu_config(config)
    layer = ap.AnalogLinear(12, 7, tile, seed=0, name="layer")
    stream = generator(1)
    x, e = (torch.randn(200, n, generator=stream) for n in (12, 7))
    weight, bias = torch.rand(7, 12, generator=stream) * 0.3, torch.randn(7, generator=stream)
    results = []
    written = ap.to_rpu_config(tile)
    for model in (layer, *(PeerLinear(12, 7, rpu_config=one) for one in (config, written))):
        model.set_weight(weight, bias) if model is layer else model.set_weights(weight, bias)
        held = model.weight if model is layer else model.get_weights()[0]
        torch.testing.assert_close(held.clone(), weight)
        inputs = x.clone().requires_grad_()
        y = model(inputs)
        y.backward(e)
        results.append((y.detach(), inputs.grad))
    for other in results[1:]:
        for one, two in zip(results[0], other, strict=True):
            assert one is not None
            step = float(two.abs().max()) / 200
            assert float(((one - two).abs() > 0.1 * step).float().mean()) < 0.02
            assert float((one - two).abs().max()) < 3 * step


def _signals(tile: TileConfig) -> tuple[Tensor, Tensor]:
    """Inputs that fire all columns, and errors of almost 5 pulses; in mixed precision those of the
    residual."""
    device = tile.transfer.device if tile.transfer and tile.transfer.device else tile.device
    granularity = device.granularity if tile.mixed_precision is None else _pulse(tile)
    top = 4.9999 if tile.mixed_precision is None else 4.7  # the residual keeps parts of pulses
    e = torch.full((1, ROWS), -top * granularity)
    e[0, :-1] *= 0.8
    return torch.ones(1, COLUMNS), e


def _pulse(tile: TileConfig) -> float:
    return float(getattr(tile.device, "dw_min", None) or tile.device.granularity)


def _peers(config: Any, tile: TileConfig) -> dict[int, Tensor]:
    changes: dict[int, list[Tensor]] = {n: [] for n in RECORDED}
    x, e = _signals(tile)
    for _ in range(ARRAYS):
        array = next(PeerLinear(COLUMNS, ROWS, bias=False, rpu_config=config).analog_tiles())
        array.set_weights(torch.zeros(ROWS, COLUMNS))
        array.set_learning_rate(1.0)
        if tile.mixed_precision is not None:  # programmed with the first sample of the next batch
            array.update(torch.zeros_like(x), torch.zeros_like(e))

        def seen(array: Any = array) -> Tensor:
            fast = array.get_hidden_parameters().get("hidden_weights_0")
            return (array.get_weights()[0] if tile.transfer is None else fast).clone()

        for n in range(1, RECORDED[-1] + 1):
            array.update(x, e)
            if n in RECORDED:
                changes[n].append(seen()[:-1])
    return {n: torch.cat(parts) for n, parts in changes.items()}


def _ours(tile: TileConfig) -> dict[int, Tensor]:
    changes: dict[int, list[Tensor]] = {n: [] for n in RECORDED}
    x, e = _signals(tile)
    for seed in range(ARRAYS):
        layer = ap.AnalogLinear(COLUMNS, ROWS, tile, bias=False, seed=seed, name="peer")
        layer.set_weight(torch.zeros(ROWS, COLUMNS))
        array = layer.tile.array
        assert isinstance(layer.tile, AnalogTile)
        assert isinstance(array, MixedPrecisionArray) == (tile.mixed_precision is not None)

        def seen(array: Any = array) -> Tensor:
            if not isinstance(array, TransferArray):
                return array.settle().clone()
            fast = array.seen if array.device.write_noise > 0 else array.fast
            return fast - array._reference

        for n in range(1, RECORDED[-1] + 1):
            layer.apply_update(x, e, 1.0)
            if n in RECORDED:
                changes[n].append(seen()[:-1])
    return {n: torch.cat(parts) for n, parts in changes.items()}


@pytest.mark.parametrize("name", [*READ, *(set(OWN) - {"levels", "float"}), *POINTS])
def test_updates_are_those_of_the_configuration(name: str) -> None:
    """Means and spreads over elements of what 1 and 10 updates do, to the fast array where there is
    one: ours of the configuration, and AIHWKit's of the configuration written back."""
    if name in POINTS:
        tile = ap.load_devices(DEVICES)[name]
        asymmetric = tile.device.model_copy(update={"up_down": -0.2})
        tile = tile.model_copy(update={"device": asymmetric})
        config = None
    else:
        config = _config(name)
        if getattr(config.device, "auto_scale", False):  # the rate is in units of a full train
            config.device.fast_lr = 4.9999 / config.update.desired_bl
        if isinstance(config.device, compounds.ChoppedTransferCompound) and name != "agad":
            config.device.in_chop_prob *= "AGAD" in name  # signs of whole columns
        tile = ap.from_rpu_config(config)
    written = _peers(ap.to_rpu_config(tile), tile)
    assert_alike(_ours(tile), written)
    if config is not None:
        assert_alike(written, _peers(config, tile))
