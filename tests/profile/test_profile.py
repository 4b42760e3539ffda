"""A bad configuration gives one line that names file, key, what was found and what is allowed."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from analogpipe.files import FileError
from analogpipe.profile.profile import Run, load_profile
from analogpipe.settings import ConfigError, checked

ROOT = Path(__file__).parents[2]


BAD = [
    ("modle", {}, ["modle", "unknown key", "model"]),
    ("training.epoch", 3, ["training.epoch", "unknown key", "epochs", "micro_batch"]),
    ("modes.sync.minibatch", 3, ["modes.sync.minibatch", "unknown key", "mini_batch"]),
    ("learning_rates.digital.async", -0.1, ["learning_rates.digital.async", "-0.1", "greater than 0"]),
    ("learning_rates.digital.async", "fast", ["learning_rates.digital.async", "'fast'", "number"]),
    ("learning_rates.digital.async", ..., ["learning_rates.digital", "no entry", "async"]),
    ("stages", [1, 9], ["stages", "9", "at most 3"]),
    ("stages", [], ["stages", "at least 1"]),
    ("stages", [0], ["stages.0", "0", "greater than or equal to 1"]),
    ("splits", {3: [1, 2]}, ["splits.3", "[1, 2]", "must have 3"]),
    ("splits", {2: [1, 1]}, ["splits.2", "[1, 1]", "3 blocks"]),
    ("seeds", [1, 1], ["seeds", "twice"]),
    ("sweep.stages", 4, ["sweep.stages", "4", "at most 3"]),
    ("devices", ["digital", "tin-can"], ["devices", "tin-can"]),
    ("training.epochs", 2.5, ["training.epochs", "2.5", "integer"]),
    ("training.epochs", ..., ["training.epochs", "missing"]),
    ("training.decay", "linear", ["training.decay", "'linear'", "constant"]),
    ("modes.async.schedule", "hogwild", ["modes.async.schedule", "'hogwild'", "'async'"]),
    ("modes.async.mini_batch", 4, ["modes.async", "mini_batch", "async"]),
    ("modes.sequential", ..., ["modes", "sequential", "required"]),
    ("profile", "../up", ["profile", "'../up'"]),
    ("dataset.kind", "mnist", ["dataset", "path is required"]),
    ("dataset", {"kind": "image_folder", "name": "mine", "validation": 5, "path": "nowhere"},
     ["dataset.path", "nowhere", "existing folder"]),
    ("model.kind", "vit", ["model", "vit", "'mlp', 'cnn', 'resnet'"]),
    ("ladder.digital", [0.5, 1.0], ["ladder.digital", "[0.5, 1.0]", "losses that fall"]),
    ("ladder.digital", [], ["ladder.digital", "at least 1"]),
    ("ladder.digital", [-0.5], ["ladder.digital.0", "-0.5", "greater than 0"]),
    ("learning_rates.digital.common", ..., ["learning_rates.digital", "no entry for common"]),
    ("modes.sync.rate_factor", 0, ["modes.sync.rate_factor", "0", "greater than 0"]),
    ("modes.common", {"schedule": "async"}, ["modes", "common", "key of the common rate"]),
    ("twins", ["digital"], ["twins", "digital", "linear-tau0.6"]),
    ("model.depth", 1, ["model.depth:", "found 1", "greater than or equal to 2"]),
    ("ladder", {"digital": [0.5]}, ["ladder", "no entry", "linear-tau0.6"]),
]  # fmt: skip


@pytest.mark.parametrize(("path", "value", "words"), BAD, ids=[f"{b[0]}={b[1]}" for b in BAD])
def test_bad_profile(edited, path, value, words):
    with pytest.raises(ConfigError) as caught:
        load_profile(edited(path, value))
    message = str(caught.value)
    assert "\n" not in message
    for word in ["edited.yaml", *words]:
        assert word in message


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"a: 1\na: 2\n", ["line 2", "twice"]),
        (b"a: [1\n", ["line 2", "not valid YAML"]),
        (b"\xff\xfe", ["UTF-8"]),
        (b"- 1\n", ["list", "mapping"]),
        (b"", ["NoneType", "mapping"]),
        (None, ["cannot be read"]),
    ],
)
def test_bad_file(tmp_path, content, words):
    path = tmp_path / "profile.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(FileError) as caught:
        load_profile(path)
    message = str(caught.value)
    assert "\n" not in message
    for word in ["profile.yaml", *words]:
        assert word in message


@pytest.mark.parametrize("profile", sorted((ROOT / "config").glob("*.yaml")), ids=lambda p: p.stem)
def test_shipped_profiles_load(profile):
    if profile.name != "devices.yaml":
        assert load_profile(profile).profile == profile.stem


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("training.epoch", 3),
        ("learning_rates.digital.async", -0.1),
        ("stages", [1, 9]),
        ("dataset", {"kind": "image_folder", "name": "mine", "validation": 5, "path": "nowhere"}),
    ],
)
def test_command_says_one_line_and_writes_nothing(edited, tmp_path, path, value):
    out = tmp_path / "out"
    command = [sys.executable, "-m", "analogpipe.jobs.train", "--device", "digital", "--mode", "async",
               "--stages", "1", "--rate", "0.1", "--seed", "0", "--out", str(out),
               "--profile", str(edited(path, value))]  # fmt: skip
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1
    assert path.split(".")[0] in result.stderr
    assert not out.exists()


@pytest.mark.parametrize(
    ("changes", "word"),
    [({"device": "tin-can"}, "device"), ({"mode": "hogwild"}, "mode"), ({"stages": 4}, "stages")],
)
def test_run_outside_the_profile(tiny_profile, changes, word):
    address = {"device": "digital", "mode": "async", "stages": 1, "seed": 0}
    with pytest.raises(ConfigError, match=word):
        load_profile(tiny_profile).run(**(address | changes))


def test_record_of_an_older_run_is_read(tiny_profile):
    run = load_profile(tiny_profile).run("digital", "sync", 3, 0)
    record = json.loads(run.model_dump_json())
    older = record | {
        "mode": "sync",
        "schedule": {"schedule": "sync", "mini_batch": 2, "rate_factor": 2},
    }
    assert checked(Run, older, "run.json") == run
    assert (run.mode.name, run.mode.schedule, run.mode.mini_batch) == ("sync", "sync", 2)
    with pytest.raises(ConfigError, match=r"^run\.json: mode: unknown key"):
        checked(Run, older | {"schedule": {"schedule": "sync", "mini": 2}}, "run.json")


def test_a_mode_takes_its_name_from_its_key_alone(edited):
    with pytest.raises(ConfigError, match=r"modes\.sync\.name: unknown key, allowed: micro_batch"):
        load_profile(edited("modes.sync.name", "other"))


def test_weight_decay_needs_devices_that_it_reaches():
    decay = 'training.optimizer={"kind": "adamw", "weight_decay": 0.1}'
    with pytest.raises(
        ConfigError, match=r"weight_decay: found 0\.1, allowed with linear-tau0\.6: 0"
    ):
        load_profile(ROOT / "config" / "quick.yaml", [decay])
    mixed = [
        'devices=["digital", "ecram-mp"]',
        'learning_rates.ecram-mp={"common": 0.01, "sequential": 0.01, "sync": 0.01, "async": 0.01}',
        "ladder.ecram-mp=[0.5]",
        "sweep=null",
        "theory=null",
        "ablation=null",
    ]
    profile = load_profile(ROOT / "config" / "quick.yaml", [decay, *mixed])
    assert profile.training.optimizer.weight_decay == 0.1
