"""Shares of the gap: planted effects are found again, and all add up."""

from itertools import chain, combinations

import numpy as np
import pandas as pd
import pytest

from analogpipe.profile.ablation import name_of
from analogpipe.results.ablation import cells, shapley, shares

LEVELS = {"range": ("0.6", "6"), "noise": ("0.06", "perfect"), "rule": ("pulses", "ttv2")}
SEEDS = range(6)


def subsets(names: list[str]) -> list[tuple[str, ...]]:
    return list(chain.from_iterable(combinations(names, k) for k in range(len(names) + 1)))


def planted(mode: str = "sequential", price: float = 0.0) -> pd.DataFrame:
    """Runs in which range takes 2 of the log loss, noise 0.5, and both together 1 more; rule nothing."""
    stream = np.random.default_rng(0)
    rows = []
    for seed in SEEDS:
        luck = 0.01 * stream.standard_normal()
        for better in subsets(list(LEVELS)):
            log_loss = 0.3 - 2 * ("range" in better) - 0.5 * ("noise" in better)
            log_loss -= {"range", "noise"} <= set(better)
            log_loss += price * ("range" not in better) + luck
            rows.append((name_of(better), mode, seed, np.exp(log_loss), 0.9 + 0.05 * len(better)))
        rows.append(("digital", mode, seed, np.exp(-4.2 + luck), 1.06))
    table = pd.DataFrame(rows, columns=["cell", "mode", "seed", "train_loss", "test_accuracy"])
    return table.assign(stages=1, epochs=10 + table["seed"], converged=True)


def found(table: pd.DataFrame, mode: str, measure: str) -> "pd.Series[float]":
    here = table[(table["mode"] == mode) & (table["measure"] == measure)]
    return here.set_index("factor")["share"]


def test_planted_effects_are_found_and_an_interaction_is_split() -> None:
    table = shares(planted(), LEVELS)
    assert found(table, "sequential", "log loss").to_dict() == pytest.approx(
        {"range": 2.5, "noise": 1.0, "rule": 0.0, "rest": 1.0, "gap": 4.5}
    )
    assert found(table, "sequential", "accuracy").to_dict() == pytest.approx(
        {"range": 0.05, "noise": 0.05, "rule": 0.05, "rest": 0.01, "gap": 0.16}
    )
    row = table[(table["factor"] == "range") & (table["measure"] == "log loss")].iloc[0]
    assert row["part"] == pytest.approx(2.5 / 4.5)
    assert (row["own"], row["better"], row["seeds"]) == ("0.6", "6", len(SEEDS))


def test_the_order_of_the_rows_does_not_matter() -> None:
    runs = planted()
    mixed = runs.sample(frac=1, random_state=1)
    pd.testing.assert_frame_equal(shares(runs, LEVELS), shares(mixed, LEVELS))


def test_shares_add_up_to_the_gap_whatever_the_numbers() -> None:
    stream = np.random.default_rng(1)
    worth = {frozenset(part): stream.standard_normal(4) for part in subsets(list(LEVELS))}
    parts = shapley(worth, list(LEVELS))
    total = worth[frozenset()] - worth[frozenset(LEVELS)]
    np.testing.assert_allclose(sum(parts.values()), total)
    table = shares(planted(), LEVELS)
    for _, part in table.groupby(["mode", "measure"]):
        share = part.set_index("factor")["share"]
        assert share.drop("gap").sum() == pytest.approx(share["gap"])


def test_a_single_factor_takes_what_it_changes() -> None:
    worth = {frozenset(): np.array([3.0]), frozenset({"a"}): np.array([1.0])}
    assert shapley(worth, ["a"])["a"] == pytest.approx([2.0])


def test_intervals_are_those_of_paired_seeds() -> None:
    table = shares(planted(), LEVELS).set_index(["measure", "factor"])
    # luck is common to all cells of a seed and cancels
    own = table.loc[("log loss", "range")]
    assert own["high"] - own["low"] == pytest.approx(0, abs=1e-9)
    runs = planted()
    runs.loc[(runs["seed"] == 0) & (runs["cell"] == "range"), "train_loss"] *= 2
    wider = shares(runs, LEVELS).set_index(["measure", "factor"]).loc[("log loss", "range")]
    assert wider["low"] < own["share"] - 0.1 < own["share"] < wider["high"]


def test_the_price_of_staleness_has_shares_of_its_own() -> None:
    table = shares(pd.concat([planted(), planted("async", price=0.2)]), LEVELS)
    price = found(table, "async", "staleness")
    assert price.to_dict() == pytest.approx(
        {"range": 0.2, "noise": 0.0, "rule": 0.0, "rest": 0.0, "gap": 0.2}
    )
    assert found(table, "async", "log loss")["range"] == pytest.approx(2.7)


def test_a_diverged_run_counts_in_full() -> None:
    runs = planted()
    runs.loc[(runs["seed"] == 0) & (runs["cell"] == "own"), "train_loss"] = np.inf
    gap = shares(runs, LEVELS).set_index(["measure", "factor"]).loc[("log loss", "gap")]
    assert np.isinf(gap["share"])


def test_cells_are_means_over_seeds() -> None:
    table = cells(planted()).set_index("cell")
    assert len(table) == 9
    own = table.loc["own"]
    assert own["train_loss"] == pytest.approx(np.exp(0.3), rel=0.01)
    assert own["train_loss_low"] < own["train_loss"] < own["train_loss_high"]
    assert (own["seeds"], own["epochs"], own["converged"]) == (6, 12.5, 1.0)
