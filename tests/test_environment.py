"""pyproject.toml, requirements.lock and environment.yml describe one environment."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
RANGES = {
    canonicalize_name(requirement.name): requirement.specifier
    for requirement in map(
        Requirement, PROJECT["dependencies"] + PROJECT["optional-dependencies"]["dev"]
    )
}
LOCK = (ROOT / "requirements.lock").read_text()
ENVIRONMENT = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]


def locked(python: str) -> dict[str, str]:
    """Return name -> version of the lock for one version of Python on Linux."""
    versions = {}
    for line in re.findall(r"^[a-zA-Z0-9].*==.*$", LOCK, re.MULTILINE):
        requirement = Requirement(line.rstrip("\\ "))
        variables = {
            "python_full_version": f"{python}.5",
            "python_version": python,
            "sys_platform": "linux",
        }
        if requirement.marker is None or requirement.marker.evaluate(variables):
            versions[canonicalize_name(requirement.name)] = str(requirement.specifier)[2:]
    return versions


def conda() -> dict[str, str]:
    """Return name -> version of the pip section of environment.yml."""
    (pip,) = [entry["pip"] for entry in ENVIRONMENT if isinstance(entry, dict)]
    return {canonicalize_name(r.name): str(r.specifier)[2:] for r in map(Requirement, pip)}


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13", "3.14"])
def test_lock_lies_in_the_open_ranges(python):
    versions = locked(python)
    assert python in SpecifierSet(PROJECT["requires-python"])
    for name, allowed in RANGES.items():
        assert versions[name] in allowed, name


def test_conda_environment_is_the_lock():
    (python,) = [
        e.split("=")[1] for e in ENVIRONMENT if isinstance(e, str) and e.startswith("python=")
    ]
    versions = locked(python)
    assert conda() == {name: versions[name] for name in RANGES}


def test_lock_has_hashes_and_no_addresses():
    pins = re.findall(r"^[a-zA-Z0-9].*==.*$", LOCK, re.MULTILINE)
    assert all(pin.endswith("\\") for pin in pins)
    assert LOCK.count("--hash=sha256:") >= len(pins)
    assert "://" not in LOCK


def test_fixed_pair():
    versions = locked("3.11")
    assert (versions["torch"], versions["torchvision"]) == ("2.12.1", "0.27.1")
