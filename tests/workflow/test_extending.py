"""The recipes of docs/extending.md, carried out as they stand there on a copy of the sources."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "extending.md").read_text()


@pytest.fixture
def carry_out(tmp_path):
    """Return a function that carries out a section and returns what its commands print."""
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "config", tmp_path / "config")
    profile = (ROOT / "tests/profiles/tiny.yaml").read_text()
    (tmp_path / "profile.yaml").write_text(profile.replace("../../config", "config"))

    def carry_out(title: str) -> str:
        section = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S)[1]
        printed = []
        for kind, name, text in re.findall(
            r"^```(\w+)(?: file=(\S+))?\n(.*?)^```", section, re.M | re.S
        ):
            if kind == "diff":
                (tmp_path / "change.diff").write_text(text)
                run(["git", "apply", "--unidiff-zero", "change.diff"])
            elif name:
                with (tmp_path / name).open("a") as file:
                    file.write(text)
            elif kind == "python":
                printed.append(run([sys.executable, "-c", text]))
            elif kind == "console":
                for line in text.splitlines():
                    words = shlex.split(line)
                    if words[0] == "python":
                        words = [w.replace("PROFILE", "profile.yaml") for w in words[1:]]
                        printed.append(run([sys.executable, *words]))
        return "\n".join(printed)

    def run(command: list[str]) -> str:
        environment = {**os.environ, "PYTHONPATH": str(tmp_path / "src"), "OMP_NUM_THREADS": "1"}
        result = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert result.returncode == 0, result.stderr
        return result.stdout

    return carry_out


def test_new_device(carry_out, tmp_path):
    assert "written to square" in carry_out("A new device")
    assert '"kind": "square_step"' in (tmp_path / "square/run.json").read_text()


def test_new_model(carry_out):
    assert 0 < float(carry_out("A new model")) < 5


def test_new_schedule(carry_out, tmp_path):
    printed = carry_out("A new schedule")
    # 4 (K - 1) + 2 M cycles; staleness floor((M - m) / 2) at stages 1, 2, 3.
    assert "26 cycles" in printed
    rows = [line.split() for line in printed.splitlines() if re.fullmatch(r" +\d( +\d){3}", line)]
    assert [row[:2] for row in rows] == [["1", "1"], ["2", "0"], ["3", "0"]]
    assert "mode=async-half" in (tmp_path / "half/schedule.txt").read_text()


def test_new_data_set(carry_out, tmp_path):
    rng = np.random.default_rng(0)
    for split, count in (("train", 20), ("test", 4)):
        for label, level in (("dark", 40), ("light", 200)):
            folder = tmp_path / "mine" / split / label
            folder.mkdir(parents=True)
            for i in range(count):
                pixels = np.clip(rng.normal(level, 30, (6, 6)), 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{i}.png")
    assert "test accuracy 1.0000" in carry_out("A new data set")
