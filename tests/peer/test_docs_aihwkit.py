"""What docs/aihwkit.md shows runs."""

import re
from pathlib import Path

import pytest

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
