"""One version, and packages that can be built and installed."""

import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

import analogpipe as ap

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
VERSION = PROJECT["version"]
PYTHONS = ["3.11", "3.12", "3.13"]


def test_the_version_is_that_of_pyproject_everywhere() -> None:
    assert metadata.version("analogpipe") == VERSION, "install the package anew"
    assert ap.__version__ == VERSION
    assert str(yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"]) == VERSION
    command = [sys.executable, "-m", "analogpipe.cli.app", "--version"]
    assert (
        subprocess.run(command, capture_output=True, text=True, check=True).stdout == f"{VERSION}\n"
    )


def test_no_other_file_holds_a_version() -> None:
    found = [
        str(path)
        for path in (ROOT / "src").rglob("*.py")
        if re.search(r"__version__ *[:=]|\bversion *= *[\"']\d", path.read_text())
    ]
    assert found == []


def test_the_changelog_begins_with_what_is_to_come_or_this_version() -> None:
    headings = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.M)
    released = [Version(heading) for heading in headings if heading != "Unreleased"]
    assert "Unreleased" not in headings[1:]
    assert released == sorted(released, reverse=True)
    assert not released or released[0] <= Version(VERSION)
    if headings[0] != "Unreleased":
        assert headings[0] == VERSION


def test_citation_and_project_have_one_name_and_licence() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["title"].startswith(f"{PROJECT['name']}: ")
    assert citation["license"] == PROJECT["license"]
    assert (ROOT / "LICENSE").read_text().startswith("MIT License")


def test_all_pythons_are_in_the_open_range() -> None:
    allowed = SpecifierSet(PROJECT["requires-python"])
    assert all(python in allowed for python in PYTHONS)
    assert "3.10" not in allowed
    told = [entry.rpartition(" ")[2] for entry in PROJECT["classifiers"] if "Python :: 3." in entry]
    assert told == PYTHONS


@pytest.mark.parametrize("extra", ["dev", "peer", "slurm"])
def test_extras_name_what_they_bring(extra: str) -> None:
    brought = [Requirement(line) for line in PROJECT["optional-dependencies"][extra]]
    assert brought
    assert all(requirement.specifier for requirement in brought)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A wheel of an sdist of the files under version control, and the sdist; built without a network."""
    folder = tmp_path_factory.mktemp("built")
    source = folder / "source"
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\0")
    for name in filter(None, listed):
        if name.startswith("src/") or "/" not in name:
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    code = f"from setuptools import build_meta as b; print(b.build_sdist({str(folder)!r}))"
    subprocess.run([sys.executable, "-c", code], cwd=source, check=True, capture_output=True)
    (sdist,) = folder.glob("*.tar.gz")
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*pip, "--no-build-isolation", "-w", folder, sdist], check=True)
    (wheel,) = folder.glob("*.whl")
    return sdist, wheel


@pytest.mark.slow
def test_packages_hold_the_library_and_nothing_else(built: tuple[Path, Path]) -> None:
    sdist, wheel = built
    assert wheel.name == f"analogpipe-{VERSION}-py3-none-any.whl"
    tracked = {path.relative_to(ROOT / "src").as_posix() for path in (ROOT / "src").rglob("*.py")}
    tracked |= {"analogpipe/py.typed", "analogpipe/__init__.pyi"}
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (info,) = [name for name in names if name.endswith(".dist-info/METADATA")]
        told = archive.read(info).decode()
    assert {name for name in names if ".dist-info/" not in name} == tracked
    assert any(name.endswith("LICENSE") for name in names)
    for extra in ("dev", "peer", "slurm"):
        assert f"Provides-Extra: {extra}" in told
    with tarfile.open(sdist) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    assert {"README.md", "LICENSE", "pyproject.toml"} < inside


@pytest.mark.slow
def test_the_wheel_works_in_a_fresh_environment(built: tuple[Path, Path], tmp_path: Path) -> None:
    """What it depends on is taken from here, the library from the wheel."""
    environment = tmp_path / "fresh"
    venv.create(environment, with_pip=False)
    python = environment / "bin" / "python"
    clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    site = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        capture_output=True, text=True, check=True, env=clean,
    ).stdout.strip()  # fmt: skip
    # at the end of the path, and without what makes the library here editable
    (Path(site) / "here.pth").write_text(sysconfig.get_path("purelib") + "\n")
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps"]
    subprocess.run([*pip, "--no-index", built[1]], check=True, env=clean)
    code = """
import torch
import analogpipe as ap
print(ap.__file__)
print(ap.__version__)
layer = ap.AnalogLinear(4, 3, ap.preset("EcRam"), seed=0, name="layer")
before = layer.weight.clone()
layer(torch.ones(2, 4)).sum().backward()
layer.update(0.1)
assert not torch.equal(before, layer.weight)
"""
    ran = subprocess.run(
        [python, "-c", code], cwd=tmp_path, env=clean, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    file, version = ran.stdout.split()
    assert Path(file).is_relative_to(environment)
    assert version == VERSION
    command = [environment / "bin" / "analogpipe", "--version"]
    told = subprocess.run(
        command, cwd=tmp_path, env=clean, capture_output=True, text=True, check=True
    )
    assert told.stdout == f"{VERSION}\n"


@pytest.mark.slow
@pytest.mark.parametrize("python", PYTHONS)
def test_the_library_is_written_for_each_python(python: str) -> None:
    """Where there is one: its own compiler takes every file."""
    found = subprocess.run(
        [f"python{python}", "-c", "import sys; print(sys.executable)"],
        capture_output=True, text=True, check=False,
    ) if _is_there(python) else None  # fmt: skip
    if found is None or found.returncode != 0:
        pytest.skip(f"no Python {python} here")
    code = """
import pathlib, sys
for path in pathlib.Path(sys.argv[1]).rglob("*.py"):
    compile(path.read_text(), path, "exec")
"""
    subprocess.run([found.stdout.strip(), "-W", "error", "-c", code, ROOT / "src"], check=True)


def _is_there(python: str) -> bool:
    folders = os.environ.get("PATH", "").split(os.pathsep)
    return any((Path(folder) / f"python{python}").exists() for folder in folders)
