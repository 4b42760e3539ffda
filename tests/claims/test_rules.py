"""Verdicts follow from run files: planted faults turn the right rows, and an honest run none."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from analogpipe.claims.evidence import Evidence
from analogpipe.claims.rules import RULES
from analogpipe.claims.table import ANSWERS, ROWS, judge
from analogpipe.claims.verdict import Region
from analogpipe.profile.profile import SYMMETRIC, Profile, load_profile
from analogpipe.results import layout
from claims.planted import SEEDS, Course, Planted

GOOD, BAD = "reproduced", "not reproduced"


@pytest.mark.parametrize(
    ("region", "low", "high", "verdict"),
    [
        (Region(low=-0.01), -0.005, 0.02, GOOD),
        (Region(low=-0.01), -0.02, 0.02, "inconclusive"),
        (Region(low=-0.01), -0.05, -0.02, BAD),
        (Region(high=1.25), 1.0, 1.2, GOOD),
        (Region(high=1.25), 1.3, 1.4, BAD),
        (Region(high=1.25), np.inf, np.inf, BAD),
        (Region(1, 1), 1.0, 1.0, GOOD),
        (Region(1, 1), 0.99, 0.99, BAD),
        (Region(low=1), -np.inf, np.inf, "inconclusive"),
        (Region(low=1), np.nan, np.nan, "inconclusive"),
    ],
)
def test_verdict(region, low, high, verdict):
    assert region.verdict(low, high) == verdict


@pytest.fixture
def profile(tiny_profile) -> Profile:
    ladder = {"digital": [1.5, 0.8], "linear-tau0.6": [1.5, 0.8]}
    return load_profile(tiny_profile).model_copy(
        update={"seeds": list(range(SEEDS)), "ladder": ladder}
    )


def honest(device: str, mode: str, stages: int, rate: float, seed: int) -> Course:
    """A run as the claims predict it: analog ones end at a floor, their twins at a tenth of it."""
    floors = {"digital": 0.0, "linear-tau0.6": 0.1, "linear-tau0.6" + SYMMETRIC: 0.01}
    return Course(floor=floors[device], seed=seed)


def in_async(**changes: object) -> Callable[..., Course]:
    """Courses of which the asynchronous pipeline's are changed."""

    def course(device: str, mode: str, stages: int, rate: float, seed: int) -> Course:
        usual = honest(device, mode, stages, rate, seed)
        return replace(usual, **changes) if mode == "async" and stages > 1 else usual

    return course


@pytest.fixture
def judged(profile, tmp_path) -> Callable[..., dict[str, set[str]]]:
    """Return a function that judges courses: the verdicts of the rows of each claim and kind of check."""

    def verdicts(course: Callable[..., Course], **changes: object) -> dict[str, set[str]]:
        evidence = Planted(profile, tmp_path, course).evidence()
        return of(replace(evidence, **changes))

    return verdicts


def of(evidence: Evidence) -> dict[str, set[str]]:
    tables = judge(evidence)
    claims, checks = tables[layout.CLAIMS], tables[layout.CHECKS]
    assert tuple(claims.columns) == ("claim", *ROWS)
    assert tuple(tables[layout.ANSWERS].columns) == ANSWERS
    assert not claims.duplicated(["device", "measure"]).any()
    found = claims.groupby("claim")["verdict"].agg(set).to_dict()
    return found | checks.groupby("check")["verdict"].agg(set).to_dict()


def test_what_the_claims_predict_is_reproduced(judged):
    found = judged(honest)
    # three stages are few: async is no faster than the best sync, which is at one sample
    assert {claim: found[claim] for claim in RULES if claim != "C6"} == {
        claim: {GOOD} for claim in RULES if claim != "C6"
    }
    assert GOOD in found["C6"]
    assert found["pairing"] == {GOOD}


def test_a_diverging_async_run_is_not_reproduced(judged):
    found = judged(in_async(diverges=True, accuracy=0.1))
    assert BAD in found["C3"]
    assert found["C4"] == {BAD}
    assert found["C6"] == {BAD}
    assert found["C2"] == {GOOD}


def test_one_diverging_seed_of_many_is_enough(judged):
    def course(device: str, mode: str, stages: int, rate: float, seed: int) -> Course:
        usual = honest(device, mode, stages, rate, seed)
        return replace(usual, diverges=(mode, stages, seed) == ("async", 3, 4))

    found = judged(course)
    assert found["C4"] == {BAD}
    assert found["C6"] == {BAD}


def test_halved_rates_are_not_reproduced(judged):
    found = judged(in_async(scale=500.0))
    assert BAD in found["C4"]
    assert BAD in found["C6"]


def test_an_unreached_target_is_not_reproduced(judged):
    found = judged(in_async(floor=0.9))
    assert BAD in found["C4"]
    assert found["C6"] == {BAD}


def test_a_ladder_that_no_run_climbs_is_not_reproduced(judged):
    def course(device: str, mode: str, stages: int, rate: float, seed: int) -> Course:
        return replace(honest(device, mode, stages, rate, seed), floor=0.9)

    found = judged(course)
    assert BAD in found["C4"]
    assert found["C6"] == {BAD}


def test_shuffled_pairs_are_found(judged):
    def course(device: str, mode: str, stages: int, rate: float, seed: int) -> Course:
        usual = honest(device, mode, stages, rate, seed)
        return replace(usual, seed=SEEDS - 1 - seed) if mode == "async" else usual

    assert judged(course)["pairing"] == {BAD}


def test_lost_accuracy_is_not_reproduced(judged):
    found = judged(in_async(accuracy=0.8))
    assert found["C3"] == {BAD}
    assert found["C2"] == {GOOD}


def test_a_device_as_good_as_its_twin_is_not_reproduced(judged):
    def course(device: str, mode: str, stages: int, rate: float, seed: int) -> Course:
        return honest(device.removesuffix(SYMMETRIC), mode, stages, rate, seed)

    assert judged(course)["C5"] == {BAD}


def test_cheap_copies_are_not_reproduced(judged, profile):
    from claims.planted import copies

    assert judged(honest, copies=copies(profile).assign(steps_in_time=2.0))["C1"] == {BAD}


def test_stale_versions_are_noticed(profile, tmp_path):
    evidence = Planted(profile, tmp_path, honest).evidence()

    def share() -> float:
        checks = judge(evidence)[layout.CHECKS]
        return checks.loc[checks["measure"].str.startswith("backward passes of"), "measured"].item()

    assert share() == 1
    evidence.schedules.loc[evidence.schedules["version"] == 1, "version"] = 0
    assert share() == 0.5


def test_secretly_stashed_weights_are_not_reproduced(profile, tmp_path):
    """Where backward passes are off the live weights, whatever the engine says of its versions."""
    evidence = Planted(profile, tmp_path, honest).evidence()
    evidence.weights.loc[evidence.weights["mode"] == "async", "deviation"] = 0.02
    checks = judge(evidence)[layout.CHECKS]
    row = checks[checks["measure"].str.startswith("errors given back")].iloc[0]
    assert row["verdict"] == BAD


def test_a_price_that_grows_is_not_of_lower_order(judged):
    found = judged(in_async(floor=0.5))
    assert BAD in found["C4"]


def test_the_theory_is_a_check(judged):
    numbers = {"floor over digital": 5, "error over bound, largest": 2.0}
    theory = pd.DataFrame(
        [
            {"quantity": name, "device": "linear", "mode": "async", "stages": 8,
             "measured": value, "low": value - 0.02, "high": value + 0.02}
            for name, value in numbers.items()
        ]
    )  # fmt: skip
    assert judged(honest, theory=theory)["theory"] == {GOOD, BAD}
