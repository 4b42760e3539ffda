"""The documents of layers: what they show runs, what they name exists."""

import re
from pathlib import Path

import pytest
import torch

DOCS = Path(__file__).parents[2] / "docs"
PLACES = re.findall(r"`(tests/[\w/]+\.py)?::(\w+)`", (DOCS / "cases.md").read_text())


def test_the_loop_trains_its_array() -> None:
    (code,) = re.findall(r"^```python\n(.*?)^```", (DOCS / "layers.md").read_text(), re.M | re.S)
    names: dict[str, object] = {}
    before, _, after = code.partition("for _ in range")
    exec(before, names)
    layer = names["net"][0]  # type: ignore[index]
    weight = layer.weight.clone()
    exec("for _ in range" + after, names)
    assert not torch.equal(layer.weight, weight)


def test_each_case_has_its_test() -> None:
    file = ""
    assert len(PLACES) > 20
    for path, name in PLACES:
        file = path or file
        if not re.search(rf"^def {name}\(", (DOCS.parent / file).read_text(), re.M):
            pytest.fail(f"{file} has no {name}")
