"""Restarting with changes: nothing of another run is lost; a run is extended to what it would have been."""

import shutil
from pathlib import Path

import pytest

from analogpipe.experiment import provenance, record
from analogpipe.experiment import train as training
from analogpipe.experiment.train import train
from analogpipe.files import FileError
from analogpipe.pipeline.pipeline import Pipeline
from analogpipe.profile.profile import DIGITAL, Run, load_devices, load_profile

DEVICE = "linear-tau0.6"
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def make_run(tiny_profile):
    """Return a function that makes the configuration of a run."""
    profile = load_profile(tiny_profile)
    tiles = load_devices(ROOT / "config" / "devices.yaml")

    def make(epochs: int, device=DIGITAL, mode="async", stages=3, rate=0.1, **changes) -> Run:
        tile = None if device == DIGITAL else tiles[device]
        run = profile.run(device, mode, stages, 0, tile=tile, rate=rate)
        changes = {"epochs": epochs, "checkpoint_every": "7 micro-batches", **changes}
        return run.model_copy(update={"training": run.training.model_copy(update=changes)})

    return make


class Killed(Exception):
    """Stands for the end of the process."""


@pytest.fixture
def kill(monkeypatch):
    """Return a function that trains until micro-batch 65 of the first stage."""

    def kill(run: Run, out: Path) -> None:
        backward = Pipeline._backward

        def killed(pipeline, stage, i, b):
            if (i, b) == (0, 65):
                raise Killed
            backward(pipeline, stage, i, b)

        with monkeypatch.context() as patch:
            patch.setattr(Pipeline, "_backward", killed)
            with pytest.raises(Killed):
                train(run, out)

    return kill


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def assert_same(one: Path, two: Path) -> None:
    for name in ("metrics.csv", "curve.csv", "tested.csv", "schedule.txt"):
        assert (one / name).read_bytes() == (two / name).read_bytes()


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"epochs": 5}, "training.epochs: 2, here 5"),
        ({"rate": 0.05}, "learning_rate: 0.1, here 0.05"),
        ({"mode": "sync"}, "mode.schedule: async, here sync"),
    ],
    ids=str,
)
def test_a_killed_run_with_changes_is_refused_without_loss(
    make_run, kill, tmp_path, changes, why, capsys
):
    out = tmp_path / "run"
    kill(make_run(2), out)
    before = contents(out)
    assert len(before) == 2
    with pytest.raises(
        FileError, match=f"^{out}/checkpoints: holds checkpoints of .*{why}"
    ) as caught:
        train(make_run(**{"epochs": 2} | changes), out)
    assert "--overwrite" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert contents(out) == before
    train(make_run(2), out)  # as it was it goes on
    train(make_run(2), tmp_path / "whole")
    assert_same(out, tmp_path / "whole")


def test_a_job_of_the_workflow_replaces_what_is_out_of_date(make_run, kill, tmp_path):
    kill(make_run(2), tmp_path / "run")
    train(make_run(1), tmp_path / "run", others="replace")
    train(make_run(1), tmp_path / "whole")
    assert_same(tmp_path / "run", tmp_path / "whole")
    assert not (tmp_path / "run/checkpoints").exists()


def test_removing_a_run_leaves_what_is_not_of_it(make_run, kill, tmp_path):
    kill(make_run(2), tmp_path)
    (tmp_path / "run.json").touch()
    (tmp_path / "notes.txt").touch()
    record.remove(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize(
    ("device", "mode", "stages"),
    [
        (DIGITAL, "sequential", 1),
        (DIGITAL, "sync", 3),
        (DIGITAL, "async", 1),
        (DIGITAL, "async", 3),
        (DEVICE, "async", 3),
    ],
)
def test_an_extended_run_is_one_that_was_as_long_from_the_start(
    make_run, tmp_path, device, mode, stages
):
    """The end of the shorter run, in which the pipeline ran empty, is no part of the longer one."""
    out, whole = tmp_path / "extended", tmp_path / "whole"
    for epochs in (1, 2, 4):
        run = make_run(epochs, device, mode, stages, checkpoint_every="1 h")
        train(run, out, others="refuse" if epochs == 1 else "extend", keep=True)
        assert len(list((out / "checkpoints").iterdir())) <= 2
    train(make_run(4, device, mode, stages), whole)
    assert_same(out, whole)


def test_extending_trains_only_what_is_new(make_run, tmp_path, monkeypatch):
    train(make_run(2), tmp_path, keep=True)
    backward, done = Pipeline._backward, []

    def noted(pipeline, stage, i, b):
        done.append(b)
        backward(pipeline, stage, i, b)

    monkeypatch.setattr(Pipeline, "_backward", noted)
    train(make_run(3), tmp_path, others="extend", keep=True)
    assert min(done) == 2 * 40 - 3 + 1


def test_a_killed_run_is_extended_and_the_longer_one_killed_too(make_run, kill, tmp_path):
    out = tmp_path / "run"
    kill(make_run(2), out)
    with pytest.MonkeyPatch.context() as patch:

        def full(*_: object) -> None:
            raise Killed

        patch.setattr(training, "write", full)
        with pytest.raises(Killed):
            train(make_run(3), out, others="extend")
    train(make_run(3), out, others="extend")
    train(make_run(3), tmp_path / "whole")
    assert_same(out, tmp_path / "whole")


def test_what_cannot_be_extended_says_why(make_run, tmp_path, monkeypatch):
    out = tmp_path / "run"

    def refusal(run: Run) -> str:
        before = contents(out)
        with pytest.raises(FileError) as caught:
            train(run, out, others="extend")
        assert contents(out) == before
        (line,) = str(caught.value).splitlines()
        return line

    assert "holds no checkpoint" in refusal(make_run(3))
    train(make_run(2, decay="cosine"), out, keep=True)
    assert "training.decay is cosine, whose rates depend" in refusal(make_run(3, decay="cosine"))
    record.remove(out)
    train(make_run(2), out, keep=True)
    assert "allowed: more than the 2" in refusal(make_run(1))
    assert "learning_rate: 0.1, here 0.2" in refusal(make_run(3, rate=0.2))
    copy = tmp_path / "analogpipe"
    shutil.copytree(provenance.SOURCES, copy)
    (copy / "seeds.py").write_text((copy / "seeds.py").read_text() + "# edited\n")
    monkeypatch.setattr(provenance, "SOURCES", copy)
    assert "of another version of the code, of torch or of the data" in refusal(make_run(3))
    shutil.rmtree(out / "checkpoints")
    assert "holds no checkpoint that a longer run can go on from" in refusal(make_run(3))
