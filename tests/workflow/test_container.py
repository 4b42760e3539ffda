"""The container's recipe, as far as it can be checked without building it."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
RECIPE = (ROOT / "Dockerfile").read_text()
INSTRUCTIONS = re.findall(r"^([A-Z]+) (.*)$", RECIPE, re.M)
COPIED = [
    path
    for instruction, rest in INSTRUCTIONS
    if instruction == "COPY"
    for path in rest.split()[:-1]
]


def test_python_is_that_of_the_lock():
    (base,) = [rest for instruction, rest in INSTRUCTIONS if instruction == "FROM"]
    python = re.fullmatch(r"python:(\d+\.\d+)-slim", base)[1]
    conda = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    assert f"python={python}" in conda
    assert f"--python-version {python} " in (ROOT / "Makefile").read_text()


def test_what_is_copied_exists_and_reaches_the_build():
    tracked = subprocess.run(
        ["git", "ls-files", *COPIED], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    for path in COPIED:
        assert (ROOT / path).exists(), path
        assert any(name == path or name.startswith(f"{path}/") for name in tracked), path
        assert f"!{path}" in ignored
    assert "*" in ignored
    assert {line[1:] for line in ignored if line.startswith("!")} == set(COPIED)
    patterns = [line.removeprefix("**/") for line in ignored if line.startswith("**/")]
    assert not [
        n for n in tracked for part in Path(n).parts if any(fnmatch(part, p) for p in patterns)
    ]


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    """A folder as the image has it: what is copied and nothing else."""
    folder = tmp_path_factory.mktemp("image")
    for path in COPIED:
        if (ROOT / path).is_dir():
            shutil.copytree(
                ROOT / path, folder / path, ignore=shutil.ignore_patterns("__pycache__")
            )
        else:
            shutil.copy(ROOT / path, folder / path)
    return folder


def test_entry_point_plans_the_workflow_from_what_is_copied(image, tmp_path):
    """In an empty working folder, with the library of the copy, both as a user may run it."""
    (entry,) = [
        json.loads(rest) for instruction, rest in INSTRUCTIONS if instruction == "ENTRYPOINT"
    ]
    command = [part.replace("/opt/analogpipe", str(image)) for part in entry]
    command[:1] = [sys.executable, "-m", "snakemake"]
    (variables,) = [rest for instruction, rest in INSTRUCTIONS if instruction == "ENV"]
    environment = dict(variable.split("=") for variable in variables.split())
    result = subprocess.run(
        [*command, "--dry-run", "--quiet", "rules"], cwd=tmp_path, capture_output=True, text=True,
        check=False, env={"PATH": os.defpath, "PYTHONPATH": str(image / "src"), **environment},
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert re.search(r"^train +[1-9]", result.stdout + result.stderr, re.M)


def test_package_builds_from_what_is_copied(image, tmp_path):
    """The recipe's last installation, into a folder of its own instead of the environment."""
    (_, install) = [rest for instruction, rest in INSTRUCTIONS if instruction == "RUN"]
    command = shlex.split(install)
    assert command[-2:] == ["--editable", "."]
    command[0], command[-2:] = sys.executable, ["--quiet", "--target", str(tmp_path), "."]
    result = subprocess.run(command, cwd=image, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "analogpipe" / "py.typed").exists()
