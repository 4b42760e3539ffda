"""Imports go one way: the contracts of pyproject.toml hold, and notice an arrow that runs back."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def lint(where: Path) -> subprocess.CompletedProcess[str]:
    """Check the contracts of a folder with ``pyproject.toml`` and ``src``."""
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"]
    environment = {**os.environ, "PYTHONPATH": str(where / "src")}
    return subprocess.run(
        command, cwd=where, env=environment, capture_output=True, text=True, check=False
    )


@pytest.fixture
def copy(tmp_path):
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_contracts_hold(copy):
    result = lint(copy)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize(
    ("module", "imports", "broken"),
    [
        ("device/parameters", "analogpipe.tile.tile", "Imports go down"),
        ("results/run", "analogpipe.theory.bounds", "Imports go down"),
        ("experiment/train", "analogpipe.jobs.figure", "Imports go down"),
        ("theory/problem", "analogpipe.theory.floor", "in a circle"),
        ("schedule/table", "analogpipe.device.parameters", "knows no analog array"),
        ("layer/linear", "analogpipe.schedule.modes", "knows no pipeline"),
        ("figures/style", "torch", "loads no torch"),
        ("results/tables", "typer", "has no command line"),
        ("new/module", "analogpipe.cli.app", "Imports go down"),  # a package without a floor
    ],
)
def test_an_arrow_that_runs_back_is_noticed(copy, module, imports, broken):
    path = copy / "src" / "analogpipe" / f"{module}.py"
    path.parent.mkdir(exist_ok=True)
    (path.parent / "__init__.py").touch()
    with path.open("a") as file:
        file.write(f"\nimport {imports}\n")
    result = lint(copy)
    assert result.returncode != 0
    assert [line for line in result.stdout.splitlines() if broken in line and "BROKEN" in line]
