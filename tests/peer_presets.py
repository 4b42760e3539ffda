"""AIHWKit's preset configurations that can be read."""

from typing import Any

from aihwkit.simulator import presets as peer_presets

from analogpipe.device.presets import PRESETS
from analogpipe.tile.presets import RULES

MIXED = [f"MixedPrecision{name}" for name in PRESETS]
READ = [*PRESETS, *RULES, *MIXED]


def preset(name: str) -> Any:
    """AIHWKit's preset configuration; that of the capacitor without its slow discharge."""
    config = getattr(peer_presets, f"{name}Preset")()
    for device in elements(config.device):
        device.lifetime = 0.0
    return config


def elements(device: Any) -> list[Any]:
    """The devices of one element in a device."""
    inside = getattr(device, "unit_cell_devices", None) or [getattr(device, "device", None)]
    if inside == [None]:
        return [device]
    return [element for part in inside for element in elements(part)]
