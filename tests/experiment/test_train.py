"""A run is a function of its configuration and seed, whether it is killed on the way or not."""

import errno
import json
import math
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch

from analogpipe.experiment import checkpoint, course, data, evaluation, provenance
from analogpipe.experiment.pauses import Pace
from analogpipe.experiment.run import make_pipeline
from analogpipe.experiment.train import train
from analogpipe.files import FileError
from analogpipe.pipeline.pipeline import Pipeline
from analogpipe.profile.profile import CURVE, DIGITAL, METRICS, TESTED, load_devices, load_profile
from analogpipe.profile.sections import parse_interval
from analogpipe.schedule.table import build
from analogpipe.schedule.text import from_text
from analogpipe.settings import ConfigError

DEVICE = "linear-tau0.6"
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def make_run(tiny_profile):
    """Return a function that makes the configuration of a run."""
    profile = load_profile(tiny_profile)
    tiles = load_devices(ROOT / "config" / "devices.yaml")

    def make(device=DIGITAL, mode="async", stages=3, seed=0, **changes):
        tile = None if device == DIGITAL else tiles[device]
        run = profile.run(device, mode, stages, seed, tile=tile)
        return run.model_copy(update={"training": run.training.model_copy(update=changes)})

    return make


@pytest.mark.parametrize("device", [DIGITAL, DEVICE])
@pytest.mark.parametrize("mode", ["sequential", "sync", "async"])
def test_same_config_gives_the_same_bytes(make_run, tmp_path, device, mode):
    for name in ("one", "two"):
        train(make_run(device, mode), tmp_path / name)
    one, two = ((tmp_path / name / "metrics.csv").read_bytes() for name in ("one", "two"))
    assert one == two


def test_another_seed_gives_other_bytes(make_run, tmp_path):
    for seed in (0, 1):
        train(make_run(seed=seed), tmp_path / str(seed))
    assert len({(tmp_path / str(s) / "metrics.csv").read_bytes() for s in (0, 1)}) == 2


def test_files_of_a_run(make_run, tmp_path):
    run = make_run(DEVICE, "async", 3)
    train(run, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "curve.csv",
        "metrics.csv",
        "run.json",
        "schedule.txt",
        "tested.csv",
    ]
    curve, tested = (pd.read_csv(tmp_path / f"{name}.csv") for name in ("curve", "tested"))
    assert tuple(curve.columns) == CURVE
    # before the first micro-batch, then four times an epoch
    assert curve["samples"].tolist() == list(range(0, 961, 80))
    assert curve["loss"].iloc[-1] < curve["loss"].iloc[0] == pytest.approx(math.log(10), abs=0.3)
    assert tuple(tested.columns) == TESTED
    metrics = pd.read_csv(tmp_path / "metrics.csv")
    assert tuple(metrics.columns) == METRICS
    # 320 images in micro-batches of 8: 40 an epoch; the last backward of micro-batch b ends at
    # clock 2 (b + 1) + 2 (M - 1).
    assert metrics["cycles"].tolist() == [2 * 40 * e + 4 for e in (1, 2, 3)]
    assert metrics["samples"].tolist() == [320, 640, 960]
    record = json.loads((tmp_path / "run.json").read_text())
    assert record["config"] == json.loads(run.model_dump_json())
    assert record["cycles"] == 2 * (120 + 2)
    assert record["versions"]["torch"] == torch.__version__.split("+")[0]
    assert record["wall_seconds"] > 0
    table = from_text((tmp_path / "schedule.txt").read_text())
    assert table == build("async", 3, 120)
    assert {"git_commit", "device", "threads"} <= set(record)


def test_network_learns(make_run, tmp_path):
    train(make_run(epochs=15), tmp_path)
    assert pd.read_csv(tmp_path / "metrics.csv")["test_accuracy"].iloc[-1] > 0.7


class Killed(Exception):
    """Stands for the end of the process."""


@pytest.mark.parametrize("device", [DIGITAL, DEVICE])
@pytest.mark.parametrize("mode", ["sequential", "sync", "async"])
@pytest.mark.parametrize("every", ["7 micro-batches", "40 micro-batches"])
def test_resumes_to_the_same_bytes(make_run, tmp_path, monkeypatch, device, mode, every):
    run = make_run(device, mode, checkpoint_every=every)
    train(make_run(device, mode), tmp_path / "whole")
    backward, reached = Pipeline._backward, []

    def killed(pipeline, stage, i, b):
        reached.append(b)
        if reached.count(93) == 1 and b == 93:
            raise Killed
        backward(pipeline, stage, i, b)

    monkeypatch.setattr(Pipeline, "_backward", killed)
    with pytest.raises(Killed):
        train(run, tmp_path / "killed")
    assert not (tmp_path / "killed" / "metrics.csv").exists()
    reached.append(None)
    train(run, tmp_path / "killed")
    # what came before the last checkpoint was not trained again
    assert min(reached[reached.index(None) + 1 :]) >= {"7": 91, "4": 80}[every[0]] - 4
    whole, resumed = ((tmp_path / n / "metrics.csv").read_bytes() for n in ("whole", "killed"))
    assert whole == resumed
    records = [json.loads((tmp_path / n / "run.json").read_text()) for n in ("whole", "killed")]
    assert records[0]["network"] == records[1]["network"]
    assert not (tmp_path / "killed" / "checkpoints").exists()


@pytest.mark.parametrize("every", ["1 micro-batches", "11 micro-batches", "0.001 s", "1 h"])
def test_interval_changes_the_checkpoints_alone(make_run, tmp_path, monkeypatch, every):
    saved = []
    save = checkpoint.Store.save

    def counted(store, number, *arguments):
        saved.append(number)
        save(store, number, *arguments)

    monkeypatch.setattr(checkpoint.Store, "save", counted)
    train(make_run(DEVICE, "async", checkpoint_every=every), tmp_path / "one")
    if every.endswith("micro-batches"):
        step = int(every.split()[0])
        assert saved == [*range(step, 120, step)]
    else:
        assert (len(saved) > 1) == (every == "0.001 s")
    train(make_run(DEVICE, "async"), tmp_path / "two")
    one, two = ((tmp_path / name / "metrics.csv").read_bytes() for name in ("one", "two"))
    assert one == two


@pytest.mark.parametrize("device", [DIGITAL, DEVICE])
def test_estimate_leaves_the_bytes_alone(make_run, tmp_path, monkeypatch, capsys, device):
    for name, measured in (("with", 0.0), ("without", float("inf"))):
        monkeypatch.setattr(course, "MEASURED", measured)
        train(make_run(device), tmp_path / name)
        said = re.findall(
            r"^estimated \S+ \S+ and [0-9.]+ GiB: \S+ ms a micro-batch, 120 micro-batches",
            capsys.readouterr().out, re.M,
        )  # fmt: skip
        assert len(said) == (name == "with")
    one, two = ((tmp_path / name / "metrics.csv").read_bytes() for name in ("with", "without"))
    assert one == two


@pytest.mark.parametrize(("left", "saves"), [(59.0, False), (61.0, True)])
def test_a_long_run_saves_at_once(left, saves):
    pace = Pace(parse_interval("1 min"), 40, 10)
    assert not pace.due(3)
    pace.begin(left)
    assert pace.due(4) == saves
    assert not pace.due(5)


def test_another_interval_goes_on_from_the_same_checkpoints(make_run):
    keys = {provenance.key(make_run(checkpoint_every=every), "data") for every in ("1 min", "2 s")}
    assert len(keys) == 1
    assert provenance.key(make_run(micro_batch=4), "data") not in keys
    assert provenance.key(make_run(), "other data") not in keys


def test_key_sees_every_source_of_the_package(make_run, tmp_path, monkeypatch):
    copy = tmp_path / "analogpipe"
    shutil.copytree(provenance.SOURCES, copy)
    keys = {provenance.key(make_run(), "data")}
    monkeypatch.setattr(provenance, "SOURCES", copy)
    assert provenance.key(make_run(), "data") in keys
    for deep in ("tile/kernels/compiled.py", "seeds.py"):
        (copy / deep).write_text((copy / deep).read_text() + "# edited\n")
        keys.add(provenance.key(make_run(), "data"))
    assert len(keys) == 3


@pytest.mark.parametrize("text", ["0 s", "5", "5 hours", "-1 s", "1.5 micro-batches", "", 7, None])
def test_bad_interval_is_refused(edited, text):
    with pytest.raises(
        ConfigError, match=r"checkpoint_every: found .*allowed: a number and s, min"
    ):
        load_profile(edited("training.checkpoint_every", text))


def test_intervals_are_read():
    assert parse_interval("1.5 min") == (90.0, None)
    assert parse_interval("2 h") == (7200.0, None)
    assert parse_interval("500 micro-batches") == (None, 500)


def test_split_given_by_the_user(make_run):
    run = make_run(stages=2)
    images = data.load(run.dataset)
    for split, sizes in ((None, [1, 2]), ([2, 1], [2, 1])):
        pipeline = make_pipeline(run.model_copy(update={"split": split}), images, 4)
        assert [len(stage.module) for stage in pipeline.stages] == sizes


@pytest.mark.parametrize(
    "options", [{"warm_up_epochs": 2}, {"prediction": 0.5}], ids=["warm-up", "prediction"]
)
@pytest.mark.parametrize("device", [DIGITAL, DEVICE])
def test_mitigation_changes_the_run(make_run, tmp_path, device, options):
    plain = make_run(device)
    mitigated = plain.model_copy(update={"mode": plain.mode.model_copy(update=options)})
    for name, run in (("plain", plain), ("mitigated", mitigated)):
        train(run, tmp_path / name)
    plain_bytes, bytes_ = (
        (tmp_path / n / "metrics.csv").read_bytes() for n in ("plain", "mitigated")
    )
    assert plain_bytes != bytes_


def test_one_process_per_stage_gives_the_same_bytes(tiny_profile, tmp_path):
    options = ["--profile", str(tiny_profile), "--device", "digital", "--mode", "async",
               "--stages", "3", "--rate", "0.1", "--seed", "0", "--out"]  # fmt: skip
    many = ["analogpipe.jobs.processes", "--stages", "3", "analogpipe.jobs.train"]
    for name, module in (("one", ["analogpipe.jobs.train"]), ("many", many)):
        command = [sys.executable, "-m", *module, *options, str(tmp_path / name)]
        subprocess.run(command, check=True, timeout=300)
    for table in ("metrics.csv", "curve.csv", "tested.csv"):
        one, two = ((tmp_path / n / "seed0" / table).read_bytes() for n in ("one", "many"))
        assert one == two
    assert json.loads((tmp_path / "many/seed0/run.json").read_text())["processes"] == 3


def save(store: checkpoint.Store, number: int) -> None:
    store.save(number, {"x": torch.full((4,), float(number))}, {"rows": [number]})


@pytest.fixture
def store(tmp_path):
    return checkpoint.Store(tmp_path, "a")


def test_checkpoint_round_trip_and_pruning(store, tmp_path):
    for number in (1, 2, 10):
        save(store, number)
    found = checkpoint.Store(tmp_path, "a").load()
    assert found is not None
    assert found.notes == {"rows": [10]}
    assert torch.equal(found.tensors["x"], torch.full((4,), 10.0))
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["000000002.safetensors", "000000010.safetensors"]


@pytest.mark.parametrize("damage", ["truncated", "garbage", "empty", "foreign"])
def test_bad_checkpoint_is_refused_and_the_one_before_it_used(store, tmp_path, capsys, damage):
    for number in (1, 2):
        save(store, number)
    newest = max(tmp_path.glob("*.safetensors"))
    if damage == "foreign":
        other = checkpoint.Store(tmp_path / "other", "b")
        save(other, 2)
        (tmp_path / "other" / newest.name).replace(newest)
    else:
        content = newest.read_bytes()
        newest.write_bytes(
            {"truncated": content[:-3], "garbage": b"\xff" * 40, "empty": b""}[damage]
        )
    capsys.readouterr()
    found = store.load()
    assert found is not None
    assert found.notes == {"rows": [1]}
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{newest}: checkpoint refused: ")


def test_checkpoints_of_another_run_make_room(tmp_path, capsys):
    """However far the other run had come: its numbers say nothing about this one."""
    other, store = (checkpoint.Store(tmp_path, key) for key in "ba")
    for number in (800, 900):
        save(other, number)
    (tmp_path / ".000000850.safetensors.part").touch()
    assert store.load() is None
    assert len(capsys.readouterr().err.splitlines()) == 2
    for number in (1, 2):
        save(store, number)
    assert sorted(path.name[:9] for path in tmp_path.iterdir()) == ["000000001", "000000002"]


@pytest.mark.parametrize("name", ["000000080.safetensors", "metrics.csv", "run.json"])
def test_full_disk_is_one_line_and_leaves_the_last_checkpoint(
    make_run, tmp_path, monkeypatch, name
):
    run = make_run(DEVICE, "async", checkpoint_every="40 micro-batches")
    train(run, tmp_path / "whole")
    sync = os.fsync

    def full(handle):
        if name in os.readlink(f"/proc/self/fd/{handle}"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(handle)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(FileError) as caught:
        train(run, tmp_path / "full")
    monkeypatch.undo()
    folder = tmp_path / "full"
    path = folder / ("checkpoints" if name[0] == "0" else "") / name
    assert str(caught.value) == f"{path}: cannot be written: No space left on device"
    left = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    checkpoints = {f"checkpoints/{n:09d}.safetensors" for n in (40, 80)}
    written = {"000000080.safetensors": 0, "metrics.csv": 1, "run.json": 4}[name]
    assert left - {"checkpoints/000000080.safetensors"} == {
        "checkpoints/000000040.safetensors", *("schedule.txt", "metrics.csv", "curve.csv", "tested.csv")[:written]
    }  # fmt: skip
    assert (left >= checkpoints) == (written > 0)
    train(run, folder)
    whole, resumed = ((tmp_path / n / "metrics.csv").read_bytes() for n in ("whole", "full"))
    assert whole == resumed


def test_full_disk_ends_the_command_with_one_line(tiny_profile, tmp_path):
    """The limit on the size of a file, in units of 1024 bytes, stands for the full disk."""
    command = [sys.executable, "-m", "analogpipe.jobs.train", "--profile", str(tiny_profile),
               "--device", "digital", "--mode", "async", "--stages", "3", "--rate", "0.1",
               "--seed", "0", "--out", str(tmp_path)]  # fmt: skip
    result = subprocess.run(
        ["bash", "-c", 'ulimit -f 1; exec "$@"', "bash", *command],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 2
    message = f"error: {tmp_path}/seed0/schedule.txt: cannot be written: File too large\n"
    assert result.stderr == message
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize("mode", ["sequential", "sync"])
@pytest.mark.parametrize("device", [DIGITAL, DEVICE])
def test_weights_of_modes_with_flush_do_not_depend_on_stages(make_run, mode, device):
    """One trained run may therefore stand for every stage count in the tables."""
    images = data.load(make_run().dataset)
    ends = []
    for stages in (1, 2, 3):
        pipeline = make_pipeline(make_run(device, mode, stages), images, 24)
        pipeline.run()
        ends.append([t for s in pipeline.stages for t in s.module.state_dict().values()])
    for other in ends[1:]:
        assert len(other) == len(ends[0])
        assert all(torch.equal(a, b) for a, b in zip(ends[0], other, strict=True))


def test_weights_of_async_do_depend_on_stages(make_run):
    images = data.load(make_run().dataset)
    ends = []
    for stages in (1, 3):
        pipeline = make_pipeline(make_run(DIGITAL, "async", stages), images, 24)
        pipeline.run()
        ends.append(next(iter(pipeline.stages[0].module.parameters())))
    assert not torch.equal(*ends)


def test_noise_of_evaluation_leaves_training_alone(make_run):
    images = data.load(make_run().dataset)
    ends = []
    for looks in (0, 3):
        pipeline = make_pipeline(make_run(DEVICE, "async", 3), images, 24)
        for clock in range(5, 60, 10):
            pipeline.run(until=clock)
            for _ in range(looks):
                evaluation.evaluate(pipeline, images)
        ends.append(next(iter(pipeline.stages[0].module.buffers())).clone())
    assert torch.equal(*ends)
