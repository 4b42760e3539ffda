"""pyproject.toml, requirements.lock and environment.yml describe one environment."""

import re
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
RANGES = {
    canonicalize_name(requirement.name): requirement.specifier
    for requirement in map(
        Requirement, PROJECT["dependencies"] + PROJECT["optional-dependencies"]["dev"]
    )
}
LOCK = (ROOT / "requirements.lock").read_text()
ENVIRONMENT = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]


def lines(python: str) -> list[Requirement]:
    """Return the pins of the lock that hold for one version of Python on Linux."""
    variables = {
        "python_full_version": f"{python}.5",
        "python_version": python,
        "sys_platform": "linux",
    }
    pins = [
        Requirement(line.rstrip("\\ "))
        for line in re.findall(r"^[a-zA-Z0-9].*==.*$", LOCK, re.MULTILINE)
    ]
    return [pin for pin in pins if pin.marker is None or pin.marker.evaluate(variables)]


def locked(python: str) -> dict[str, str]:
    """Return name -> version of the lock for one version of Python on Linux."""
    return {canonicalize_name(pin.name): str(pin.specifier)[2:] for pin in lines(python)}


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


def test_lock_names_the_extras_that_packages_ask_for():
    """Older pips (23.2) look for ``coverage[toml]`` beside a locked ``coverage``, and refuse what they find."""
    pins = {
        canonicalize_name(pin.name): pin
        for pin in lines(f"{sys.version_info[0]}.{sys.version_info[1]}")
    }
    asked = [
        requirement
        for name in pins
        for requirement in map(Requirement, metadata.requires(name) or [])
        if requirement.extras
        and (requirement.marker is None or requirement.marker.evaluate({"extra": ""}))
    ]
    assert asked
    for requirement in asked:
        assert requirement.extras <= pins[canonicalize_name(requirement.name)].extras, requirement


def test_fixed_pair():
    versions = locked("3.11")
    assert (versions["torch"], versions["torchvision"]) == ("2.12.1", "0.27.1")
