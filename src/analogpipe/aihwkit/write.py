"""Tiles as configurations of AIHWKit, where that is installed."""

from copy import deepcopy
from importlib import import_module
from typing import Any

from pydantic import BaseModel

from analogpipe.aihwkit.names import (
    DEVICES,
    IO,
    MANAGEMENT,
    MAPPING,
    MIXED_PRECISION,
    ONE_SIDED,
    TRANSFERS,
    UPDATE,
    Names,
)
from analogpipe.device.parameters import Device, Ideal, OneSided, SoftBounds, SoftBoundsReference
from analogpipe.files import excerpt
from analogpipe.tile.config import TileConfig, TileConfigError
from analogpipe.tile.sections import (
    ReadoutConfig,
    RefreshConfig,
    TransferBase,
    TransferConfig,
    UpdateConfig,
)

_MODULES = (
    "configs.configs",
    "configs.devices",
    "configs.compounds",
    "parameters",
    "parameters.enums",
)
_SINGLE_PULSES = UpdateConfig(desired_bl=1, update_bl_management=False, update_management=False)
_MANAGEMENTS = {ours: theirs for theirs, ours in MANAGEMENT.items()}


def to_rpu_config(tile: TileConfig, *, digital_bias: bool = True) -> Any:
    """Return a new RPU configuration of AIHWKit that describes ``tile``.

    A tile of one element a cross-point becomes a SingleRPUConfig, one of pairs or with a transfer a
    UnitCellRPUConfig, one in mixed precision a DigitalRankUpdateRPUConfig.

    Args:
        digital_bias: AIHWKit has it in the configuration (``mapping.digital_bias``); here it is the
            option ``bias`` of a layer.

    Not kept: which of ``pulsed`` and ``pulse_train`` simulates the trains; what has no effect, as
    the buffer of ``ttv1``. Soft bounds read against their symmetric points become soft bounds with
    a reference that subtracts them, which is the same.

    Raises:
        TileConfigError: AIHWKit is not installed; or one line with each entry that it cannot do.
    """
    writer = _Writer()
    config = writer.config(tile)
    if writer.faults:
        raise TileConfigError(f"AIHWKit cannot do: {'; '.join(writer.faults)}")
    config.mapping.digital_bias = digital_bias
    return config


class _Writer:
    """Makes parts of a configuration and notes what AIHWKit cannot do."""

    def __init__(self) -> None:
        self.faults: list[str] = []

    def config(self, tile: TileConfig) -> Any:
        """Return the whole configuration."""
        forward = self.readout(tile.forward, "forward")
        backward = self.readout(tile.backward, "backward")
        if not tile.backward.perfect and tile.backward.bound_management != "none":
            self.note("backward.bound_management", tile.backward.bound_management, "none")
        update = self.update(tile.update, "update", sure=isinstance(tile.device, Ideal))
        mapping = self.make("MappingParameter", MAPPING, tile.mapping)
        device = self.device(tile.device, "device", tile.refresh)
        kind = "UnitCellRPUConfig" if isinstance(tile.device, OneSided) else "SingleRPUConfig"
        if tile.transfer is not None:
            device, kind = self.transfer(tile), "UnitCellRPUConfig"
        if tile.mixed_precision is not None:
            rule = tile.mixed_precision
            if bool(rule.n_x_bins) != bool(rule.n_d_bins):
                found = f"{rule.n_x_bins}, {rule.n_d_bins}"
                self.note("mixed_precision.n_x_bins, n_d_bins", found, "both 0 or both above")
            device = self.make("MixedPrecisionCompound", MIXED_PRECISION, rule, device=device)
            kind = "DigitalRankUpdateRPUConfig"
        parts = {"forward": forward, "backward": backward, "update": update, "mapping": mapping}
        return _class(kind)(device=device, **parts)

    def device(self, device: Device, where: str, refresh: RefreshConfig | None = None) -> Any:
        """Return a device of one element, or a pair of them with their refresh."""
        if not isinstance(device, OneSided):
            name, names = next(
                (name, names) for name, (kind, names) in DEVICES.items() if kind == device.kind
            )
            return self.make(name, names, device)
        element = self.device(device.element, f"{where}.element")
        for key in ("reset", "reset_dtod", "reset_std"):
            setattr(element, key, getattr(device, key))
        pair = [element, deepcopy(element)]
        if refresh is None:
            return _class("OneSidedUnitCell")(unit_cell_devices=pair)
        read = self.readout(refresh.forward, "refresh.forward")
        write = UpdateConfig(desired_bl=refresh.desired_bl)
        own = {"refresh_forward": read, "refresh_update": self.update(write, "refresh")}
        return self.make("OneSidedUnitCell", ONE_SIDED, refresh, unit_cell_devices=pair, **own)

    def transfer(self, tile: TileConfig) -> Any:
        """Return the compound of a fast and a slow array."""
        rule = tile.transfer
        assert rule is not None
        name, names = next(
            (name, names) for name, (kind, names) in TRANSFERS.items() if kind == rule.kind
        )
        fast = self.fast(rule.device or tile.device, rule)
        first_version = isinstance(rule, TransferConfig) and rule.kind == "ttv1"
        sent = self.update(tile.update if first_version else _SINGLE_PULSES, "update", sure=True)
        return self.make(
            name,
            names,
            rule,
            unit_cell_devices=[fast, self.device(tile.device, "device")],
            transfer_forward=self.readout(rule.forward, "transfer.forward"),
            transfer_update=sent,
        )

    def fast(self, device: Device, rule: TransferBase) -> Any:
        """Return the device of a fast array, which AIHWKit reads as it is."""
        if rule.reference == "symmetric_point" and isinstance(device, SoftBounds):
            own = {"reference_std": rule.reference_std, "subtract_symmetry_point": True}
            shared = device.model_dump(exclude={"kind"})
            fast = SoftBoundsReference.model_validate(shared | own)
            return self.device(fast, "transfer.device")
        if rule.reference != "none":
            allowed = "none, or a fast array of soft_bounds"
            self.note("transfer.reference", f"{rule.reference} of {device.kind}", allowed)
        if rule.reference_std > 0:
            self.note("transfer.reference_std", rule.reference_std, 0)
        return self.device(device, "transfer.device")

    def readout(self, io: ReadoutConfig, where: str) -> Any:
        """Return the parameters of a read."""
        if not io.perfect:
            if io.noise_management == "abs_max" and io.inp_bound != 1:
                self.note(f"{where}.inp_bound", io.inp_bound, "1 with noise management")
            for key in ("inp_bound", "out_bound"):
                if getattr(io, key) == 0:
                    self.note(f"{where}.{key}", 0, "above 0")
            for key in ("inp_res", "out_res"):
                if getattr(io, key) > 1:
                    self.note(f"{where}.{key}", getattr(io, key), "1 at most")
        noise = _management("NoiseManagementType", io.noise_management)
        bound = _management("BoundManagementType", io.bound_management)
        return self.make("IOParameters", IO, io, noise_management=noise, bound_management=bound)

    def update(self, update: UpdateConfig, where: str, *, sure: bool = False) -> Any:
        """Return the parameters of an update; ``sure`` if its managements make no difference."""
        if update.rule == "mean" and not sure:
            self.note(f"{where}.rule", "mean", "pulsed, pulse_train")
        if update.update_bl_management and not update.update_management and not sure:
            self.note(f"{where}.update_management", False, "true with update_bl_management")
        return self.make("UpdateParameters", UPDATE, update)

    def make(self, name: str, names: Names, part: BaseModel, **more: Any) -> Any:
        """Return a new object of AIHWKit's class ``name`` with the entries of ``part``."""
        ours = {key: name for key, name in names.ours.items() if key not in more}
        entries = {theirs: getattr(part, name) for theirs, name in ours.items()}
        return _class(name)(**entries, **more)

    def note(self, where: str, found: object, allowed: object) -> None:
        """Note that AIHWKit cannot do something."""
        shown = found if isinstance(found, str) else excerpt(found)
        self.faults.append(f"{where}: found {shown}, allowed: {allowed}")


def _class(name: str) -> Any:
    """A class of AIHWKit's."""
    try:
        modules = [import_module(f"aihwkit.simulator.{module}") for module in _MODULES]
    except ImportError as error:
        raise TileConfigError(
            f"AIHWKit is not installed ({error}); the extra `peer` of this package brings it"
        ) from None
    return next(getattr(module, name) for module in modules if hasattr(module, name))


def _management(kind: str, value: str) -> Any:
    """A value of AIHWKit's NoiseManagementType or BoundManagementType."""
    return _class(kind)(_MANAGEMENTS[value])
