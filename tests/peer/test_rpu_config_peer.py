"""AIHWKit's configurations read and written, field by field."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

import analogpipe as ap
from analogpipe.device.parameters import SoftBoundsReference
from analogpipe.device.presets import PRESETS
from analogpipe.tile.config import TileConfig, TileConfigError, digital
from analogpipe.tile.presets import RULES
from analogpipe.tile.sections import MappingConfig

pytest.importorskip("aihwkit")
from aihwkit.simulator import configs as peer_configs
from aihwkit.simulator import presets as peer_presets
from aihwkit.simulator.configs import compounds, devices
from aihwkit.simulator.parameters import UpdateParameters
from aihwkit.simulator.parameters.enums import NoiseManagementType, PulseType, WeightNoiseType
from aihwkit.simulator.presets.devices import ReRamArrayHfO2PresetDevice

from peer_presets import MIXED, READ, preset

pytestmark = pytest.mark.peer

DEVICES = Path(__file__).parents[2] / "config" / "devices.yaml"
LIMITS = MappingConfig(max_input_size=512, max_output_size=512)


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
    config = preset(name)
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
        (ReRamArrayHfO2PresetDevice(), "device.dw_min_dtod_log_normal: found True"),
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
