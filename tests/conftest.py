"""What several test files share."""

from pathlib import Path

import pytest
import torch
import yaml

from analogpipe.tile import products
from analogpipe.tile.array import Array
from run_snakemake import PROFILE, ROOT, snakemake


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture
def in_bfloat16(monkeypatch) -> None:
    """Run a test with the products of all arrays in bfloat16, however small they are."""
    monkeypatch.setattr(Array, "multiplies_in", torch.bfloat16)
    for name in ("LEAST", "LEAST_OF_CONVOLUTION", "THINNEST", "FEWEST_POSITIONS"):
        monkeypatch.setattr(products, name, 0)


@pytest.fixture(params=["float32", "bfloat16"])
def in_both_formats(request) -> torch.dtype:
    """Run a test twice, the second time :func:`in_bfloat16`."""
    if request.param == "bfloat16":
        request.getfixturevalue("in_bfloat16")
    return getattr(torch, request.param)


@pytest.fixture(scope="session")
def tiny_profile() -> Path:
    """The profile that runs in seconds."""
    return ROOT / "tests" / "profiles" / "tiny.yaml"


@pytest.fixture(scope="session")
def finished(tmp_path_factory, tiny_profile) -> Path:
    """A folder in which the whole workflow has run on a copy of the tiny profile."""
    where = tmp_path_factory.mktemp("workflow")
    content = tiny_profile.read_text().replace("../../config", str(ROOT / "config"))
    (where / PROFILE).write_text(content)
    result = snakemake(where, "--quiet", "rules", profile=PROFILE)
    assert result.returncode == 0, result.stdout + result.stderr
    return where


@pytest.fixture
def edited(tiny_profile, tmp_path):
    """Return a function that writes the tiny profile with one key (a dotted path) set to a value.

    A value of ``...`` removes the key.
    """

    def edit(path: str, value: object) -> Path:
        content = yaml.safe_load(tiny_profile.read_text())
        content["devices_file"] = str(ROOT / "config" / "devices.yaml")
        *parents, key = path.split(".")
        section = content
        for parent in parents:
            section = section[parent]
        if value is ...:
            del section[key]
        else:
            section[key] = value
        copy = tmp_path / "edited.yaml"
        copy.write_text(yaml.safe_dump(content))
        return copy

    return edit
