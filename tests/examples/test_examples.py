"""The examples, run as a user would run them."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def run(tmp_path):
    """Return a function that runs an example in an empty folder and returns what it prints."""

    def run(name: str, *arguments: str) -> str:
        result = subprocess.run(
            [sys.executable, str(EXAMPLES / name), *arguments], cwd=tmp_path, check=False,
            env={**os.environ, "OMP_NUM_THREADS": "1", "MPLBACKEND": "agg"}, capture_output=True, text=True,
        )  # fmt: skip
        assert result.returncode == 0, result.stderr
        return result.stdout

    return run


def _accuracy(printed: str, of: str) -> float:
    return float(re.search(rf"{of}.*test accuracy (0\.\d+)", printed)[1])


def test_own_model(run):
    printed = run("own_model.py")
    assert "2256 clock cycles" in printed  # 2 (K + M - 1), 1125 micro-batches, 4 stages
    assert _accuracy(printed, "cycles") > 0.8


def test_own_device(run, tmp_path):
    csv = tmp_path / "mine.csv"
    csv.write_text((EXAMPLES / "measured.csv").read_text())
    printed = run("own_device.py", str(csv))
    w_max, error = (
        float(number) for number in re.search(r" w_max +(\S+) +(\S+)", printed).groups()
    )
    assert abs(w_max - 0.6) < 0.1
    assert 0 < error < 0.1
    fitted, ideal = _accuracy(printed, "fitted device"), _accuracy(printed, "ideal device")
    assert 0.8 < fitted < ideal


def test_two_schedules(run, tmp_path):
    printed = run("two_schedules.py", "picture.png")
    losses = {}
    for line in printed.splitlines():
        name, cycles, loss = re.match(r"(\w+): (\d+) cycles, .* loss (\S+)", line).groups()
        losses[name] = (int(cycles), float(loss))
    assert losses["async"][0] < 0.6 * losses["sync"][0]
    assert max(loss for _, loss in losses.values()) < 0.6
    for picture in ("picture.png", "sync.png", "async.png"):
        with Image.open(tmp_path / picture) as image:
            assert min(image.size) > 100
            assert len(image.convert("RGB").getcolors(1 << 20)) > 10
