"""A run is a function of its configuration and seed, whether it is killed on the way or not."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import torch

from analogpipe import checkpoint, data, training
from analogpipe.config import DIGITAL, load_devices, load_profile
from analogpipe.schedule import Schedule, build
from analogpipe.training import METRICS, make_pipeline, train

DEVICE = "linear-tau0.6"
ROOT = Path(__file__).parents[1]


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
        "metrics.csv",
        "run.json",
        "schedule.txt",
    ]
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
    table = Schedule.from_text((tmp_path / "schedule.txt").read_text())
    assert table == build("async", 3, 120)
    assert {"git_commit", "device", "threads"} <= set(record)


def test_network_learns(make_run, tmp_path):
    train(make_run(epochs=15), tmp_path)
    assert pd.read_csv(tmp_path / "metrics.csv")["test_accuracy"].iloc[-1] > 0.7


class Killed(Exception):
    """Stands for the end of the process."""


@pytest.mark.parametrize("device", [DIGITAL, DEVICE])
@pytest.mark.parametrize("mode", ["sequential", "sync", "async"])
def test_resumes_to_the_same_bytes(make_run, tmp_path, monkeypatch, device, mode):
    run = make_run(device, mode, epochs=4, checkpoint_epochs=1)
    train(run, tmp_path / "whole")
    evaluate, calls = training.evaluate, []

    def killed(*arguments):
        calls.append(None)
        if len(calls) == 3:
            raise Killed
        return evaluate(*arguments)

    monkeypatch.setattr(training, "evaluate", killed)
    with pytest.raises(Killed):
        train(run, tmp_path / "killed")
    assert not (tmp_path / "killed" / "metrics.csv").exists()
    train(run, tmp_path / "killed")
    assert len(calls) == 3 + 2  # epochs 1 and 2 were not trained again
    whole, resumed = ((tmp_path / n / "metrics.csv").read_bytes() for n in ("whole", "killed"))
    assert whole == resumed
    assert not (tmp_path / "killed" / "checkpoints").exists()


def test_process_killed_by_signal_resumes(tiny_profile, tmp_path):
    content = tiny_profile.read_text().replace("epochs: 3", "epochs: 60, checkpoint_epochs: 1")
    content = content.replace("../../config", str(ROOT / "config"))
    profile = tmp_path / "long.yaml"
    profile.write_text(content)

    def command(out):
        return [sys.executable, "-m", "analogpipe.training", "--profile", str(profile), "--device", "digital",
                "--mode", "async", "--stages", "3", "--seed", "0", "--out", str(tmp_path / out)]  # fmt: skip

    process = subprocess.Popen(command("killed"))
    while process.poll() is None and not list(tmp_path.glob("killed/checkpoints/*.safetensors")):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    subprocess.run(command("killed"), check=True)
    subprocess.run(command("whole"), check=True)
    whole, resumed = ((tmp_path / n / "metrics.csv").read_bytes() for n in ("whole", "killed"))
    assert whole == resumed


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
    mitigated = plain.model_copy(update={"schedule": plain.schedule.model_copy(update=options)})
    for name, run in (("plain", plain), ("mitigated", mitigated)):
        train(run, tmp_path / name)
    plain_bytes, bytes_ = (
        (tmp_path / n / "metrics.csv").read_bytes() for n in ("plain", "mitigated")
    )
    assert plain_bytes != bytes_


def test_one_process_per_stage_gives_the_same_bytes(tiny_profile, tmp_path):
    options = ["--profile", str(tiny_profile), "--device", "digital", "--mode", "async",
               "--stages", "3", "--seed", "0", "--out"]  # fmt: skip
    many = ["analogpipe.distributed", "--stages", "3", "analogpipe.training"]
    for name, module in (("one", ["analogpipe.training"]), ("many", many)):
        command = [sys.executable, "-m", *module, *options, str(tmp_path / name)]
        subprocess.run(command, check=True, timeout=120)
    one, two = ((tmp_path / name / "metrics.csv").read_bytes() for name in ("one", "many"))
    assert one == two
    assert json.loads((tmp_path / "many" / "run.json").read_text())["processes"] == 3


def saved(folder: Path, key: str = "a", number: int = 1) -> checkpoint.Store:
    """Return a store with one checkpoint more."""
    store = checkpoint.Store(folder, key)
    store.save(number, {"x": torch.full((4,), float(number))}, {"rows": [number]})
    return store


def test_checkpoint_round_trip_and_pruning(tmp_path):
    for number in (1, 2, 10):
        store = saved(tmp_path, number=number)
    found = store.load()
    assert found is not None
    assert found.notes == {"rows": [10]}
    assert torch.equal(found.tensors["x"], torch.full((4,), 10.0))
    assert len(list(tmp_path.iterdir())) == checkpoint.KEPT


@pytest.mark.parametrize("damage", ["truncated", "garbage", "empty", "foreign"])
def test_bad_checkpoint_is_refused_and_the_one_before_it_used(tmp_path, capsys, damage):
    saved(tmp_path, number=1)
    store = saved(tmp_path, number=2)
    newest = max(tmp_path.glob("*.safetensors"))
    if damage == "foreign":
        saved(tmp_path, key="b", number=2)
    else:
        content = newest.read_bytes()
        newest.write_bytes(
            {"truncated": content[:-3], "garbage": b"\xff" * 40, "empty": b""}[damage]
        )
    found = store.load()
    assert found is not None
    assert found.notes == {"rows": [1]}
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_full_disk_leaves_the_last_checkpoint(tmp_path, monkeypatch):
    store = saved(tmp_path, number=1)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        saved(tmp_path, number=2)
    monkeypatch.undo()
    assert len(list(tmp_path.iterdir())) == 1
    found = store.load()
    assert found is not None
    assert found.notes == {"rows": [1]}


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
                training.evaluate(pipeline, images)
        ends.append(next(iter(pipeline.stages[0].module.buffers())).clone())
    assert torch.equal(*ends)
