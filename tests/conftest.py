"""What several test files share."""

from pathlib import Path

import pytest
import torch
import yaml

from run_snakemake import PROFILE, ROOT, snakemake


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    torch.set_num_threads(1)


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
