"""The numbers of docs/hardware.md are those of the code."""

import re
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch

from analogpipe.experiment import models
from analogpipe.hardware import cost, events
from analogpipe.hardware.best import choice, choices, fastest
from analogpipe.hardware.config import quantities
from analogpipe.hardware.layers import Layer, Stage, cut, linear, pipeline
from analogpipe.hardware.presets import PRESETS
from analogpipe.hardware.rules import Rule
from analogpipe.hardware.run import OnHardware
from analogpipe.pipeline.reads import describe
from analogpipe.profile.sections import EvenResNet, ResNet
from analogpipe.schedule.partition import balance

TEXT = (Path(__file__).parents[2] / "docs/hardware.md").read_text()
IBM, SGD, LAYER = PRESETS["ibm-proj"], Rule("analog_sgd"), linear(512, 512)
BEFORE, ANSWER = TEXT.split("## Does it pay?")
ROW = r"^\| (rpu|ibm-proj|reram-14) \| (\w+) \| (.*) \|$"
PRESET_ROWS = re.findall(ROW, BEFORE, re.M)
FIGURES = Path(__file__).parents[2] / "docs/figures"


def said(pattern: str) -> list[float]:
    """The numbers in the groups of the one place that ``pattern`` matches, line breaks aside."""
    (found,) = re.findall(pattern.replace(" ", r"\s"), TEXT)
    groups = found if isinstance(found, tuple) else (found,)
    return [float(number.replace(",", "")) for number in groups]


def test_every_constant_stands_there_with_its_values_and_range() -> None:
    rows = re.findall(r"^\| (\w+) \| (.*?) \| (.*?) to (.*?) \| .+ \|$", TEXT, re.M)
    values = {name: cells for name, *cells in rows if name in quantities()}
    assert list(values) == list(quantities())
    for name, quantity in quantities().items():
        texts = [quantity.text(getattr(hardware, name)) for hardware in PRESETS.values()]
        shown = ", ".join(texts if len(set(texts)) > 1 else texts[:1])
        assert values[name] == [shown, quantity.text(quantity.low), quantity.text(quantity.high)]


def test_the_layer_worked_out_by_hand() -> None:
    forward, backward = (
        cost.streamed(count(LAYER, 1, IBM), IBM) for count in (events.forward, events.backward)
    )
    update = cost.update(LAYER, 1, SGD, IBM)
    assert said(r"11\.7\) = ([\d.]+) ns")[0] == pytest.approx(forward.seconds * 1e9)
    assert backward == forward
    share = update.seconds / (2 * forward.seconds + update.seconds)
    assert said(r"1024 / 175 = ([\d.]+) ns, u = ([\d.]+\d)") == pytest.approx(
        [update.seconds * 1e9, share], abs=6e-3
    )
    assert said(r"0\.33 nJ: ([\d.]+) nJ")[0] == pytest.approx(forward.joules * 1e9, abs=6e-3)
    assert said(r"0\.51 nJ: ([\d.]+) nJ")[0] == pytest.approx(update.joules * 1e9, abs=6e-3)


def test_the_pipelines_worked_out_by_hand() -> None:
    cases = {
        "Without": [Stage((LAYER,))] * 4,
        "With": pipeline([[LAYER]] * 4),
    }
    modes = {"async": 1, "sync": 4, "sequential": 1}
    for label, stages in cases.items():
        (part,) = re.findall(rf"\*{label} messages\.\*(.*?)\n\n", TEXT, re.S)
        shown = [float(x) for x in re.findall(r"([\d.]+) ns[.:;]?(?= |$)", part.replace("\n", " "))]
        found = [choice(m, stages, SGD, IBM, 32, n).seconds * 1e9 for m, n in modes.items()]
        assert [x for x in shown if x > 100] == pytest.approx(found, abs=6e-3)
    joules = [choice("sync", stages, SGD, IBM, 32, 4).joules * 1e9 for stages in cases.values()]
    assert said(r"2\.70\) = ([\d.]+) nJ")[0] == pytest.approx(joules[0], abs=0.06)
    assert said(r"16\.3 nJ: ([\d.]+) nJ")[0] == pytest.approx(joules[1], abs=0.06)
    held = [choice(m, cases["With"], SGD, IBM, 32, n) for m, n in modes.items()]
    assert said(r"4 · 32 · 512 = ([\d,]+) bytes")[0] == held[0].activation_bytes
    assert held[1].activation_bytes == held[0].activation_bytes
    assert said(r"4 · 32 · 1024 = ([\d,]+) bytes")[0] == held[1].pair_bytes


@pytest.mark.parametrize(("preset", "kind", "cells"), PRESET_ROWS)
def test_the_table_of_presets_and_rules(preset: str, kind: str, cells: str) -> None:
    hardware, rule = PRESETS[preset], Rule(kind)
    stages = [Stage((linear(hardware.lines, hardware.lines),))] * 8
    a, s, none = (
        choice(mode, stages, rule, hardware, 32, n).seconds
        for mode, n in (("async", 1), ("sync", 8), ("sequential", 1))
    )
    best = fastest(choices(stages, rule, hardware, 256, sizes=[1, 32, 256]))
    ratios = [1 - 2 * hardware.read_time / a, s / a, none / a]
    shown = [f"{ratio:.2f}" for ratio in ratios]
    shown.append(f"{best['sync'].seconds / best['async'].seconds:.3f}")
    assert cells.split(" | ") == shown


def test_the_table_has_every_preset() -> None:
    assert len(PRESET_ROWS) == 9
    assert {name for name, *_ in PRESET_ROWS} == set(PRESETS)


def test_the_answer_is_that_of_its_file() -> None:
    table = pd.read_csv(FIGURES / "hardware-answer.csv")
    rows = re.findall(ROW, ANSWER, re.M)
    order = table[["hardware", "rule"]].drop_duplicates().itertuples(index=False, name=None)
    assert [row[:2] for row in rows] == list(order)
    for hardware, rule, cells in rows:
        part = table[(table["hardware"] == hardware) & (table["rule"] == rule)]
        shown = [f"{o.async_over_none:.2f}, {o.async_over_sync:.3f}" for o in part.itertuples()]
        assert cells.split(" | ") == shown
    low, high = said(r"async is ([\d.]+) to ([\d.]+) times as fast\. Energy")
    gains = table["async_over_sync_n8"]
    assert (round(gains.min(), 2), round(gains.max(), 2)) == (low, high)
    assert (table[["energy_async_over_sync", "energy_async_over_none"]] == 1).all(axis=None)


def test_the_file_of_the_answer_is_what_the_model_gives() -> None:
    """For the MLP, whose layers are known without running it."""
    table = pd.read_csv(FIGURES / "hardware-answer.csv")
    blocks = [linear(64, 64)] * 7 + [linear(64, 10)]
    for count in (4, 8):
        per = 8 // count
        stages = pipeline([blocks[i : i + per] for i in range(0, 8, per)])
        for name in PRESETS:
            sizes = [2**k for k in range(9)]
            best = fastest(choices(stages, SGD, PRESETS[name], 256, sizes=sizes))
            key = {"network": "MLP", "stages": count, "hardware": name, "rule": "analog_sgd"}
            (row,) = table[(table[list(key)] == list(key.values())).all(axis=1)].itertuples()
            assert row.async_over_none == pytest.approx(
                best["sequential"].seconds / best["async"].seconds, rel=1e-5
            )
            assert row.joules == pytest.approx(best["async"].joules, rel=1e-5)


def test_copies_and_replicas_are_those_of_their_files() -> None:
    copies = pd.read_csv(FIGURES / "hardware-copies.csv")
    copies = copies[copies["hardware"] == "ibm-proj"]
    names = {"linear, tau 0.6": "linear-tau0.6", "EcRam": "ecram", "ReRamSB": "reram-sb"}
    rows = re.findall(r"^\| ([\w ,.]+) \| (1|16) \| (.*?) \| (.*?) \| (.*?) \|", ANSWER, re.M)
    assert len(rows) == 6
    for device, reads, *shown in rows:
        here = copies[(copies["device"] == names[device]) & (copies["reads"] == int(reads))]
        errors = here.set_index("iteration").loc[[4, 10, 40], "relative_error"]
        assert shown == [f"{error:.2f}" for error in errors]
    runs = pd.read_csv(FIGURES / "hardware-replicas.csv").fillna({"every": 0})
    runs = runs[(runs["hardware"] == "ibm-proj") & (runs["device"] == "linear-tau0.6")]
    means = runs.groupby(["every", "accelerators"])[["test_accuracy", "seconds"]].mean()
    rows = re.findall(r"^\| (pipeline|replicas, s = (\d+)) \|(.*)\|$", ANSWER, re.M)
    assert len(rows) == 5
    for _, every, cells in rows:
        for accelerators, cell in zip((2, 4, 8), cells.split("|"), strict=True):
            if cell.strip():
                mean = means.loc[(int(every or 0), accelerators)]
                assert (
                    cell.strip() == f"{mean['test_accuracy']:.3f}, {1e3 * mean['seconds']:.1f} ms"
                )


def test_replicas_of_convolutions_are_those_of_their_file() -> None:
    runs = pd.read_csv(FIGURES / "hardware-replicated.csv")
    means = runs.groupby(["arrays", "learning_rate"]).mean()
    rows = re.findall(r"^\| (\d+) \| (.*) us \| (.*) \| (.*) \| (.*) \|$", ANSWER, re.M)
    assert [int(row[0]) for row in rows] == [1, 4, 16]
    for arrays, *shown in rows:
        best = means.loc[int(arrays)].sort_values("by_own").iloc[-1]
        found = 1e6 * best["seconds_a_sample"], best["slowest_to_mean"]
        scores = best["by_own"], best["by_mean"]
        assert shown == [*(f"{x:.2f}" for x in found), *(f"{x:.3f}" for x in scores)]


def test_equal_stages_by_the_network() -> None:
    for label, shown in re.findall(
        r"^\| (\w*-?resnet\S*(?:, replicas)?) \| (.*) \|$", ANSWER, re.M
    ):
        name, _, replicated = label.partition(", ")
        model = (
            EvenResNet(kind="even-resnet", name=name)
            if name == "even-resnet"
            else ResNet(kind="resnet", name=name, layers=int(name.removeprefix("resnet")))
        )
        image = torch.zeros(1, 3, 32, 32)
        blocks = describe(models.build(model, (3, 32, 32), 10, None, 0), image)
        if replicated:
            blocks = [replace(block, layers=tuple(map(_of_64, block.layers))) for block in blocks]
        parts = [cut(blocks, count) for count in (4, 8)]
        ratios = [balance([stage.reads for stage in stages]) for stages in parts]
        for kind in ("analog_sgd", "mixed_precision"):
            ratios += [OnHardware(stages, Rule(kind), IBM, 16).balance() for stages in parts]
        assert shown.split(" | ") == [f"{ratio.slowest_to_mean:.2f}" for ratio in ratios]


def _of_64(layer: Layer) -> Layer:
    """The layer on as many arrays as leave 64 positions to each."""
    return replace(layer, replicas=max(1, layer.positions // 64))
