"""AIHWKit's configurations as tiles, by their attributes: AIHWKit itself is not imported."""

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from math import exp
from operator import attrgetter
from typing import Any, Literal

from pydantic import ValidationError

from analogpipe.aihwkit.names import (
    CELL,
    CONFIG,
    CONFIGS,
    DEVICES,
    IO,
    MANAGEMENT,
    MAPPING,
    MIXED_PRECISION,
    ONE_SIDED,
    RESET,
    TRANSFERS,
    UPDATE,
    Names,
)
from analogpipe.files import excerpt
from analogpipe.tile.config import TileConfig, TileConfigError
from analogpipe.tile.sections import ReadoutConfig

Data = dict[str, Any]

_BY_TORCH = "InferenceRPUConfig"
_OWN_WORK = {"as_bindings", "bindings_class", "bindings_ignore"}
"""What a subclass with values of its own leaves alone."""


def from_rpu_config(
    config: Any, *, rule: Literal["mean", "pulsed", "pulse_train"] = "pulsed"
) -> TileConfig:
    """Return the tile that an RPU configuration of AIHWKit describes.

    Args:
        config: a SingleRPUConfig, UnitCellRPUConfig, DigitalRankUpdateRPUConfig or
            FloatingPointRPUConfig, a preset of these, or the class of one.
        rule: how pulse trains are simulated here (:class:`analogpipe.tile.sections.UpdateConfig`).

    Not kept: ``construction_seed`` (seeds are those of layers here) and what acts only in calls of
    one's own (``reset``, the time constants of a drift that is off).

    Raises:
        TileConfigError: one line with each attribute that has a value which would train otherwise
            here, what was found and what is allowed.
    """
    if isinstance(config, type):
        config = config()
    reader = _Reader()
    data = reader.config(config)
    data.setdefault("update", {})["rule"] = rule
    tile: TileConfig | None = None
    try:
        tile = TileConfig.model_validate(data)
    except ValidationError as error:
        # not what is missing because it could not be read
        reader.faults += [_in_words(fault) for fault in error.errors() if fault["input"]]
    if tile is None or reader.faults:
        raise TileConfigError(f"{type(config).__name__}: {'; '.join(reader.faults)}")
    return tile


class _Reader:
    """Reads parts of a configuration and notes what cannot be read."""

    def __init__(self) -> None:
        self.faults: list[str] = []

    def config(self, config: Any) -> Data:
        """Return the entries of the tile of a whole configuration."""
        if _BY_TORCH in _classes(config):
            self.note("class", type(config).__name__, "one that learns by pulses, not by torch")
            return {}
        if _known(config, CONFIGS) is None:
            self.note("class", type(config).__name__, ", ".join(CONFIGS))
            return {}
        self.check(config, CONFIG)
        data: Data = {"mapping": self.part(config.mapping, MAPPING, "mapping")}
        if hasattr(config, "forward"):
            data["forward"] = self.readout(config.forward, "forward")
            data["backward"] = self.readout(config.backward, "backward")
            if not data["backward"].get("perfect"):  # AIHWKit's has none, whatever is set
                data["backward"]["bound_management"] = "none"
            data["update"] = self.update(config.update, "update")
        else:
            data["forward"] = data["backward"] = {"perfect": True}
        found = self.device(config.device, "device", data.get("update", {}))
        if found.get("device", {}).get("kind") == "ideal":  # no pulses, whatever is set
            self.faults = [fault for fault in self.faults if not fault.startswith("update.")]
            data.pop("update", None)
        return data | found

    def device(self, device: Any, where: str, update: Data) -> Data:
        """Return ``device`` and what belongs to it of the entries of a tile."""
        kind = _known(device, ["VectorUnitCell", "OneSidedUnitCell", "MixedPrecisionCompound"])
        if kind == "VectorUnitCell":
            self.check(device, CELL, where)
            devices = self.devices(device, (1,), where)
            return devices[0] if devices else {}
        if kind == "OneSidedUnitCell":
            return self.pair(device, where)
        if kind == "MixedPrecisionCompound":
            rule = self.part(device, MIXED_PRECISION, where)
            if bool(rule.get("n_x_bins")) != bool(rule.get("n_d_bins")):
                found = f"{rule.get('n_x_bins')}, {rule.get('n_d_bins')}"
                self.note(f"{where}.n_x_bins, n_d_bins", found, "both 0 or both above")
            inside = self.device(device.device, f"{where}.device", update)
            return {"mixed_precision": rule, **inside}
        if (compound := _known(device, TRANSFERS)) is not None:
            return self.transfer(device, compound, where, update)
        return self.element(device, where)

    def element(self, device: Any, where: str, more: Names | None = None) -> Data:
        """Return a device of one element as ``device``, with the attributes of ``more`` beside it."""
        name = _known(device, [*DEVICES, "SoftBoundsPmaxDevice"])
        if name is None:
            self.note(where, type(device).__name__, ", ".join(DEVICES))
            return {}
        if name == "SoftBoundsPmaxDevice":
            device, name = _soft_bounds(device), "SoftBoundsDevice"
        kind, names = DEVICES[name]
        beside = {theirs: getattr(device, theirs) for theirs in (more.ours if more else {})}
        return {"device": {"kind": kind, **self.part(device, names, where)}, **beside}

    def pair(self, cell: Any, where: str) -> Data:
        """Return a pair of one-sided elements and its refresh."""
        elements = self.devices(cell, (1, 2), where, RESET)
        if elements and elements[0] != elements[-1]:
            self.note(f"{where}.unit_cell_devices", "two that differ", "two that are alike")
        refresh = self.part(cell, ONE_SIDED, where)
        refresh["forward"] = self.readout(cell.refresh_forward, f"{where}.refresh_forward")
        update = self.update(cell.refresh_update, f"{where}.refresh_update")
        for key in ("update_management", "update_bl_management"):
            if not update.pop(key, True):
                self.note(f"{where}.refresh_update.{key}", False, True)
        refresh |= update
        device = {"kind": "one_sided"}
        for element in elements[:1]:
            device |= {"element": element.pop("device", None), **element}
        return {"device": device} | ({"refresh": refresh} if refresh.get("every") else {})

    def transfer(self, cell: Any, name: str, where: str, update: Data) -> Data:
        """Return a fast and a slow array with what passes between them."""
        kind, names = TRANSFERS[name]
        rule = {"kind": kind, "reference": "none", **self.part(cell, names, where)}
        rule["forward"] = self.readout(cell.transfer_forward, f"{where}.transfer_forward")
        sent = self.update(cell.transfer_update, f"{where}.transfer_update")
        # one slot: a pulse is sure, whatever the managements
        wanted = update if kind == "ttv1" else {"desired_bl": 1}
        for key, value in wanted.items():
            if key in sent and sent[key] != value:
                allowed = f"{value!r}, as in update" if kind == "ttv1" else value
                self.note(f"{where}.transfer_update.{key}", sent[key], allowed)
        devices = self.devices(cell, (2,), where)
        if not devices:
            return {}
        fast, slow = (device.get("device") for device in devices)
        return {"device": slow, "transfer": rule | ({"device": fast} if fast != slow else {})}

    def devices(
        self, cell: Any, counts: tuple[int, ...], where: str, more: Names | None = None
    ) -> list[Data]:
        """Return the devices of a cell, as many as ``counts`` allows, or none."""
        place, devices = f"{where}.unit_cell_devices", cell.unit_cell_devices
        if len(devices) not in counts:
            self.note(place, f"{len(devices)} devices", " or ".join(map(str, counts)))
            return []
        return [self.element(one, f"{place}[{i}]", more) for i, one in enumerate(devices)]

    def readout(self, io: Any, where: str) -> Data:
        """Return the entries of a read."""
        if getattr(io, "is_perfect", False):  # the rest has no effect: kept where it can be
            aside = _Reader()
            kept = aside.readout_of(io, where)
            try:
                ReadoutConfig.model_validate(kept)
            except ValidationError:
                return {"perfect": True}
            return kept
        return self.readout_of(io, where)

    def readout_of(self, io: Any, where: str) -> Data:
        """Return the entries of a read, perfect or not."""
        data = self.part(io, IO, where)
        for key in ("noise_management", "bound_management"):
            if data.get(key) not in MANAGEMENT:
                allowed = "None, AbsMax" if key == "noise_management" else "None, Iterative"
                self.note(f"{where}.{key}", data.pop(key, None), allowed)
            else:
                data[key] = MANAGEMENT[data[key]]
        for key in ("inp_res", "out_res"):  # below 0 none, above 1 a number of levels
            if key in data:
                data[key] = 1 / data[key] if data[key] > 1 else max(data[key], 0.0)
        return data

    def update(self, update: Any, where: str) -> Data:
        """Return the entries of an update by pulse trains."""
        data = self.part(update, UPDATE, where)
        if data.get("update_bl_management"):  # which turns on the other
            data["update_management"] = True
        return data

    def part(self, part: Any, names: Names, where: str) -> Data:
        """Return the attributes of a part that are entries here."""
        self.check(part, names, where)
        for key in names.ours:
            if not hasattr(part, key):
                self.note(f"{where}.{key}", "nothing", "a value")
        has = {key: ours for key, ours in names.ours.items() if hasattr(part, key)}
        return {ours: _plain(getattr(part, key)) for key, ours in has.items()}

    def check(self, part: Any, names: Names, where: str = "") -> None:
        """Note what a part of a configuration has that cannot be read."""
        prefix = f"{where}." if where else ""
        for path, allowed in names.fixed.items():
            try:
                found = _plain(attrgetter(path)(part))
            except AttributeError:  # not in all versions and kinds
                continue
            if not any(found == value for value in allowed):
                words = " or ".join(excerpt(value) for value in allowed)
                self.note(prefix + path.removesuffix(".__name__"), found, words)
        roots = {path.partition(".")[0] for path in names.fixed}
        for key in _attributes(part):
            if key not in names.ours and key not in names.idle and key not in roots:
                self.note(prefix + key, _plain(getattr(part, key)), "nothing of this name")

    def note(self, where: str, found: object, allowed: object) -> None:
        """Note that something cannot be read."""
        shown = found if isinstance(found, str) else excerpt(found)
        self.faults.append(f"{where}: found {shown}, allowed: {allowed}")


def _attributes(part: Any) -> Iterator[str]:
    """Names of a dataclass's fields and of what was set beside them."""
    declared = [field.name for field in fields(part)] if is_dataclass(part) else []
    yield from declared
    yield from (key for key in getattr(part, "__dict__", {}) if key not in declared)


def _classes(part: Any) -> list[str]:
    return [kind.__name__ for kind in type(part).__mro__]


def _known(part: Any, names: Mapping[str, Any] | list[str] | tuple[str, ...]) -> str | None:
    """The first class of AIHWKit's among ``names`` that ``part`` is of and does the work of."""
    for kind in type(part).__mro__:
        if kind.__module__.partition(".")[0] == "aihwkit" and kind.__name__ in names:
            return kind.__name__
        if _OWN_WORK & set(vars(kind)):
            return None
    return None


def _plain(value: Any) -> Any:
    return value.value if isinstance(value, Enum) else value


class _SoftBounds:
    """A SoftBoundsPmaxDevice by the parameters of a SoftBoundsDevice."""


def _soft_bounds(device: Any) -> _SoftBounds:
    """AIHWKit's own conversion: ``p_max`` pulses at the slope ``alpha`` cross a range."""
    found = _SoftBounds()
    own = {"range_min", "range_max", "alpha", "p_max"}
    vars(found).update({key: value for key, value in vars(device).items() if key not in own})
    reach = (device.range_max - device.range_min) / (1 - exp(-device.p_max * device.alpha))
    bounds = {"w_min": device.range_min, "w_max": device.range_min + reach}
    steps = {"dw_min": reach * device.alpha, "up_down": 1 + 2 * device.range_min / reach}
    vars(found).update(bounds | steps)
    return found


def _in_words(fault: Any) -> str:
    where = ".".join(str(part) for part in fault["loc"]) or "tile"
    return f"{where}: {fault['msg']}, found {excerpt(fault['input'])}"
