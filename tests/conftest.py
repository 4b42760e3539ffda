"""What several test files share."""

from pathlib import Path

import pytest
import torch
import yaml

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_profile() -> Path:
    """The profile that runs in seconds."""
    return ROOT / "tests" / "profiles" / "tiny.yaml"


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
