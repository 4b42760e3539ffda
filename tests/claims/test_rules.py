"""Verdicts follow from numbers and their spread: planted data must flip them."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from analogpipe.claims.evidence import Evidence
from analogpipe.claims.rules import RULES
from analogpipe.claims.table import COLUMNS, judge
from analogpipe.claims.verdict import Region
from analogpipe.profile.profile import load_profile


@pytest.mark.parametrize(
    ("region", "low", "high", "verdict"),
    [
        (Region(low=-0.01), -0.005, 0.02, "reproduced"),
        (Region(low=-0.01), -0.02, 0.02, "inconclusive"),
        (Region(low=-0.01), -0.05, -0.02, "not reproduced"),
        (Region(high=1.25), 1.0, 1.2, "reproduced"),
        (Region(high=1.25), 1.3, 1.4, "not reproduced"),
        (Region(1, 1), 1.0, 1.0, "reproduced"),
        (Region(1, 1), 0.99, 0.99, "not reproduced"),
        (Region(low=1), -np.inf, np.inf, "inconclusive"),
        (Region(low=1), np.nan, np.nan, "inconclusive"),
    ],
)
def test_verdict(region, low, high, verdict):
    assert region.verdict(low, high) == verdict


@pytest.fixture
def evidence(tiny_profile):
    """Evidence in which every claim holds, with a little spread over seeds."""
    profile = load_profile(tiny_profile).model_copy(update={"seeds": list(range(5))})
    final, targets = [], []
    for device in profile.devices:
        for mode in profile.modes:
            for stages in profile.stages:
                for seed in profile.seeds:
                    speed = 1 if mode == "sequential" else stages
                    noise = 1 + 1e-4 * (seed + len(mode))
                    head = {"device": device, "mode": mode, "stages": stages, "seed": seed}
                    loss = 0.1 if device == "digital" else 0.2
                    final.append(head | {"epoch": 3, "density": 0.995, "train_loss": loss * noise,
                                         "test_accuracy": 0.9 * noise})  # fmt: skip
                    reached = {"samples": 900 * noise, "cycles": 600 / speed * noise}
                    targets.append(head | reached | {"resolved": True})
    schedules = pd.DataFrame(
        [(0, "F", 0), (1, "B", 0), (1, "U", 0), (2, "F", 1), (3, "B", 1), (3, "U", 1)],
        columns=["clock", "action", "version"],
    ).assign(mode="async", stages=1, stage=1)
    weights = pd.DataFrame({"mode": ["async"], "in_place": [True]})
    numbers = {
        "error in samples": -0.5, "price of staleness in step": 2, "price of staleness in M-1": 1,
        "error of the longest run over sequential": 1.01, "floor over sequential": 1.01,
        "samples to target over sequential": 1.1, "cycles to target, sequential over it": 7,
        "error over bound, largest": 0.5, "floor over digital": 5, "floor over its prediction": 1,
    }  # fmt: skip
    theory = pd.DataFrame(
        [
            {"quantity": name, "device": "linear", "mode": mode, "stages": 8,
             "measured": value, "low": value - 0.02, "high": value + 0.02}
            for name, value in numbers.items()
            for mode in ("sync", "async")
        ]
    )  # fmt: skip
    final, targets = pd.DataFrame(final), pd.DataFrame(targets)
    return Evidence(profile, final, targets, schedules, weights, theory, theory)


def verdicts(evidence: Evidence) -> dict[str, set[str]]:
    """Return the verdicts of each claim's rows."""
    table = judge(evidence)
    assert tuple(table.columns) == COLUMNS
    return table.groupby("claim")["verdict"].agg(set).to_dict()


def test_all_reproduced(evidence):
    assert verdicts(evidence) == {claim: {"reproduced"} for claim in RULES}


def test_lost_accuracy_is_not_reproduced(evidence):
    evidence.runs.loc[evidence.runs["mode"] == "async", "test_accuracy"] -= 0.1
    found = verdicts(evidence)
    assert "not reproduced" in found["C3"]
    assert "not reproduced" in found["C6"]
    assert found["C2"] == {"reproduced"}


def test_noisy_accuracy_is_inconclusive(evidence):
    chosen = (evidence.runs["mode"] == "sync") & (evidence.runs["seed"] == 0)
    evidence.runs.loc[chosen, "test_accuracy"] -= 0.1
    assert "inconclusive" in verdicts(evidence)["C2"]


def test_target_never_reached_is_inconclusive(evidence):
    evidence.targets.loc[evidence.targets["mode"] == "async", ["samples", "cycles"]] = np.nan
    found = verdicts(evidence)
    assert "inconclusive" in found["C4"]
    assert "inconclusive" in found["C6"]


def test_target_reached_in_the_first_epoch_is_inconclusive(evidence):
    chosen = (evidence.targets["mode"] == "async") & (evidence.targets["seed"] == 0)
    evidence.targets.loc[chosen, "resolved"] = False
    found = verdicts(evidence)
    assert "inconclusive" in found["C4"]
    assert "inconclusive" in found["C6"]
    assert found["C2"] == {"reproduced"}


def test_slow_pipeline_is_not_reproduced(evidence):
    evidence.targets.loc[evidence.targets["mode"] == "async", "cycles"] *= 2
    assert "not reproduced" in verdicts(evidence)["C6"]


def test_stashed_weights_are_noticed(evidence):
    late = (evidence.schedules["action"] == "B") & (evidence.schedules["clock"] == 3)
    evidence.schedules.loc[late, "version"] = 0
    assert verdicts(evidence)["C1"] == {"reproduced", "not reproduced"}


def test_analog_without_floor_is_not_reproduced(evidence):
    digital = evidence.runs["device"] == "digital"
    evidence.runs.loc[~digital, "train_loss"] = evidence.runs.loc[digital, "train_loss"].to_numpy()
    assert "not reproduced" in verdicts(evidence)["C5"]


@pytest.mark.parametrize(
    ("quantity", "value", "claim"),
    [
        ("error in samples", -0.3, "C4"),
        ("price of staleness in step", 1.0, "C4"),
        ("price of staleness in M-1", 2.0, "C4"),
        ("samples to target over sequential", 2.0, "C4"),
        ("error over bound, largest", 1.5, "C4"),
        ("error of the longest run over sequential", 2.0, "C3"),
        ("floor over sequential", 2.0, "C3"),
        ("floor over digital", 1.0, "C5"),
        ("floor over its prediction", 2.0, "C5"),
        ("cycles to target, sequential over it", 0.5, "C2"),
        ("cycles to target, sequential over it", 0.5, "C6"),
    ],
)
def test_theory_against_a_claim_is_not_reproduced(evidence, quantity, value, claim):
    chosen = evidence.checks["quantity"] == quantity
    evidence.checks.loc[chosen, ["measured", "low", "high"]] = value
    assert "not reproduced" in verdicts(evidence)[claim]


def test_without_theory_the_runs_judge_alone(evidence):
    alone = replace(evidence, exponents=pd.DataFrame(), checks=pd.DataFrame())
    measures = judge(alone)["measure"]
    assert not measures.str.startswith("least squares").any()
    assert verdicts(alone) == {claim: {"reproduced"} for claim in RULES}
