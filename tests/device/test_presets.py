from pathlib import Path

import pytest
import torch

from analogpipe.device.presets import PRESETS
from analogpipe.profile.profile import load_devices
from analogpipe.tile.config import TileConfig, TileConfigError
from analogpipe.tile.tile import AnalogTile


@pytest.mark.parametrize("name", PRESETS)
def test_a_tile_of_each_preset_updates_and_reads(name: str) -> None:
    tile = AnalogTile(torch.zeros(5, 4), TileConfig.parse({"preset": name}), seed=0, name="tile")
    before = tile.weight.clone()
    tile.update(torch.rand(3, 4), torch.randn(3, 5), 0.1)
    assert bool(torch.isfinite(tile.weight).all())
    assert not torch.equal(tile.weight, before)
    assert bool(torch.isfinite(tile.read_forward(torch.randn(2, 4))).all())


def test_a_preset_can_be_overridden() -> None:
    tile = TileConfig.parse({"preset": "EcRam", "forward": {"perfect": True}})
    assert tile.device == PRESETS["EcRam"]
    assert tile.forward.perfect
    assert tile.backward.out_noise == 0.1


def test_a_wrong_preset_is_named() -> None:
    with pytest.raises(TileConfigError, match="'ecram'; allowed: GokmenVlasov"):
        TileConfig.parse({"preset": "ecram"})


def test_the_shipped_file_shows_every_device_and_preset() -> None:
    tiles = load_devices(Path("config/devices.yaml"))
    kinds = {tile.device.kind for tile in tiles.values()}
    assert kinds == {
        "constant_step",
        "linear_step",
        "soft_bounds",
        "soft_bounds_reference",
        "exp_step",
        "pow_step",
        "one_sided",
    }
    assert {str(preset) for preset in PRESETS.values()} <= {str(t.device) for t in tiles.values()}
