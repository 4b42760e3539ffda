"""What docs/aihwkit.md shows runs."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch

import analogpipe as ap

pytest.importorskip("aihwkit")
pytestmark = pytest.mark.peer

PAGE = Path(__file__).parents[2] / "docs" / "aihwkit.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.M | re.S)


def test_a_configuration_is_read_and_written() -> None:
    names: dict[str, object] = {}
    exec(BLOCKS[0], names)
    tile = names["tile"]
    assert isinstance(tile, ap.TileConfig)
    assert tile.device == ap.preset("TTv2ReRamSB").device
    assert type(names["config"]).__name__ == "UnitCellRPUConfig"


def test_a_model_is_trained_in_a_pipeline_and_given_back() -> None:
    names: dict[str, Any] = {}
    before, _, after = BLOCKS[1].partition("ap.from_aihwkit(model)")
    exec(before, names)
    weight = names["model"][0].get_weights()[0].clone()
    exec("ap.from_aihwkit(model)" + after, names)
    assert not names["pipe"].losses.isnan().any()
    assert not torch.equal(names["model"][0].get_weights()[0], weight)
