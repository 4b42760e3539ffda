"""Configurations are read by their attributes: AIHWKit need not be installed, and is never imported."""

import subprocess
import sys
from dataclasses import dataclass, field, make_dataclass
from typing import Any

import pytest
from torch import nn

import analogpipe as ap
from analogpipe.aihwkit import names
from analogpipe.aihwkit.state import AihwkitError
from analogpipe.tile.config import TileConfigError


def _made(name: str, entries: dict[str, Any], **values: Any) -> Any:
    """An object that looks like one of AIHWKit's dataclass ``name``."""
    kind = make_dataclass(name, [(key, Any, field(default=None)) for key in entries | values])
    kind.__module__ = "aihwkit.simulator"
    return kind(**(entries | values))


def _part(name: str, table: names.Names, **values: Any) -> Any:
    fixed = {key: allowed[0] for key, allowed in table.fixed.items() if "." not in key}
    return _made(name, fixed | values)


class AnalogTile:
    """Named as AIHWKit's."""


class TileModuleArray:
    """Named as AIHWKit's."""


@dataclass
class _Runtime:
    data_type: str = "float"


def _config(**device: Any) -> Any:
    pulses = {"desired_bl": 7, "update_management": True, "update_bl_management": True}
    managed = {"noise_management": "AbsMax", "bound_management": "Iterative"}
    bounds = {"inp_bound": 1.0, "inp_res": 64, "inp_noise": 0.0, "out_bound": 5.0, "out_res": -1}
    read = {**bounds, **managed, "out_noise": 0.02, "max_bm_factor": 8, "max_bm_res": 0.5}
    steps = dict.fromkeys(names.DEVICES["ConstantStepDevice"][1].ours, 0.0)
    steps |= {"dw_min": 0.002, "w_max": 1.0, "w_min": -1.0}
    mapping = dict.fromkeys(names.MAPPING.ours, 0)
    return _made(
        "SingleRPUConfig",
        {},
        tile_class=AnalogTile,
        tile_array_class=TileModuleArray,
        runtime=_Runtime(),
        pre_post=None,
        mapping=_part("MappingParameter", names.MAPPING, **mapping),
        forward=_part("IOParameters", names.IO, is_perfect=False, **read),
        backward=_part("IOParameters", names.IO, is_perfect=True, **read),
        update=_part("UpdateParameters", names.UPDATE, **pulses),
        device=_part(
            "ConstantStepDevice", names.DEVICES["ConstantStepDevice"][1], **steps | device
        ),
    )


def test_a_configuration_is_read_by_its_attributes() -> None:
    tile = ap.from_rpu_config(_config())
    zero = dict.fromkeys(("dw_min_dtod", "dw_min_std", "w_max_dtod", "w_min_dtod"), 0.0)
    steps = ap.ConstantStep(dw_min=0.002, w_max=1.0, w_min=-1.0, up_down_dtod=0.0, **zero)
    read = {"out_bound": 5.0, "out_noise": 0.02, "max_bm_factor": 8, "max_bm_res": 0.5}
    read |= {"inp_res": 1 / 64, "out_res": 0.0}
    assert tile == ap.TileConfig(
        device=steps,
        update={"desired_bl": 7},
        forward=read,
        backward=read | {"perfect": True},
    )


def test_what_cannot_be_read_is_named() -> None:
    config = _config(lifetime=10.0)
    config.forward.ir_drop = 0.5
    with pytest.raises(TileConfigError) as error:
        ap.from_rpu_config(config)
    assert str(error.value) == (
        "SingleRPUConfig: forward.ir_drop: found 0.5, allowed: 0.0; "
        "device.lifetime: found 10.0, allowed: 0.0"
    )


def test_classes_of_others_are_not_taken_for_aihwkits() -> None:
    config = _config()
    type(config).__module__ = "mine"
    with pytest.raises(TileConfigError, match="class: found SingleRPUConfig, allowed: Single"):
        ap.from_rpu_config(config)


@pytest.mark.parametrize("found", [None, 3, ap.TileConfig(), ap.SoftBounds])
def test_anything_else_is_refused_in_one_line(found: Any) -> None:
    with pytest.raises(TileConfigError, match="class: found"):
        ap.from_rpu_config(found)


def test_writing_without_aihwkit_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "aihwkit", None)
    for name in [name for name in sys.modules if name.startswith("aihwkit.")]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(TileConfigError, match="AIHWKit is not installed") as error:
        ap.to_rpu_config(ap.TileConfig())
    assert "\n" not in str(error.value)


def test_the_library_imports_no_aihwkit() -> None:
    code = (
        "import sys, pkgutil, importlib, analogpipe as ap\n"
        "[getattr(ap, name) for name in ap.__all__]\n"
        "import analogpipe.aihwkit\n"
        "[importlib.import_module('analogpipe.aihwkit.' + m.name)"
        " for m in pkgutil.iter_modules(analogpipe.aihwkit.__path__)]\n"
        "assert 'aihwkit' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_model_without_its_layers_is_refused() -> None:
    with pytest.raises(AihwkitError, match="Sequential: found no layer of AIHWKit's"):
        ap.from_aihwkit(nn.Sequential(nn.Linear(2, 2)))
