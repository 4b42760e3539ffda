"""The command: what it prints and writes, and one line for every mistake."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner

from analogpipe.cli.app import app
from analogpipe.experiment import data
from analogpipe.experiment.estimate import _latency, estimate, measure
from analogpipe.figures import curves
from analogpipe.figures.gantt import cells
from analogpipe.profile.profile import DIGITAL, load_devices, load_profile, load_tile
from analogpipe.results import run as runs
from analogpipe.results.compare import compare
from analogpipe.schedule.modes import MODES
from analogpipe.schedule.table import Action, build
from analogpipe.schedule.text import from_text
from analogpipe.schedule.timing import simulate
from analogpipe.settings import override

ROOT = Path(__file__).parents[2]
COMMANDS = ("train", "calibrate", "schedule", "estimate", "list", "show", "compare", "validate")


@pytest.fixture
def run(monkeypatch, tmp_path, tiny_profile):
    """Return a function that runs the command in an empty folder; TINY stands for the tiny profile."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object):
        words = [str(tiny_profile) if word == "TINY" else str(word) for word in arguments]
        return CliRunner().invoke(app, words)

    return run


@pytest.fixture(scope="module")
def trained(tmp_path_factory, tiny_profile):
    """A folder with two runs of the tiny profile, sequential and async."""
    root = tmp_path_factory.mktemp("runs")
    for mode, stages in (("sequential", 1), ("async", 3)):
        result = CliRunner().invoke(
            app,
            ["train", str(tiny_profile), "--mode", mode, "--stages", str(stages),
             "--set", "training.epochs=2", "--out", str(root / mode)],
        )  # fmt: skip
        assert result.exit_code == 0, result.output
    return root


def test_help_is_quick_and_has_examples():
    """No command's help imports torch, and each shows a command that starts as its example says."""
    code = (
        "import sys; from typer.testing import CliRunner; from analogpipe.cli.app import app\n"
        f"for name in {COMMANDS}: print(CliRunner().invoke(app, [name, '--help']).output)\n"
        "assert not {'torch', 'pandas', 'matplotlib'} & set(sys.modules)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    for name in COMMANDS:
        assert f"Example: analogpipe {name} " in result.stdout


def test_train_is_the_workflow_s_training(run, trained, tiny_profile, tmp_path):
    from analogpipe.experiment import train as training

    profile = load_profile(tiny_profile, ["training.epochs=2"])
    training.train(profile.run(DIGITAL, "async", 3, 0), tmp_path / "direct")
    for name in ("metrics.csv", "schedule.txt"):
        assert (tmp_path / "direct" / name).read_bytes() == (trained / "async" / name).read_bytes()


def test_train_a_device_outside_the_profile(run, tmp_path):
    options = ("train", "TINY", "--device", "ecram", "--stages", 3, "--set", "training.epochs=1")
    refused = run(*options)
    assert refused.exit_code == 2
    assert "learning rate for ecram" in refused.stderr
    assert run(*options, "--learning-rate", 0.05).exit_code == 0
    record = tmp_path / "results/manual/tiny/ecram/async/M3/seed0/run.json"
    assert json.loads(record.read_text())["config"]["learning_rate"] == 0.05
    again = run(*options, "--learning-rate", 0.05)
    assert again.exit_code == 2
    assert "--overwrite" in again.stderr


def test_train_refuses_extends_and_overwrites(run, tmp_path):
    def train(epochs, *options):
        short = ("--stages", 3, "--out", "run", "--set", f"training.epochs={epochs}")
        return run("train", "TINY", *short, *options)

    assert train(1).exit_code == 0
    first = (tmp_path / "run/metrics.csv").read_bytes()
    refused = train(2)
    assert refused.exit_code == 2
    assert "--overwrite, or --extend" in refused.stderr
    both = train(2, "--extend", "--overwrite")
    assert "give one of them" in both.stderr
    assert (tmp_path / "run/metrics.csv").read_bytes() == first
    assert train(2, "--extend").exit_code == 0
    extended = (tmp_path / "run/metrics.csv").read_bytes()
    assert train(2, "--overwrite").exit_code == 0
    assert (tmp_path / "run/metrics.csv").read_bytes() == extended
    fewer = train(1, "--extend")
    assert fewer.exit_code == 2
    assert "allowed: more than the 2" in fewer.stderr


def test_calibrate_then_train_with_it(run, tmp_path, monkeypatch):
    from analogpipe.calibration import calibrate as calibration

    whole = calibration.calibrate
    monkeypatch.setattr(calibration, "calibrate", lambda tile, **o: whole(tile, **o, elements=8))
    result = run(
        "calibrate", "linear-tau0.6", "--devices", ROOT / "config/devices.yaml", "--out", "fit"
    )
    assert result.exit_code == 0, result.output
    assert "dw_min" in result.stdout
    fitted = yaml.safe_load((tmp_path / "fit/device.yaml").read_text())["device"]["dw_min"]
    assert fitted == pytest.approx(0.001, rel=0.5)
    assert (tmp_path / "fit/device.pdf").stat().st_size > 0
    options = ("--device", "linear-tau0.6", "--tile", "fit/device.yaml", "--out", "trained")
    assert (
        run("train", "TINY", *options, "--stages", 3, "--set", "training.epochs=1").exit_code == 0
    )
    refused = run("train", "TINY", "--stages", 3, "--tile", "fit/device.yaml")
    assert refused.stderr == "error: device digital takes no tile\n"
    record = json.loads((tmp_path / "trained/run.json").read_text())
    assert record["config"]["tile"]["device"]["dw_min"] == fitted


def test_calibrate_a_measurement(run, tmp_path):
    up = [0.6 * (1 - 0.96**i) for i in range(201)]
    down = [up[-1] - (up[-1] + 0.6) * (1 - 0.96**i) for i in range(1, 201)]
    table = pd.DataFrame({"pulse": range(401), "conductance": up + down})
    table["polarity"] = [0] + [1] * 200 + [-1] * 200
    table.to_csv(tmp_path / "mine.csv", index=False)
    options = ("--measured", "mine.csv", "--reach", 0, "--out", "fit")
    result = run("calibrate", "linear-tau0.6", "--devices", ROOT / "config/devices.yaml", *options)
    assert result.exit_code == 0, result.output
    device = load_tile(tmp_path / "fit/device.yaml").device
    assert device.w_max == pytest.approx(0.6, rel=0.01)
    assert device.dw_min == pytest.approx(0.6 * 0.04, rel=0.05)
    assert (tmp_path / "fit/device.png").read_bytes()[:4] == b"\x89PNG"


def test_calibrate_columns_says_what_is_undetermined(run, tmp_path):
    noise = 0.01 * np.random.default_rng(0).standard_normal(41)
    up = [0.4 * (1 - 0.96**i) for i in range(21)]
    down = [up[-1] - 0.4 * (1 - 0.97**i) for i in range(1, 21)]
    values = np.array(up + down) + noise
    table = pd.DataFrame({"LTP": values[:21], "LTD": np.append(values[21:], np.nan)})
    table.to_csv(tmp_path / "mine.csv", index=False)
    options = ("--measured", "mine.csv", "--reach", 0, "--out", "fit")
    known = ("--devices", ROOT / "config/devices.yaml")
    result = run("calibrate", "constant-step", *known, *options, "--format", "columns")
    assert result.exit_code == 0, result.output
    assert "not determined by the data: " in result.stdout
    assert "w_max_dtod" in result.stdout.split("not determined by the data: ")[1]
    notes = pd.read_csv(tmp_path / "fit/summary.csv").set_index("parameter").note
    assert notes["w_max_dtod"] == "undetermined: one element has no spread"
    refused = run("calibrate", "constant-step", *known, *options)
    assert refused.exit_code == 2
    assert refused.stderr.count("\n") == 1
    assert "no column 'pulse'" in refused.stderr


@pytest.mark.parametrize("mode", MODES)
def test_schedule(run, tmp_path, mode):
    mini_batch = 3 if mode.startswith("sync") else 1
    size = ("--stages", 3, "--micro-batches", 6, "--mini-batch", mini_batch)
    for name in ("table.txt", "table.png"):
        result = run("schedule", mode, *size, "--out", name)
        assert result.exit_code == 0, result.output
    table = build(mode, 3, 6, mini_batch)
    assert f"{table.cycles} cycles, density {table.density:.4f}" in result.stdout
    assert from_text((tmp_path / "table.txt").read_text()) == table
    assert (tmp_path / "table.png").read_bytes()[:4] == b"\x89PNG"
    from_file = run("schedule", "table.txt")
    assert from_file.stdout.splitlines() == result.stdout.splitlines()[:-1]


def test_drawn_schedule(run):
    lines = run("schedule", "async", "--stages", 2, "--micro-batches", 3).stdout.splitlines()
    assert lines[0].split() == ["stage", "1", "F0", ".", "F1", "B0*", "F2", "B1*", ".", "B2*"]
    assert lines[1].split() == ["stage", "2", ".", "F0", "B0*", "F1", "B1*", "F2", "B2*", "."]


def test_drawn_schedule_is_cropped(run):
    result = run("schedule", "async", "--stages", 8, "--micro-batches", 5000, "--first", 9000)
    assert "(clocks 9000 to" in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 160
    assert "F4500" in result.stdout


@pytest.mark.parametrize("mode", MODES)
def test_cells_are_the_table(mode):
    table = build(mode, 3, 5)
    shown = cells(table, 0, table.cycles)
    assert len(shown) == 2 * 3 * 5
    assert sum(cell.updates for cell in shown) == (table.kind == Action.U).sum()


def test_estimate_is_what_a_run_records(run, trained, tiny_profile):
    record = runs.read(trained / "async").record
    profile = load_profile(tiny_profile, ["training.epochs=2"])
    made = profile.run(DIGITAL, "async", 3, 0)
    result = estimate(made, data.load(made.dataset))
    for name in ("cycles", "density", "micro_batches"):
        assert getattr(result, name) == record[name]
    # 64 inputs, 16 units, 10 classes; a micro-batch of 8 images is 8 reads of a layer.
    assert [s.weights for s in result.stages] == [64 * 16, 16 * 16, 16 * 10]
    assert [s.reads for s in result.stages] == [8, 8, 8]
    assert result.latency == 8 * record["cycles"]
    # Stage 1 keeps the images and what tanh gives, floats of 4 bytes, of three micro-batches.
    assert result.stages[0].activation_bytes == 3 * 4 * 8 * (64 + 16)
    output = run("estimate", "TINY", "--stages", 3, "--set", "training.epochs=2").stdout
    assert f"{record['cycles']:,}" in output
    assert "16 training runs" in output  # 2 devices, 2 seeds; sequential, sync, async twice
    assert "on this machine" not in run("estimate", "TINY", "--stages", 3, "--not-here").stdout


def test_measured_time_is_that_of_all_micro_batches_and_epochs(tiny_profile):
    made = load_profile(tiny_profile).run(DIGITAL, "async", 3, 0)
    found = measure(made, data.load(made.dataset), seconds=0.05)
    assert (found.micro_batches, found.epochs) == (120, 3)
    assert found.seconds == pytest.approx(120 * found.micro_batch + 3 * found.evaluation)
    assert min(found.micro_batch, found.evaluation) > 0
    assert found.memory > 2**26


def test_a_profile_is_the_sum_of_its_runs(tiny_profile, monkeypatch):
    from analogpipe.experiment import estimate as module

    measured = []

    def fake(run, images, seconds):
        measured.append((run.device, run.mode.name, run.stages))
        return module.Measured(1.0, 0.0, 0, 10, 0)

    monkeypatch.setattr(module, "measure", fake)
    profile = load_profile(tiny_profile)
    tiles = load_devices(ROOT / "config/devices.yaml")
    assert module.measure_profile(profile, tiles, None) == (16, 160.0)
    modes = (("sequential", 1), ("sync", 1), ("async", 3))
    assert measured == [(d, m, s) for d in profile.devices for m, s in modes]


@pytest.mark.parametrize("mode", MODES)
def test_long_runs_are_extrapolated(monkeypatch, mode):
    from analogpipe.experiment import estimate as module

    n, reads = (4 if mode.startswith("sync") else 1), [3, 1, 5]
    whole = simulate(build(mode, 3, 403, n), reads)
    monkeypatch.setattr(module, "SIMULATED", 300)
    assert _latency(mode, 3, 403, n, reads) == pytest.approx((whole.makespan, whole.density))


def test_list_and_show(run, trained):
    (trained / "broken").mkdir(exist_ok=True)
    (trained / "broken" / "run.json").write_text("{")
    listed = run("list", trained)
    assert [line.split()[3] for line in listed.stdout.splitlines()] == [
        "mode",
        "async",
        "sequential",
    ]
    assert "broken" in listed.stderr
    shown = run("show", trained / "async", "--schedule")
    accuracy = pd.read_csv(trained / "async/metrics.csv")["test_accuracy"].iloc[-1]
    assert f"{accuracy:.4g}" in shown.stdout
    assert "stage 3 .    .    F0" in shown.stdout


def test_compare(run, trained):
    frame = compare(runs.read(trained / "sequential"), runs.read(trained / "async"), 2.1)
    rows = frame.set_index("quantity")
    assert rows.loc["mode.schedule", ["one", "two"]].tolist() == ["sequential", "async"]
    assert rows.loc["stages", ["one", "two"]].tolist() == [1, 3]
    assert "seed" not in rows.index
    for what in ("samples", "cycles"):
        row = rows.loc[f"{what} to training loss 2.1"]
        assert row["ratio"] == row["two"] / row["one"]
    printed = run("compare", trained / "sequential", trained / "async", "--target", 2.1).stdout
    assert "cycles to training loss 2.1" in printed
    assert "at 1 and 3 stages" in printed
    assert "stages" not in run("compare", trained / "async", trained / "async").stdout


def test_plot(run, trained, tmp_path):
    one, two = (runs.read(trained / mode) for mode in ("sequential", "async"))
    assert curves.names([one, two]) == ["sequential, M=1", "async, M=3"]
    assert curves.names([one]) == ["digital, sequential, M=1"]
    panels = curves.figure([one, two]).axes
    for axes, x in zip(panels, ("samples", "cycles"), strict=True):
        for line, of in zip(axes.lines, (one, two), strict=True):
            assert line.get_xdata().tolist() == of.metrics[x].tolist()
            assert line.get_ydata().tolist() == of.metrics["test_accuracy"].tolist()
    out = tmp_path / "curves.png"
    assert run("plot", one.folder, two.folder, "--out", out).exit_code == 0
    assert out.read_bytes().startswith(b"\x89PNG")
    assert "allowed: a name that ends in .pdf" in run("plot", one.folder, "--out", "x.doc").stderr


def test_validate(run):
    result = run("validate", "TINY", "--set", "seeds=[1,2,3]")
    assert result.exit_code == 0
    assert "24 training runs" in result.stdout  # 2 devices, 3 seeds; sequential, sync, async twice
    devices = ROOT / "config/devices.yaml"
    assert "linear-tau0.6" in run("validate", devices, "--devices").stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["Missing command"]),
        (["trian"], ["trian"]),
        (["train", "nowhere"], ["config/nowhere.yaml", "cannot be read"]),
        (["train", "TINY", "--stages", 9], ["stages", "9", "1 to 3"]),
        (["train", "TINY", "--stages", "two"], ["--stages", "integer"]),
        (["train", "TINY", "--mode", "hogwild"], ["hogwild", "async"]),
        (["train", "TINY", "--device", "tin-can"], ["tin-can", "digital", "ecram"]),
        (["train", "TINY", "--set", "training.epoch=3"], ["training.epoch", "epochs"]),
        (["train", "TINY", "--set", "training.epochs=0"], ["training.epochs", "0"]),
        (["train", "TINY", "--set", "training.epochs"], ["training.epochs", "KEY=VALUE"]),
        (["train", "TINY", "--set", "training.epochs=["], ["training.epochs=[", "neither"]),
        (["train", "TINY", "--set", "profile.x=1"], ["profile", "not a section"]),
        (["train", "TINY", "--stages", 3, "--seed", -1], ["seed", "-1"]),
        (["train", "TINY", "--stages", 3, "--learning-rate", "nan"], ["learning_rate", "nan"]),
        (["train", "TINY", "--tile", ROOT / "tests/tile.yaml"], ["tile.yaml"]),
        (["train", "TINY", "--device", "ecram", "--tile", "no.yaml"], ["no.yaml"]),
        (["calibrate", "tin-can", "--devices", ROOT / "config/devices.yaml"], ["tin-can", "EcRam"]),
        (["calibrate", "ecram", "--devices", "no.yaml"], ["no.yaml"]),
        (
            ["calibrate", "EcRam", "--devices", ROOT / "config/devices.yaml", "--measured", "no.csv"],
            ["no.csv"],
        ),
        (["schedule", "hogwild"], ["hogwild", "sequential"]),
        (["schedule", "async", "--stages", 0], ["stages", "0"]),
        (["schedule", "async", "--mini-batch", 4], ["mini_batch", "4"]),
        (["schedule", "async", "--out", "a.gif"], ["a.gif", ".pdf"]),
        (["schedule", "async", "--first", 99], ["--first", "99", "21"]),
        (["schedule", ROOT / "Makefile"], ["first line"]),
        (["estimate", "TINY", "--stages", 4], ["stages", "4"]),
        (["list", "nowhere"], ["nowhere"]),
        (["show", "nowhere"], ["nowhere", "no finished run"]),
        (["compare", "nowhere", "elsewhere"], ["nowhere"]),
        (["validate", "TINY", "--set", "stages=[1,9]"], ["stages", "9", "at most 3"]),
        (["validate", ROOT / "Makefile", "--devices"], ["Makefile.yaml"]),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_and_writes_nothing(run, tmp_path, arguments, words):
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1, result.stderr
    for word in words:
        assert word in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_way_is_one_line(run, tmp_path):
    (tmp_path / "file").touch()
    result = run("schedule", "async", "--out", "file/table.txt")
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1


def test_faults_of_the_program_are_not_hidden(run, monkeypatch):
    from analogpipe.schedule import table as schedule

    def broken(*_: object) -> None:
        raise RuntimeError("a fault")

    monkeypatch.setattr(schedule, "build", broken)
    assert isinstance(run("schedule", "async").exception, RuntimeError)


def test_override_takes_names_with_dots():
    content = {"rates": {"linear-tau0.6": {"async": 0.1}, "digital": {"async": 0.1}}}
    changed = override(content, ["rates.linear-tau0.6.async=1e-3", "rates.new=[1, 2]"])
    assert changed["rates"] == {
        "linear-tau0.6": {"async": 0.001},
        "digital": {"async": 0.1},
        "new": [1, 2],
    }
    assert content["rates"]["linear-tau0.6"]["async"] == 0.1
