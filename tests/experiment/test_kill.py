"""kill -9 at random moments: a run goes on to the same bytes."""

import multiprocessing.forkserver
import os
import random
import signal
import sys
from multiprocessing.connection import wait
from pathlib import Path

import pytest
from torch.distributed import TCPStore

from analogpipe.experiment.train import train
from analogpipe.pipeline.launch import environment
from analogpipe.profile.profile import Run, load_devices, load_profile
from kill_job import Moment, work

ROOT = Path(__file__).parents[2]
MICRO_BATCHES = 120
EVERY = 6


@pytest.fixture(scope="module")
def server():
    """A process from which others are forked, with torch imported and nothing run."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pytest", "kill_job"])
    with pytest.MonkeyPatch.context() as patch:  # what is to be preloaded is looked for there alone
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
        multiprocessing.forkserver.ensure_running()
    return context


def start(server, run: Run, out: Path, processes: int, moment: Moment | None) -> list[int]:
    """Train in a process, or one for each stage, until the end or the moment; return their statuses.

    When one has died the others are killed, as when a machine goes down.
    """
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    jobs = []
    for rank in range(processes):
        own = environment(rank, processes, store.port) if processes > 1 else {}
        job = server.Process(target=work, args=(run.model_dump_json(), str(out), own, moment))
        job.start()
        jobs.append(job)
    while alive := [job.sentinel for job in jobs if job.exitcode is None]:
        wait(alive)
        if any(job.exitcode for job in jobs):
            for job in jobs:
                job.kill()
    for job in jobs:
        job.join()
    return [job.exitcode for job in jobs]


def random_moments(count: int, stages: int, stream: random.Random) -> list[Moment]:
    """Moments of a run in order, each later than a checkpoint; every third one in a write."""
    places = sorted(stream.sample(range(EVERY, MICRO_BATCHES - EVERY), count))
    return [
        Moment(
            stream.choice(["forward", "backward"]) if i % 3 else "write",
            stream.randrange(stages) if i % 3 else 0,
            place,
            stream.random() < 0.5,
        )
        for i, place in enumerate(places)
    ]


@pytest.mark.parametrize("moments", [2, pytest.param(10, marks=pytest.mark.slow)])
@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("mode", ["sequential", "async"])
def test_killed_at_random_moments(server, tiny_profile, tmp_path, mode, processes, moments):
    stages = 2
    tile = load_devices(ROOT / "config" / "devices.yaml")["linear-tau0.6"]
    run = load_profile(tiny_profile, [f"training.checkpoint_every={EVERY} micro-batches"]).run(
        "linear-tau0.6", mode, stages, 0, tile=tile
    )
    train(run, tmp_path / "whole")
    out = tmp_path / "killed"
    for moment in random_moments(moments, stages, random.Random(f"{mode}{processes}{moments}")):
        statuses = start(server, run, out, processes, moment)
        assert -signal.SIGKILL in statuses, (moment, statuses)
        assert list((out / "checkpoints").glob("*.safetensors"))
        assert not (out / "metrics.csv").exists()
    assert start(server, run, out, processes, None) == [0] * processes
    assert sorted(path.name for path in out.iterdir()) == [
        "curve.csv",
        "metrics.csv",
        "run.json",
        "schedule.txt",
        "tested.csv",
    ]
    for name in ("metrics.csv", "curve.csv", "tested.csv"):
        whole, resumed = ((tmp_path / n / name).read_bytes() for n in ("whole", "killed"))
        assert whole == resumed
