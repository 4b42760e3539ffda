"""The tables and the worked examples of docs/schedules.md are those of the code."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from analogpipe.pipeline.pipeline import Pipeline
from analogpipe.schedule import staleness
from analogpipe.schedule.modes import MODES, SYNC_MODES
from analogpipe.schedule.table import Action, build
from analogpipe.schedule.text import from_text
from tiny_network import Scale, half_square

TEXT = (Path(__file__).parents[2] / "docs/schedules.md").read_text()
PAGES = {
    page.split(":")[0]: page for page in TEXT.split("\n## ")[1:] if page.split(":")[0] in MODES
}


def test_every_mode_has_a_page() -> None:
    assert set(PAGES) == set(MODES)


@pytest.mark.parametrize("mode", MODES)
def test_the_table_of_a_page_is_the_one_that_runs(mode: str) -> None:
    (block,) = re.findall(r"```\n(.*?)```", PAGES[mode], re.S)
    assert from_text(block) == build(mode, 3, 4, 4 if mode in SYNC_MODES else 1)


@pytest.mark.parametrize("mode", [mode for mode in MODES if mode.startswith("async")])
def test_the_versions_of_a_page_are_right(mode: str) -> None:
    for m in (1, 2, 3):
        (row,) = re.findall(rf"^\| {m} \| (.*) \|$", PAGES[mode], re.M)
        b = np.arange(6)
        pairs = zip(
            staleness.forward_version(mode, 3, b, m),
            staleness.backward_version(mode, 3, b, m),
            strict=True,
        )
        assert row.split(" | ") == [f"{f}/{g}" for f, g in pairs]


@pytest.mark.parametrize("mode", MODES)
def test_the_worked_example_of_a_page_is_what_a_run_gives(mode: str) -> None:
    n = 4 if mode in SYNC_MODES else 1
    modules = [Scale(1.0) for _ in range(3)]
    one, zero = torch.ones(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    run = Pipeline(
        modules,
        build(mode, 3, 4, n),
        loss=half_square,
        batch=lambda b: (one, zero),
        lr=lambda b: 0.1,
    )
    after: dict[int, list[float]] = {b: [1.0] * 3 for b in range(4)}
    table = run.schedule
    for clock in range(table.cycles):
        run.run(until=clock + 1)
        here = (table.clock == clock) & (table.kind == Action.U)
        for m, b in zip(table.stage[here], table.micro_batch[here], strict=True):
            after[int(b)][m - 1] = float(modules[m - 1].weight.detach())
    for label, b in (("after micro-batch 0", 0), ("after micro-batch 1", 1), ("after all four", 3)):
        (row,) = re.findall(rf"^\| {label} \| (.*) \|$", PAGES[mode], re.M)
        assert [float(w) for w in row.split(" | ")] == pytest.approx(after[b], abs=1e-6)
