"""Configuration of an analog tile: device, update and read-out. Torch-free."""

from typing import Any

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)

from analogpipe.device.parameters import Device, Ideal, OneSided, SoftBounds
from analogpipe.device.presets import PRESETS
from analogpipe.files import excerpt
from analogpipe.tile.presets import RULES
from analogpipe.tile.sections import (
    PRESET_READOUT,
    MappingConfig,
    MixedPrecisionConfig,
    ReadoutConfig,
    RefreshConfig,
    Transfer,
    UpdateConfig,
    _backward,
)


class TileConfigError(ValueError):
    """A tile configuration that cannot be used."""


class TileConfig(BaseModel):
    """Everything that makes an array: device, update, read-out forward and backward."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    device: Device = SoftBounds()
    update: UpdateConfig = UpdateConfig()
    forward: ReadoutConfig = ReadoutConfig()
    backward: ReadoutConfig = Field(default_factory=_backward)
    transfer: Transfer | None = None
    """Tiki-Taka instead of updates of the weight itself."""
    refresh: RefreshConfig | None = None
    """Refresh of one-sided pairs; without it they saturate."""
    mixed_precision: MixedPrecisionConfig | None = None
    """Whole pulses from a digital residual instead of updates of the weight itself."""
    mapping: MappingConfig = MappingConfig()
    """Scales and sizes of arrays."""

    @model_validator(mode="after")
    def _sends_pulses(self) -> "TileConfig":
        if self.mixed_precision is not None and isinstance(self.device, Ideal):
            raise ValueError("mixed_precision needs a pulsed device, found ideal")
        if self.mixed_precision is not None and self.transfer is not None:
            raise ValueError("mixed_precision and transfer are two rules, allowed: one")
        return self

    @model_serializer(mode="wrap")
    def _newer_where_set(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out sections that are not used and did not always exist: a tile keeps its record."""
        dumped: dict[str, Any] = dump(self)
        if self.mixed_precision is None:
            dumped.pop("mixed_precision", None)
        if self.mapping == MappingConfig():
            dumped.pop("mapping", None)
        return dumped

    @field_validator("transfer", mode="before")
    @classmethod
    def _ttv2_if_not_said(cls, value: object) -> object:
        return {"kind": "ttv2", **value} if isinstance(value, dict) else value

    @model_validator(mode="after")
    def _transfers_pulses(self) -> "TileConfig":
        if self.transfer is not None and isinstance(self.transfer.device or self.device, Ideal):
            raise ValueError("a transfer needs pulsed devices, found ideal")
        devices = self.device, self.transfer and self.transfer.device
        if self.transfer is not None and any(isinstance(one, OneSided) for one in devices):
            raise ValueError("a transfer between one_sided devices is not offered")
        return self

    @model_validator(mode="after")
    def _refreshes_pairs(self) -> "TileConfig":
        if self.refresh is not None and not isinstance(self.device, OneSided):
            raise ValueError(f"a refresh needs a one_sided device, found {self.device.kind}")
        return self

    @classmethod
    def parse(cls, data: object) -> "TileConfig":
        """Validate ``data`` (a mapping as read from YAML).

        With an entry ``preset``, the tile is the one of that name in :mod:`analogpipe.device.presets`
        or :mod:`analogpipe.tile.presets`, with the other entries in place of its own.

        Raises:
            TileConfigError: one line that names the first wrong entry.
        """
        if isinstance(data, dict) and "preset" in data:
            data = dict(data)
            data = _of_preset(data.pop("preset")) | data
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "tile"
            raise TileConfigError(
                f"{where}: {first['msg']}, found {excerpt(first['input'])}"
            ) from None

    def dump(self) -> str:
        """Return the tile as YAML."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)


def _of_preset(name: object) -> dict[str, object]:
    """Return the entries of a tile with a published device, and maybe a published rule."""
    if not isinstance(name, str) or name not in (*PRESETS, *RULES):
        allowed = ", ".join([*PRESETS, *RULES])
        raise TileConfigError(f"preset: no preset {excerpt(name)}; allowed: {allowed}")
    own: dict[str, object] = {
        "forward": PRESET_READOUT,
        "backward": PRESET_READOUT.model_copy(update={"bound_management": "none"}),
    }
    if name in RULES:
        rule = RULES[name]
        read = PRESET_READOUT.model_copy(
            update={"noise_management": "none", "bound_management": "none"}
        )
        transfer = {**rule.transfer, "forward": read}
        update = UpdateConfig(desired_bl=rule.desired_bl)
        return {**own, "device": rule.device, "update": update, "transfer": transfer}
    own["device"] = device = PRESETS[name]
    if isinstance(device, OneSided):
        own["refresh"] = RefreshConfig(forward=PRESET_READOUT)
    return own


def digital() -> TileConfig:
    """Return the tile without any analog effect: ideal device, perfect read-out."""
    perfect = ReadoutConfig(perfect=True)
    return TileConfig(device=Ideal(), forward=perfect, backward=perfect)


def preset(name: str, **settings: object) -> TileConfig:
    """Return the tile of a published device, e.g. ``ReRamSB``, or rule, e.g. ``AGADReRamSB``
    (:mod:`analogpipe.device.presets`, :mod:`analogpipe.tile.presets`).

    ``settings`` (update, forward, backward, transfer, refresh, mixed_precision, mapping) take the
    place of the preset's own.
    Raises TileConfigError.
    """
    return TileConfig.parse({**settings, "preset": name})
