"""AIHWKit's configurations read and written: field by field, and by what arrays of them do.

AIHWKit's runs cannot be seeded: |z| < 4.5 for some 350 comparisons of means and spreads, 2.4e-3 in all.
"""

import dataclasses
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import analogpipe as ap
from analogpipe.device.parameters import SoftBoundsReference
from analogpipe.device.presets import PRESETS
from analogpipe.seeds import generator
from analogpipe.tile.config import TileConfig, TileConfigError, digital
from analogpipe.tile.mixed_precision import MixedPrecisionArray
from analogpipe.tile.presets import RULES
from analogpipe.tile.sections import MappingConfig
from analogpipe.tile.tile import AnalogTile
from analogpipe.tile.transfer import TransferArray
from peer_moments import assert_alike

pytest.importorskip("aihwkit")
from aihwkit.nn import AnalogLinear as PeerLinear
from aihwkit.simulator import configs as peer_configs
from aihwkit.simulator import presets as peer_presets
from aihwkit.simulator.configs import compounds, devices
from aihwkit.simulator.configs.helpers import build_config
from aihwkit.simulator.parameters import IOParameters, UpdateParameters
from aihwkit.simulator.parameters.enums import NoiseManagementType, PulseType, WeightNoiseType

pytestmark = pytest.mark.peer

ROWS, COLUMNS, ARRAYS, RECORDED = 1500, 6, 2, (1, 10)
DEVICES = Path(__file__).parents[2] / "config" / "devices.yaml"
LIMITS = MappingConfig(max_input_size=512, max_output_size=512)
MIXED = [f"MixedPrecision{name}" for name in PRESETS]
READ = [*PRESETS, *RULES, *MIXED]


def _preset(name: str) -> Any:
    """AIHWKit's preset configuration; that of the capacitor without its slow discharge."""
    config = getattr(peer_presets, f"{name}Preset")()
    for device in _elements(config.device):
        device.lifetime = 0.0
    return config


def _elements(device: Any) -> list[Any]:
    """The devices of one element in a device."""
    inside = getattr(device, "unit_cell_devices", None) or [getattr(device, "device", None)]
    if inside == [None]:
        return [device]
    return [element for part in inside for element in _elements(part)]


def _same(config: Any, other: Any) -> None:
    """All fields are the same; presets are subclasses with values of their own."""
    ours, theirs = dataclasses.asdict(config), dataclasses.asdict(other)
    for key in ("construction_seed", "lifetime_dtod"):  # no effect on what elements are like
        ours, theirs = _without(ours, key), _without(theirs, key)
    assert ours == theirs


def _without(value: Any, key: str) -> Any:
    if isinstance(value, dict):
        return {name: _without(entry, key) for name, entry in value.items() if name != key}
    return [_without(entry, key) for entry in value] if isinstance(value, list) else value


@pytest.mark.parametrize("name", READ)
def test_presets_are_read_and_written_back(name: str) -> None:
    config = _preset(name)
    tile = ap.from_rpu_config(config)
    own = name.removeprefix("MixedPrecision")
    rule: dict[str, Any] = {"mixed_precision": {}} if name in MIXED else {}
    assert tile == ap.preset(own, mapping=LIMITS, **rule)
    written = ap.to_rpu_config(tile)
    if name in RULES:  # AIHWKit's backward pass has no bound management, whatever is set
        assert written.device.transfer_forward.bound_management.value == "None"
    config.backward.bound_management = written.backward.bound_management
    _same(written, config)
    assert type(written) is type(config).__mro__[1]


def test_every_other_preset_is_refused_by_name() -> None:
    names = [name.removesuffix("Preset") for name in dir(peer_presets) if name.endswith("Preset")]
    refused = {}
    for name in names:
        if name not in READ or "Capacitor" in name:
            with pytest.raises(TileConfigError) as error:
                ap.from_rpu_config(getattr(peer_presets, f"{name}Preset"))
            refused[name] = str(error.value).partition(": ")[2]
    cells = {name for name in refused if name[-1] in "24"}
    assert len(cells) == 12
    assert {refused.pop(name)[:35] for name in cells} == {"device.unit_cell_devices: found 2 d"} | {
        "device.unit_cell_devices: found 4 d"
    }
    capacitors = [refused.pop(name) for name in list(refused) if "Capacitor" in name]
    assert len(capacitors) == 6
    assert all("lifetime: found 1000000.0, allowed: 0.0" in fault for fault in capacitors)
    by_torch = "allowed: one that learns by pulses, not by torch"
    assert set(refused) == {"StandardHWATraining", "FloatingPoint"}
    assert all(fault.endswith(by_torch) for fault in refused.values())


TILES = {name: ap.preset(name) for name in [*PRESETS, *RULES]} | {"digital": digital()}
POINTS = ["linear-tau0.6-ttv1", "linear-tau0.6-ttv2"]
"""Soft bounds that are read against their symmetric points."""


@pytest.mark.parametrize("name", [*TILES, *ap.load_devices(DEVICES)])
def test_tiles_come_back_as_they_were(name: str) -> None:
    tile = TILES.get(name) or ap.load_devices(DEVICES)[name]
    config = ap.to_rpu_config(tile)
    again = ap.from_rpu_config(config)
    if name in POINTS:
        assert again.transfer is not None
        assert tile.transfer is not None
        shared = tile.device.model_dump(exclude={"kind"})
        fast = SoftBoundsReference(**shared, subtract_symmetry_point=True)
        changed = {"device": fast, "reference": "none"}
        tile = tile.model_copy(update={"transfer": tile.transfer.model_copy(update=changed)})
    assert again == tile
    _same(ap.to_rpu_config(again), config)


def test_what_is_no_entry_of_a_tile_is_an_option() -> None:
    tile = TileConfig.parse({"update": {"rule": "pulse_train"}})
    config = ap.to_rpu_config(tile, digital_bias=False)
    assert not config.mapping.digital_bias
    with pytest.raises(TileConfigError, match=r"mapping\.digital_bias: found False, allowed: True"):
        ap.from_rpu_config(config)
    config.mapping.digital_bias = True
    assert ap.from_rpu_config(config, rule="pulse_train") == tile
    assert ap.from_rpu_config(config).update.rule == "pulsed"


class Measured(devices.SoftBoundsDevice):
    """A user's own device with values of its own; not even a dataclass."""

    def __init__(self) -> None:
        super().__init__(dw_min=0.004, w_max=0.7)


@dataclasses.dataclass
class Reworked(devices.SoftBoundsDevice):
    """A device that makes something else of its values."""

    def as_bindings(self, data_type: Any) -> Any:
        return devices.ConstantStepDevice().as_bindings(data_type)


def test_subclasses_are_read_by_what_they_change() -> None:
    tile = ap.from_rpu_config(peer_configs.SingleRPUConfig(device=Measured()))
    assert tile.device == ap.SoftBounds(dw_min=0.004, w_max=0.7)
    with pytest.raises(TileConfigError, match="device: found Reworked, allowed: ConstantStep"):
        ap.from_rpu_config(peer_configs.SingleRPUConfig(device=Reworked()))
    config = peer_configs.SingleRPUConfig(device=devices.SoftBoundsDevice())
    config.device.w_mac = 0.7
    with pytest.raises(
        TileConfigError, match=r"device\.w_mac: found 0\.7, allowed: nothing of this"
    ):
        ap.from_rpu_config(config)


def test_all_that_cannot_be_read_is_in_one_line() -> None:
    soft = devices.SoftBoundsDevice(diffusion=0.1, reverse_up=True, up_down=1.5)
    config = peer_configs.SingleRPUConfig(device=soft)
    config.forward.w_noise_type = WeightNoiseType.PCM_READ
    config.forward.noise_management = NoiseManagementType.MAX
    config.update.pulse_type = PulseType.DETERMINISTIC_IMPLICIT
    config.pre_post.input_range.enable = True
    with pytest.raises(TileConfigError) as error:
        ap.from_rpu_config(config)
    assert str(error.value) == (
        "SingleRPUConfig: pre_post.input_range.enable: found True, allowed: False; "
        "forward.w_noise_type: found PCMRead, allowed: 'None'; "
        "forward.noise_management: found Max, allowed: None, AbsMax; "
        "update.pulse_type: found DeterministicImplicit, allowed: 'StochasticCompressed'; "
        "device.diffusion: found 0.1, allowed: 0.0; device.reverse_up: found True, allowed: False; "
        "device.soft_bounds.up_down: Input should be less than or equal to 1, found 1.5"
    )


CELL = {"unit_cell_devices": [devices.SoftBoundsDevice(), devices.SoftBoundsDevice()]}


@pytest.mark.parametrize(
    ("device", "fault"),
    [
        (devices.PiecewiseStepDevice(), "device: found PiecewiseStepDevice"),
        (devices.SoftBoundsReferenceDevice(slope_up_dtod=0.1), "device.slope_up_dtod: found 0.1"),
        (compounds.ReferenceUnitCell(**CELL), "device: found ReferenceUnitCell"),
        (compounds.OneSidedUnitCell(**CELL, refresh_every=2, units_in_mbatch=False), "units_in_"),
        (compounds.OneSidedUnitCell(**CELL, copy_inverted=True), "device.copy_inverted"),
        (compounds.TransferCompound(**CELL, with_reset_prob=0.1), "device.with_reset_prob"),
        (compounds.TransferCompound(**CELL, transfer_columns=False), "device.transfer_columns"),
        (compounds.TransferCompound(**CELL, transfer_every=0.5), "transfer.ttv1.every"),
        (
            compounds.TransferCompound(**CELL, transfer_update=UpdateParameters(desired_bl=3)),
            "device.transfer_update.desired_bl: found 3, allowed: 31, as in update",
        ),
        (
            compounds.ChoppedTransferCompound(**CELL, transfer_update=UpdateParameters()),
            "device.transfer_update.desired_bl: found 31, allowed: 1",
        ),
        (compounds.ChoppedTransferCompound(**CELL, gamma=0.1), "device.gamma: found 0.1"),
        (compounds.DynamicTransferCompound(**CELL, in_chop_random=True), "device.in_chop_random"),
        (
            compounds.MixedPrecisionCompound(device=devices.SoftBoundsDevice(), n_x_bins=4),
            "device.n_x_bins, n_d_bins: found 4, 0, allowed: both 0 or both above",
        ),
    ],
    ids=str,
)
def test_a_device_that_would_train_otherwise_is_refused(device: Any, fault: str) -> None:
    kind = "UnitCellRPUConfig"
    if isinstance(device, devices.PulsedDevice):
        kind = "SingleRPUConfig"
    elif isinstance(device, compounds.MixedPrecisionCompound):
        kind = "DigitalRankUpdateRPUConfig"
    with pytest.raises(TileConfigError, match=f"{kind}: .*{fault}") as error:
        ap.from_rpu_config(getattr(peer_configs, kind)(device=device))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("entries", "fault"),
    [
        ({"update": {"rule": "mean"}}, "update.rule: found mean, allowed: pulsed, pulse_train"),
        ({"update": {"update_management": False}}, "update.update_management: found False"),
        ({"forward": {"inp_bound": 0.5}}, "forward.inp_bound: found 0.5, allowed: 1 with noise"),
        ({"forward": {"out_bound": 0}}, "forward.out_bound: found 0, allowed: above 0"),
        ({"backward": {}}, "backward.bound_management: found iterative, allowed: none"),
        (
            {"device": {"kind": "linear_step"}, "transfer": {"reference_std": 0.1}},
            "transfer.reference: found symmetric_point of linear_step.*; transfer.reference_std",
        ),
        ({"mixed_precision": {"n_d_bins": 3}}, "mixed_precision.n_x_bins, n_d_bins: found 0, 3"),
    ],
    ids=str,
)
def test_what_aihwkit_cannot_do_is_refused(entries: dict[str, Any], fault: str) -> None:
    with pytest.raises(TileConfigError, match=f"^AIHWKit cannot do: {fault}"):
        ap.to_rpu_config(TileConfig.parse(entries))


# What arrays of a configuration do

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
    "float": lambda: peer_configs.FloatingPointRPUConfig(),
}
KINDS = ["ttv1", "ttv2", "c-ttv2", "agad", "mp"]
OWN |= {kind: lambda kind=kind: build_config(kind, devices.SoftBoundsDevice) for kind in KINDS}


def _config(name: str) -> Any:
    config = OWN[name]() if name in OWN else _preset(name)
    config.mapping.max_input_size = config.mapping.max_output_size = 0
    return config


def _quiet(config: Any) -> Any:
    """The same with reads that draw nothing, and elements that hold any weight of the test."""
    config = deepcopy(config)
    if hasattr(config, "forward"):
        config.forward.out_noise = config.backward.out_noise = 0.0
    for device in _elements(config.device):
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
