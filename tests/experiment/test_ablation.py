"""Runs of the ablation: when they end, at what rate, and that those that have ended are kept."""

import json
from math import inf
from pathlib import Path

import pytest

from analogpipe.experiment import ablation as module
from analogpipe.experiment import data
from analogpipe.experiment.ablation import COLUMNS, WINDOW, ablation, runs_of, settled, train
from analogpipe.profile.ablation import Ablation
from analogpipe.profile.profile import Profile, load_devices, load_profile
from analogpipe.tile.config import TileConfig

Setting = tuple[Profile, Ablation, TileConfig]


@pytest.fixture
def setting(tiny_profile: Path) -> Setting:
    profile = load_profile(tiny_profile)
    tile = load_devices(tiny_profile.parent / profile.devices_file)["linear-tau0.6"]
    assert profile.ablation is not None
    return profile, profile.ablation, tile


def test_a_loss_has_settled_when_its_means_change_little() -> None:
    flat = [1.0, 1.1, 0.9, 1.0, 1.0] * 2
    assert settled(flat, 0.01)
    assert not settled(flat[1:], 0.01)  # too few epochs to tell
    falling = [0.97**k for k in range(30)]
    assert not settled(falling, 0.01)
    assert settled(falling, 0.04)
    rising = [1.03**k for k in range(30)]
    assert not settled(rising, 0.01)
    assert settled([5.0, *flat, *flat], 0.01)
    assert not settled(flat, None)
    assert not settled([*flat[:-1], inf], 0.01)


def test_all_runs_have_one_rate_and_their_cells_tile(setting: Setting) -> None:
    profile, chosen, own = setting
    runs = runs_of(profile, chosen, own, seed=1)
    assert list(runs) == [
        f"{cell}-{mode}" for cell in ("digital", "own", "range", "rule", "range+rule")
        for mode in ("sequential", "async")
    ]  # fmt: skip
    assert {run.learning_rate for run in runs.values()} == {chosen.rate}
    assert {run.training.decay for run in runs.values()} == {"constant"}
    assert {run.seed for run in runs.values()} == {1}
    assert {run.dataset.train for run in runs.values()} == {160}
    assert (runs["own-async"].mode.schedule, runs["own-async"].stages) == ("async", 3)
    assert runs["digital-async"].tile is None
    assert runs["range+rule-sequential"].tile == chosen.tile(own, ["range", "rule"])
    cosine = profile.training.model_copy(update={"decay": "cosine"})
    free = chosen.model_copy(update={"until": None})
    decaying = runs_of(profile.model_copy(update={"training": cosine}), free, own, seed=1)
    assert {run.training.decay for run in decaying.values()} == {"cosine"}


def test_a_run_ends_when_it_has_settled(setting: Setting) -> None:
    profile, chosen, own = setting
    run = runs_of(profile, chosen.model_copy(update={"most": 40}), own, 0)["own-sequential"]
    samples = data.load(run.dataset)
    found = train(run, samples, until=0.5)
    assert (found["epochs"], found["converged"]) == (2 * WINDOW, True)
    longer = train(run, samples, until=0.03)
    assert 2 * WINDOW < longer["epochs"] < 40
    assert longer["converged"]
    assert longer["train_loss"] < found["train_loss"]
    short = run.model_copy(update={"training": run.training.model_copy(update={"epochs": 3})})
    assert train(short, samples, until=0.5) == {**train(short, samples, None), "converged": False}
    assert train(short, samples, None)["converged"]


def test_a_diverging_run_is_infinitely_bad(setting: Setting) -> None:
    profile, chosen, own = setting
    run = runs_of(profile, chosen, own, 0)["digital-sequential"]
    found = train(run.model_copy(update={"learning_rate": inf}), data.load(run.dataset), 0.01)
    assert (found["train_loss"], found["converged"], found["epochs"]) == (inf, False, 1)


def test_runs_that_have_ended_are_kept_over_a_stop(
    setting: Setting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile, chosen, own = setting
    chosen = chosen.model_copy(update={"stages": None, "rule": None})
    honest, done = module.train, []

    def stops(*arguments: object) -> object:
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(honest(*arguments))  # type: ignore[arg-type]
        return done[-1]

    monkeypatch.setattr(module, "train", stops)
    with pytest.raises(KeyboardInterrupt):
        ablation(profile, chosen, own, 0, tmp_path)
    assert len(list(tmp_path.iterdir())) == 2
    done.pop()  # one more may run
    table = ablation(profile, chosen, own, 0, tmp_path)
    assert tuple(table.columns) == COLUMNS
    assert list(table["cell"]) == ["digital", "own", "range"]
    monkeypatch.setattr(module, "train", honest)
    assert ablation(profile, chosen, own, 0, tmp_path / "afresh").equals(table)
    # what is kept is of one configuration alone
    (place,) = tmp_path.glob("own-*.json")
    place.write_text(json.dumps({**json.loads(place.read_text()), "epochs": 77}))
    assert ablation(profile, chosen, own, 0, tmp_path)["epochs"].max() == 77
    other = chosen.model_copy(update={"rate": 0.05})
    assert ablation(profile, other, own, 0, tmp_path)["epochs"].max() < 77
