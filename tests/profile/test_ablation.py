"""The section `ablation`: its cells, the tiles of them, and what is refused."""

from pathlib import Path
from typing import Any

import pytest

from analogpipe.profile.ablation import FACTORS, Ablation, better_in, name_of
from analogpipe.profile.profile import load_devices, load_profile
from analogpipe.settings import ConfigError
from analogpipe.tile.config import TileConfig, digital, preset

ALL: dict[str, Any] = {
    "device": "linear-tau0.6", "rate": 0.1, "range": 6.0, "noise": "perfect", "granularity": 1e-4,
    "mapping": 0.6, "rule": "mixed_precision", "seeds": [0], "most": 3,
}  # fmt: skip


@pytest.fixture
def own(tiny_profile: Path) -> TileConfig:
    profile = load_profile(tiny_profile)
    return load_devices(tiny_profile.parent / profile.devices_file)["linear-tau0.6"]


def test_cells_are_all_combinations() -> None:
    cells = list(Ablation(**ALL).cells())
    assert len(cells) == len({frozenset(cell) for cell in cells}) == 2**5
    assert (cells[0], cells[-1]) == ((), FACTORS)
    assert all(better_in(name_of(cell)) == frozenset(cell) for cell in cells)
    some = Ablation(**{**ALL, "mapping": None, "rule": None})
    assert some.factors == ["range", "noise", "granularity"]
    assert len(list(some.cells())) == 2**3


def test_a_cell_differs_from_the_device_in_its_factors_alone(own: TileConfig) -> None:
    chosen = Ablation(**ALL)
    assert chosen.tile(own, ()) == own
    device = own.device
    expected = {
        "range": {"device": device.model_copy(update={"w_max": 6.0, "w_min": -6.0})},
        "granularity": {"device": device.model_copy(update={"dw_min": 1e-4})},
        "noise": {"forward": digital().forward, "backward": digital().backward},
        "mapping": {"mapping": preset("EcRam", mapping={"weight_scaling_omega": 0.6}).mapping},
        "rule": {"mixed_precision": preset("EcRam", mixed_precision={}).mixed_precision},
    }
    for name, changes in expected.items():
        assert chosen.tile(own, [name]) == own.model_copy(update=changes)
    both = chosen.tile(own, ["range", "granularity"]).device
    assert both == device.model_copy(update={"w_max": 6.0, "w_min": -6.0, "dw_min": 1e-4})
    every = chosen.tile(own, FACTORS)
    assert TileConfig.parse(every.model_dump(mode="json")) == every


def test_less_noise_keeps_the_converters_and_ttv2_is_a_rule(own: TileConfig) -> None:
    chosen = Ablation(**{**ALL, "noise": 0.01, "rule": "ttv2"})
    quiet = chosen.tile(own, ["noise"])
    for part in ("forward", "backward"):
        read = getattr(own, part).model_copy(update={"out_noise": 0.01})
        assert getattr(quiet, part) == read
    transfer = chosen.tile(own, ["rule"]).transfer
    assert transfer is not None
    assert transfer.kind == "ttv2"


def test_levels_say_what_is_varied(own: TileConfig) -> None:
    assert Ablation(**ALL).levels(own) == {
        "range": ("0.6", "6"),
        "noise": ("0.06", "perfect"),
        "granularity": ("0.001", "0.0001"),
        "mapping": ("none", "0.6"),
        "rule": ("pulses", "mixed_precision"),
    }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"device": "digital"}, r"ablation.device: found digital, allowed: linear-tau0.6"),
        ({"stages": 9}, r"ablation.stages: found 9, allowed: at most 3"),
        (
            {"range": None, "rule": None},
            r"ablation: no factor is varied, allowed: one or more of ran",
        ),
        ({"seeds": [1, 1]}, r"ablation: seeds: a value is given twice"),
        ({"rule": "sgd"}, r"ablation.rule: found 'sgd', allowed: 'mixed_precision' or 'ttv2'"),
        ({"range": 0.0}, r"ablation.range: found 0.0"),
    ],
)
def test_a_wrong_section_is_refused(edited: Any, changes: dict[str, Any], message: str) -> None:
    section = {"device": "linear-tau0.6", "rate": 0.1, "range": 6.0, "seeds": [0], "most": 1}
    with pytest.raises(ConfigError, match=message):
        load_profile(edited("ablation", section | changes))


@pytest.mark.parametrize(
    ("tile", "message"),
    [
        (digital(), "found ideal"),
        (preset("PCM"), "found one_sided"),
        (preset("EcRam", mixed_precision={}), "found a device with an update rule"),
        (
            preset("EcRam", mapping={"weight_scaling_omega": 0.3}),
            "weight_scaling_omega 0.3 already",
        ),
    ],
)
def test_a_device_that_cannot_be_made_better_is_refused(tile: TileConfig, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Ablation(**ALL).tile(tile, ["range"])


def test_such_a_device_is_refused_before_anything_runs(tiny_profile: Path, tmp_path: Path) -> None:
    devices = tmp_path / "devices.yaml"
    devices.write_text("linear-tau0.6: {preset: EcRam, mixed_precision: {}}\n")
    text = tiny_profile.read_text().replace("../../config/devices.yaml", "devices.yaml")
    (tmp_path / "tiny.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"tiny.yaml: ablation.device: found a device with an up"):
        load_profile(tmp_path / "tiny.yaml")
