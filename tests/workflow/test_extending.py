"""The recipes of docs/extending.md, carried out as they stand there in a folder of their own."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "extending.md").read_text()


@pytest.fixture
def carry_out(tmp_path):
    """Return a function that carries out a section and returns what it prints."""
    shutil.copytree(ROOT / "config", tmp_path / "config")
    shutil.copy(ROOT / "examples" / "measured.csv", tmp_path)
    profile = (ROOT / "tests/profiles/tiny.yaml").read_text()
    (tmp_path / "profile.yaml").write_text(profile.replace("../../config", "config"))

    def carry_out(title: str) -> str:
        section = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S)[1]
        printed = []
        for kind, name, text in re.findall(
            r"^```(\w+)(?: file=(\S+))?\n(.*?)^```", section, re.M | re.S
        ):
            if name:
                with (tmp_path / name).open("a") as file:
                    file.write(text)
            elif kind == "python":
                printed.append(run([sys.executable, "-c", text]))
            else:
                assert kind == "console", f"{kind}: a recipe adds files and runs them"
                for line in text.splitlines():
                    words = [w.replace("PROFILE", "profile.yaml") for w in shlex.split(line)]
                    printed.append(run([sys.executable, *words[1:]]))
        return "\n".join(printed)

    def run(command: list[str]) -> str:
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        result = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert result.returncode == 0, result.stderr
        return result.stdout

    return carry_out


def _tile(run: Path) -> dict:
    return json.loads((run / "run.json").read_text())["config"]["tile"]["device"]


def test_a_device(carry_out, tmp_path):
    carry_out("A device")
    entry, fit = _tile(tmp_path / "of-entry"), _tile(tmp_path / "of-fit")
    assert (entry["w_max"], entry["w_min"], entry["dw_min"]) == (0.5, -0.4, 0.002)
    assert abs(fit["w_max"] - 0.6) < 0.1  # of the array that examples/measured.csv was made with
    assert abs(fit["dw_min"] - 0.01) < 0.005


def test_a_model(carry_out, tmp_path):
    printed = carry_out("A model")
    assert 0 < float(printed.splitlines()[0]) < 5
    assert _tile(tmp_path / "own")["kind"] == "soft_bounds"
    metrics = pd.read_csv(tmp_path / "own" / "metrics.csv")
    assert metrics["train_loss"].iloc[-1] < np.log(10)


def test_a_schedule(carry_out, tmp_path):
    printed = carry_out("A schedule").splitlines()
    # Stage m updates floor((M - m) / 2) times between F and B, and 4 (K - 1) + 2 M clocks pass.
    assert printed == ["1 4 5 5", "2 5 5 5", "3 5 5 5", "26 cycles, density 0.46"]
    with Image.open(tmp_path / "half.png") as image:
        assert min(image.size) > 100


def test_a_data_set(carry_out, tmp_path):
    rng = np.random.default_rng(0)
    for split, count in (("train", 20), ("test", 4)):
        for label, level in (("dark", 40), ("light", 200)):
            folder = tmp_path / "mine" / split / label
            folder.mkdir(parents=True)
            for i in range(count):
                pixels = np.clip(rng.normal(level, 30, (6, 6)), 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{i}.png")
    printed = carry_out("A data set")
    assert len(re.findall(r"epoch 3/3: .*test accuracy 1.0000", printed)) == 2
