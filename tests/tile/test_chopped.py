"""Rules that need no symmetric point: chopped TTv2 and AGAD."""

from typing import Any

import pytest
import torch

from analogpipe.layer.convert import analog_layer
from analogpipe.layer.convolution import AnalogConv2d
from analogpipe.layer.linear import AnalogLinear
from analogpipe.seeds import generator
from analogpipe.tile.chopped import ChopperArray, followed
from analogpipe.tile.config import TileConfig, TileConfigError
from analogpipe.tile.presets import RULES
from analogpipe.tile.tile import AnalogTile

RULE = {
    "ttv2": {"kind": "ttv2", "transfer_lr": 5.0},
    "cttv2": {"kind": "cttv2", "fast_lr": 0.02},
    "agad": {"kind": "agad", "fast_lr": 0.02},
}
SURE = {"desired_bl": 1, "update_management": False, "update_bl_management": False}


def _config(transfer: dict[str, Any], device: Any = None, **options: Any) -> TileConfig:
    perfect = {"perfect": True}
    device = device or {"kind": "soft_bounds", "dw_min": 0.002}
    data = {"device": device, "transfer": {"forward": perfect, **transfer}, **options}
    return TileConfig.parse({"forward": perfect, "backward": perfect, **data})


def _constant(**options: Any) -> dict[str, Any]:
    """Elements alike, with up pulses larger than down pulses."""
    spread = ("dw_min_dtod", "dw_min_std", "w_max_dtod", "w_min_dtod", "up_down_dtod")
    plain = dict.fromkeys(spread, 0.0)
    bounds = {"w_max": 50, "w_min": -50}
    return {"kind": "constant_step", "dw_min": 0.01, "up_down": 0.25, **bounds, **plain, **options}


def _floor(rule: str, error: float) -> float:
    """Squared weight error of a linear regression with noisy targets, after training, where symmetric
    points are known with an ``error`` (standard deviation)."""
    transfer = {**RULE[rule], "reference": "symmetric_point", "reference_std": error}
    tile = AnalogTile(torch.zeros(8, 10), _config(transfer), seed=0, name="tile")
    target = 0.3 * (torch.rand(8, 10, generator=generator(1)) * 2 - 1)
    stream = generator(2)
    errors = []
    for step in range(1600):
        x = torch.randn(4, 10, generator=stream)
        noise = 0.5 * torch.randn(4, 8, generator=stream)
        tile.update(x, x @ (tile.weight - target).t() + noise, 0.02)
        if step >= 1200:
            errors.append(float((tile.weight - target).square().mean()))
    return 1e3 * sum(errors) / len(errors)


def test_only_agad_does_without_the_symmetric_points() -> None:
    known = {rule: _floor(rule, 0.0) for rule in RULE}
    unknown = {rule: _floor(rule, 0.15) for rule in RULE}
    assert unknown["ttv2"] > 2.5 * known["ttv2"]
    assert unknown["cttv2"] < 0.7 * unknown["ttv2"]
    assert unknown["agad"] < 0.3 * unknown["cttv2"]
    assert unknown["agad"] < 1.15 * known["agad"]


@pytest.mark.parametrize("rule", ["cttv2", "agad"])
@pytest.mark.parametrize("every", [1, 3])
def test_a_pass_at_once_is_the_same_as_vector_by_vector(rule: str, every: int) -> None:
    """Where each pulse is sure, so that nothing is random."""
    transfer = {
        "kind": rule,
        "fast_lr": 9.0,
        "transfer_lr": 0.7317,
        "every": every,
        "in_chop_prob": 0.5,
    }
    if rule == "cttv2":
        transfer["in_chop_random"] = False
    one, other = (
        AnalogTile(
            torch.zeros(3, 5),
            _config(transfer, _constant(), update={"rule": rule_of_pulses, **SURE}),
            seed=0,
            name="tile",
        )
        for rule_of_pulses in ("mean", "pulse_train")
    )
    stream = generator(1)
    for vectors in (1, 4, 13, 2, 17, 60):
        x = torch.rand(vectors, 5, generator=stream) + 0.5
        e = torch.randn(vectors, 3, generator=stream).sign() + 0.3
        for tile in (one, other):
            tile.update(x, e, 0.37)
        for key, value in one.array.state_dict().items():
            torch.testing.assert_close(value, other.array.state_dict()[key], rtol=1e-4, atol=1e-4)
    assert one.weight.count_nonzero() > 4


@pytest.mark.parametrize("rule", ["cttv2", "agad"])
def test_the_state_resumes(rule: str) -> None:
    options = {"auto_scale": True, "fast_lr": 0.5, "in_chop_prob": 0.4, "every": 3}
    config = _config({"kind": rule, **options})
    tile, twin = (AnalogTile(torch.zeros(3, 4), config, seed=0, name="tile") for _ in range(2))
    stream = generator(1)
    batches = [
        (torch.randn(5, 4, generator=stream), torch.randn(5, 3, generator=stream))
        for _ in range(60)
    ]
    for x, e in batches[:30]:
        tile.update(x, e, 0.1)
    twin.load_state_dict({key: value.clone() for key, value in tile.state_dict().items()})
    for x, e in batches[30:]:
        for one in (tile, twin):
            one.update(x, e, 0.1)
    assert isinstance(tile.array, ChopperArray)
    assert int(tile.array.done) > 9
    for key, value in tile.state_dict().items():
        assert torch.equal(value, twin.state_dict()[key]), key


@pytest.mark.parametrize("rule", ["ttv2", "cttv2", "agad"])
@pytest.mark.parametrize("bias", [True, "analog"])
def test_a_convolution_transfers_after_its_patches(rule: str, bias: Any) -> None:
    """As a linear layer does that sees the patches, image by image."""
    config = _config({"kind": rule, "units_in_mbatch": False, "every": 2, "columns": 1})
    conv = AnalogConv2d(2, 3, 3, config, bias=bias, seed=0, name="conv")
    twin = AnalogTile(conv.tile.weight.clone(), config, seed=0, name="conv")
    stream = generator(1)
    for _ in range(3):
        x = torch.randn(2, 2, 6, 6, generator=stream)
        e = torch.randn(2, 3, 4, 4, generator=stream)
        conv.apply_update(x, e, 0.1)
        patches = torch.nn.functional.unfold(x, 3).transpose(1, 2).reshape(32, 18)
        if bias == "analog":
            patches = torch.cat([patches, torch.ones(32, 1)], 1)
        twin.update(patches, e.flatten(2).transpose(1, 2).reshape(32, 3), 0.1)
    for key, value in twin.array.state_dict().items():
        assert torch.equal(value, conv.tile.array.state_dict()[key]), key


@pytest.mark.parametrize("rule", ["ttv1", "ttv2", "cttv2", "agad"])
@pytest.mark.parametrize("scaled", [False, True])
def test_a_convolution_by_products_collects_what_its_patches_do(rule: str, scaled: bool) -> None:
    """Where transfers count micro-batches, two gradients stand for all patches."""
    options: dict[str, Any] = {"kind": rule, "units_in_mbatch": True, "fast_lr": 0.05}
    if scaled and rule in ("cttv2", "agad"):
        options["auto_scale"] = True
    config = _config(options, _constant(), update={"rule": "mean"})
    conv = AnalogConv2d(2, 3, 3, config, padding=1, seed=0, name="conv")
    twin = AnalogTile(conv.tile.weight.clone(), config, seed=0, name="conv")
    stream = generator(1)
    for _ in range(3):
        x = torch.randn(2, 2, 6, 6, generator=stream)
        e = torch.randn(2, 3, 6, 6, generator=stream)
        conv.apply_update(x, e, 0.1)
        patches = torch.nn.functional.unfold(x, 3, padding=1).transpose(1, 2).reshape(72, 18)
        twin.update(patches, e.flatten(2).transpose(1, 2).reshape(72, 3), 0.1)
    ours, theirs = conv.tile.array.state_dict(), twin.array.state_dict()
    torch.testing.assert_close(ours["fast"], theirs["fast"], rtol=1e-4, atol=1e-5)
    assert ours["fast"].abs().max() > 0.1


def test_groups_transfer_by_micro_batches_only() -> None:
    conv = torch.nn.Conv2d(4, 4, 3, groups=2)
    by_vectors = _config({"kind": "agad"})
    with pytest.raises(ValueError, match="2 groups, this tile's update needs 1"):
        analog_layer(conv, by_vectors, seed=0, name="conv")
    layer = analog_layer(
        conv, _config({"kind": "agad", "units_in_mbatch": True}), seed=0, name="conv"
    )
    layer(torch.randn(2, 4, 6, 6)).sum().backward()
    layer.update(0.1)
    assert bool(layer.tile.array.state_dict()["fast"].any())


def test_layers_learn_by_all_published_rules() -> None:
    """Pulses reach the weight, by whatever scale the preset has."""
    for name in RULES:
        tile = TileConfig.parse({"preset": name})
        layer = AnalogLinear(2, 3, tile, bias=False, seed=0, name="linear")
        before = layer.tile.weight.clone()
        for _ in range(60):
            layer(torch.ones(16, 2)).sum().backward()
            layer.update(0.5)
        assert float((layer.tile.weight - before).mean()) < 0, name


def test_moving_averages_are_those_of_a_loop() -> None:
    values = torch.tensor([0.0, 0.0, 2.0, 1.0, 0.0, 3.0, 0.5]).double()
    for start in (0.0, 1.5):
        mean, expected = start, []
        for value in values.tolist():
            if value > 0:
                mean = value if mean == 0 else 0.9 * mean + 0.1 * value
            expected.append(mean)
        found = followed(values, torch.tensor(start), 0.9)
        torch.testing.assert_close(found, torch.tensor(expected).double())


@pytest.mark.parametrize(
    ("transfer", "message"),
    [
        ({"kind": "cttv2", "gamma": 0.1}, r"transfer\.cttv2\.gamma"),
        ({"kind": "ttv2", "in_chop_prob": 0.1}, r"transfer\.ttv2\.in_chop_prob"),
        ({"kind": "agad", "in_chop_prob": 0}, r"transfer\.agad\.in_chop_prob.*greater than 0"),
        ({"kind": "agad", "buffer_cap": 0.5, "forget_buffer": False}, "buffer_cap needs 1 or more"),
        ({"kind": "cttv2", "auto_scale": True, "fast_lr": 0}, "auto_scale needs a fast_lr above 0"),
        ({"kind": "agadd"}, "'ttv1', 'ttv2', 'cttv2', 'agad'"),
    ],
)
def test_what_a_rule_does_not_know_is_refused(transfer: dict[str, Any], message: str) -> None:
    with pytest.raises(TileConfigError, match=message):
        TileConfig.parse({"transfer": transfer})
