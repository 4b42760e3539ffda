"""Published update rules by name, with the values of AIHWKit 1.1.0's preset configurations. Torch-free.

A name is that of the rule before that of its device: ``AGADReRamSB`` is AIHWKit's AGADReRamSBPreset.
"""

from typing import NamedTuple

from analogpipe.device.parameters import Pulsed, SoftBoundsReference
from analogpipe.device.presets import PRESETS


class Rule(NamedTuple):
    """A device for both arrays, the longest pulse train, and the entries of the transfer."""

    device: Pulsed
    desired_bl: int
    transfer: dict[str, object]


class _Fast(NamedTuple):
    """Settings of the fast array of one device, for TTv2."""

    fast_lr: float
    auto_granularity: int
    desired_bl: int


_RERAM, _CAPACITOR = _Fast(0.5, 1000, 31), _Fast(0.1, 1000, 31)
_FINE = _Fast(0.1, 500, 100)
_TTV2 = {
    "ReRamES": _RERAM,
    "ReRamSB": _RERAM,
    "Capacitor": _CAPACITOR,
    "EcRam": _FINE,
    "EcRamMO": _FINE,
    "Idealized": _FINE,
}
_CHOPPED = _TTV2 | {"EcRam": _Fast(1.0, 500, 100)}
_CHOPPED_PROB = dict.fromkeys(_TTV2, 0.01) | {"EcRamMO": 0.001, "Idealized": 0.001}
_AGAD = _TTV2 | {"EcRam": _Fast(0.1, 750, 31)}
_AGAD_SIGNS = dict.fromkeys(_TTV2, (0.005, 50.0)) | {
    "ReRamES": (0.02, 5.0),
    "ReRamSB": (0.02, 5.0),
    "Capacitor": (0.01, 20.0),
}
"""Chopping probability and weight of the tail."""


def _device(name: str) -> Pulsed:
    """The device of a preset; soft bounds with their symmetric points at 0."""
    device = PRESETS[name]
    assert isinstance(device, Pulsed)
    if isinstance(device, SoftBoundsReference):
        return device.model_copy(update={"subtract_symmetry_point": True})
    return device


def _rules(name: str) -> dict[str, Rule]:
    device = _device(name)

    def chopped(kind: str, fast: _Fast, **signs: object) -> Rule:
        own = {"fast_lr": fast.fast_lr, "auto_granularity": fast.auto_granularity}
        return Rule(device, fast.desired_bl, {"kind": kind, "auto_scale": True, **own, **signs})

    prob, tail = _AGAD_SIGNS[name]
    agad = chopped("agad", _AGAD[name], in_chop_prob=prob, tail_weightening=tail)
    return {
        f"TikiTaka{name}": Rule(device, 31, {"kind": "ttv1", "fast_lr": 1.0, "reference": "none"}),
        f"TTv2{name}": chopped("cttv2", _TTV2[name], in_chop_prob=0.0),
        f"ChoppedTTv2{name}": chopped("cttv2", _CHOPPED[name], in_chop_prob=_CHOPPED_PROB[name]),
        f"AGAD{name}": agad,
    }


RULES: dict[str, Rule] = {key: rule for name in _TTV2 for key, rule in _rules(name).items()}
"""Rules by name."""
