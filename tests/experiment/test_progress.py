"""What runs and workflows say about themselves: right numbers, few lines."""

import io
import logging
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from rich.console import Console

from analogpipe.cli.workflow_log import RunsDone
from analogpipe.experiment import machine, progress
from analogpipe.experiment.progress import Progress, duration


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.042, "0.042 s"), (4.21, "4.2 s"), (99, "99 s"), (100, "2 min"), (3600, "60 min"),
        (6 * 3600 + 61, "6 h 1 min"), (47.99 * 3600, "47 h 59 min"), (48 * 3600, "2 d"),
        (100 * 3600, "4 d 4 h"),
    ],
)  # fmt: skip
def test_durations(seconds, text):
    assert duration(seconds) == text


def run_through(progress: Progress) -> None:
    """Two epochs of 100 micro-batches at 10 ms, an evaluation of 2 s, pauses at each tenth."""
    with progress:
        for done in range(10, 201, 10):
            progress.trained(done, 0.5, 0.1)
            if done % 100 == 0:
                progress.evaluated(0.25, 0.9, 2.0)


def test_a_log_has_a_line_for_each_epoch(capsys):
    run_through(Progress(2, 100, 0, quiet=False))
    first, second = capsys.readouterr().out.splitlines()
    assert first == (
        "epoch 1/2: train loss 0.2500, test accuracy 0.9000, 100 micro-batches/s, about 3 s to go"
    )
    assert second.startswith("epoch 2/2: ")
    assert "done in " in second


def test_a_long_epoch_has_lines_in_between(capsys, monkeypatch):
    monkeypatch.setattr(progress, "LINE_EVERY", 0.0)
    run_through(Progress(2, 100, 0, quiet=False))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 20
    assert lines[11] == (
        "epoch 2/2, 20%: train loss 0.5000, 100 micro-batches/s, about 2.8 s to go"
    )


def test_quiet_says_nothing_and_measures(capsys):
    made = Progress(2, 100, 0, quiet=True)
    run_through(made)
    made.announce(2**30)
    assert made.estimated
    assert made.measured == pytest.approx(1.9)  # without the first pause
    assert capsys.readouterr() == ("", "")


def test_estimate_is_of_the_rest_of_a_resumed_run(capsys):
    made = Progress(10, 100, 500, quiet=False)
    made.trained(501, 0.5, 5.0)  # start-up
    made.trained(600, 0.5, 9.9)
    made.expect(50.0)
    assert made.left == pytest.approx(400 * 0.1 + 4 * 50)
    made.announce(3 * 2**29)
    assert capsys.readouterr().out == (
        "estimated 4 min and 1.50 GiB: 100 ms a micro-batch, 1,000 micro-batches, 50 s an evaluation\n"
    )


def test_a_terminal_has_a_bar(capsys):
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=120)
    run_through(Progress(2, 100, 0, quiet=False, screen=console))
    drawn = screen.getvalue()
    assert "epoch 1/2: train loss 0.2500, test accuracy 0.9000" in drawn
    assert "epoch 2/2" in drawn.splitlines()[-1] + drawn.splitlines()[-2]
    assert "100 micro-batches/s, loss 0.5000, accuracy 0.9000" in drawn
    assert capsys.readouterr() == ("", "")


def test_peak_memory_counts_what_was_freed():
    before = machine.peak_memory()
    size = before + 2**26  # more than anything so far
    torch.ones(size // 4)
    assert machine.peak_memory() >= size


class Workflow:
    """Snakemake as far as its log goes, with a clock of our own."""

    def __init__(self, files):
        self.now = time.mktime((2026, 1, 1, 12, 0, 0, 0, 0, -1))
        self.lines: list[str] = []
        self.logger = logging.Logger("workflow")
        self.logger.addHandler(RunsDone(self.logger, "train", files, lambda: self.now))
        show = logging.StreamHandler(io.StringIO())
        show.emit = lambda record: self.lines.append(record.getMessage())  # type: ignore[method-assign]
        show.addFilter(lambda record: not hasattr(record, "event"))
        self.logger.addHandler(show)

    def tell(self, event, **facts):
        self.logger.info("", extra={"event": SimpleNamespace(name=event), **facts})

    def start(self, job, rule="train"):
        self.tell("JOB_INFO", jobid=job, rule_name=rule)

    def finish(self, job):
        self.tell("JOB_FINISHED", job_id=job)


@pytest.fixture
def files(tmp_path):
    return [str(tmp_path / str(i)) for i in range(10)]


def test_lines_of_a_workflow(files):
    flow = Workflow(files)
    flow.tell("RUN_INFO", stats={"train": 10, "figure": 5, "total": 15})
    flow.start(99, rule="calibrate")
    flow.finish(99)
    for job in (0, 1):
        flow.start(job)
    flow.now += 90
    flow.finish(0)
    # one finished, one half: 60 s a run for two at a time, and 8.5 are left
    assert flow.lines == ["run 1 of 10 done, 9 left, about 8 min to go, finish about 12:10"]
    flow.now += 12 * 3600
    flow.finish(1)
    assert "about 2 d to go, finish about Sun 04 Jan 00:07" in flow.lines[1]


def test_a_resumed_workflow_counts_what_is_there(files):
    for file in files[:7]:
        Path(file).touch()
    flow = Workflow(files)
    flow.tell("RUN_INFO", stats={"train": 5})  # three are missing, two are out of date
    for job in range(5):
        flow.start(job)
        flow.now += 60
        flow.finish(job)
    assert flow.lines[0] == "run 6 of 10 done, 4 left, about 4 min to go, finish about 12:05"
    assert flow.lines[-1] == "run 10 of 10 done, 0 left: 5 in 5 min"


def test_one_run_alone(files):
    flow = Workflow(files)
    flow.tell("RUN_INFO", stats={"train": 1})
    flow.start(3)
    flow.now += 1
    flow.finish(3)
    assert flow.lines == ["run 1 of 1 done, 0 left: 1 in 1 s"]
