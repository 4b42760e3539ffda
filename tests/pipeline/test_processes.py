"""Pipelines of real processes: the same numbers as in one process, and no job that hangs."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from analogpipe.pipeline.launch import GRACE
from analogpipe.pipeline.processes import LIMIT, make_pipeline
from analogpipe.schedule.modes import MODES
from pipeline_job import MICRO_BATCHES, compute, make
from tiny_network import pipeline_parts

CASES = [
    f"{mode}:{kind}"
    for mode in MODES
    for kind in ("", "norm", "analog", "mixed", "dropout", "prediction")
    if not (mode == "async-stash" and kind in ("analog", "mixed", "prediction"))
]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node"]
LAUNCHER = [sys.executable, "-m", "analogpipe.jobs.processes", "--stages"]


def job(launcher: list[str], stages: int, *arguments: object) -> "subprocess.Popen[str]":
    module = ["-m"] if launcher is TORCHRUN else []
    command = [*launcher, str(stages), *module, "pipeline_job", *(str(a) for a in arguments)]
    path = os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])
    return subprocess.Popen(
        command,
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
    )


def run(launcher: list[str], stages: int, *arguments: object) -> None:
    process = job(launcher, stages, *arguments)
    _, errors = process.communicate(timeout=150)
    assert process.returncode == 0, errors


def assert_same(one: Path, many: Path) -> None:
    a, b = load_file(one), load_file(many)
    assert a.keys() == b.keys()
    different = [
        name for name in a if not torch.allclose(a[name], b[name], rtol=0, atol=0, equal_nan=True)
    ]
    assert different == []


@pytest.mark.parametrize(
    ("stages", "launcher"),
    [(2, LAUNCHER), pytest.param(4, TORCHRUN, marks=pytest.mark.slow)],
    ids=["2-launcher", "4-torchrun"],
)
def test_many_processes_give_the_bits_of_one(
    stages: int, launcher: list[str], tmp_path: Path
) -> None:
    torch.set_num_threads(1)
    one, many = tmp_path / "one", tmp_path / "many"
    one.mkdir()
    many.mkdir()
    for case in CASES:
        compute(case, stages, one)
    run(launcher, stages, many, stages, "compute", *CASES)
    for case in CASES:
        assert_same(one / f"{case}.middle.safetensors", many / f"{case}.middle.safetensors")
        assert_same(one / f"{case}.safetensors", many / f"{case}.safetensors")


@pytest.mark.slow
def test_processes_go_on_from_the_checkpoint_of_one_process(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    cases = [
        "async:analog",
        "async:mixed",
        "sync:mixed",
        "sync:norm",
        "async:dropout",
        "async:prediction",
    ]
    for case in cases:
        compute(case, 2, tmp_path)
    run(LAUNCHER, 2, tmp_path, 2, "resume", *cases)
    for case in cases:
        assert_same(tmp_path / f"{case}.safetensors", tmp_path / f"{case}.resumed.safetensors")


MISBEHAVIOUR = {
    "killed": "error: stage 2 \\(process \\d+\\) was killed by signal 9",
    "stopped": "stage 2 gave no sign of life for 6 s",
    "sleeping": "stage 2 made no progress for 6 s",
    "raising": "stage 2 ended before its work was done",
}


@pytest.mark.parametrize(
    "how",
    [how if how == "killed" else pytest.param(how, marks=pytest.mark.slow) for how in MISBEHAVIOUR],
)
def test_a_stage_that_dies_or_stalls_ends_the_job(how: str, tmp_path: Path) -> None:
    process = job(LAUNCHER, 3, tmp_path, 3, "misbehave", how)
    deadline = time.monotonic() + 60
    last = tmp_path / "last.safetensors"
    while process.poll() is None and time.monotonic() < deadline:
        if last.exists() and int(load_file(last)["clock"]) >= 400:
            break
        time.sleep(0.1)
    _, errors = process.communicate(timeout=30)  # the promise: it ends, within this time
    assert process.returncode == 1
    assert re.search(MISBEHAVIOUR[how], errors), errors
    state = load_file(last)  # the checkpoint is whole, and a run goes on from it
    assert int(state["clock"]) == 400
    pipeline = make("async", "", 3, 100_000)
    pipeline.load_state_dict(state)
    pipeline.run(until=420)
    assert not pipeline.losses[:200].isnan().any()


@pytest.mark.slow
def test_torchrun_ends_when_a_stage_is_killed(tmp_path: Path) -> None:
    process = job(TORCHRUN, 2, tmp_path, 2, "misbehave", "killed")
    _, errors = process.communicate(timeout=90)
    assert process.returncode != 0
    assert "stage 2 died" in errors or "exitcode  : -9" in errors


def test_the_stated_time_is_below_half_a_minute() -> None:
    assert LIMIT + GRACE < 30


def test_one_process_gets_a_plain_pipeline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    modules, options = pipeline_parts("async", 2, MICRO_BATCHES)
    pipeline = make_pipeline(modules, options.pop("schedule"), **options)
    assert len(pipeline.stages) == 2
