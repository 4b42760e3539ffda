"""Mixed precision: whole pulses off a residual, and what an optimizer sees of it."""

import copy
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from analogpipe.device.parameters import ConstantStep, Pulsed, SoftBounds, SoftBoundsReference
from analogpipe.device.response import draw
from analogpipe.layer.convert import to_analog
from analogpipe.layer.convolution import AnalogConv2d
from analogpipe.layer.linear import AnalogLinear
from analogpipe.layer.steps import train_arrays
from analogpipe.pipeline.stage import Stage, StageError
from analogpipe.seeds import generator
from analogpipe.tile.config import TileConfig, TileConfigError
from analogpipe.tile.kernels import compiled, plain
from analogpipe.tile.kernels.backend import Kernels
from analogpipe.tile.mixed_precision import MixedPrecisionArray
from analogpipe.tile.tile import AnalogTile

EXACT = {"dw_min_dtod": 0, "dw_min_std": 0, "up_down_dtod": 0, "w_max_dtod": 0, "w_min_dtod": 0}
STEPS = {"kind": "constant_step", "dw_min": 0.01, "w_max": 1, "w_min": -1, **EXACT}
FINE = {**STEPS, "dw_min": 1e-6, "w_max": 9, "w_min": -9}
PERFECT = {"forward": {"perfect": True}, "backward": {"perfect": True}}
BOTH: tuple[Kernels, ...] = (compiled, plain)


def _tile(device: dict[str, Any] = STEPS, rule: Any = None, **entries: Any) -> TileConfig:
    return TileConfig.parse({"device": device, "mixed_precision": rule or {}, **PERFECT, **entries})


def _array(layer: AnalogLinear | AnalogConv2d) -> MixedPrecisionArray:
    assert isinstance(layer.tile.array, MixedPrecisionArray)
    return layer.tile.array


def _layer(tile: TileConfig, inputs: int = 4, outputs: int = 3) -> AnalogLinear:
    layer = AnalogLinear(inputs, outputs, tile, bias=False, seed=0, name="layer")
    layer.set_weight(torch.zeros(outputs, inputs))
    return layer


def _want(layer: AnalogLinear, change: Tensor) -> None:
    """Let the layer want a change of its weight, and update it."""
    with torch.no_grad():
        _array(layer).residual += change
    layer.update(1.0)


@pytest.mark.parametrize("kernels", BOTH, ids=["compiled", "plain"])
@pytest.mark.parametrize(("gain", "limit"), [(1.0, 31), (1.0, 4), (0.55, 31), (2.5, 200)])
def test_pulses_are_binomial(kernels: Kernels, gain: float, limit: int) -> None:
    """The largest of a row gets m pulses at chance k / m, the others in proportion; 20,000 draws of
    each: within 4.5 standard errors."""
    wanted = torch.tensor([[9.5, 0.0, -0.9, 3.2, -6.7], [-1.2, 1.9, 0.4, -1.0, 0.0]])
    repeats, unit = 20_000, torch.tensor([0.01, 0.25])
    residual = (wanted * unit.unsqueeze(1)).repeat(repeats, 1)
    slots = torch.zeros(1, dtype=torch.int64)
    units = unit.repeat(repeats)
    places, pulses = kernels.take(residual, units, 0, 2 * repeats, gain, limit, generator(1), slots)
    left = (wanted - wanted.trunc()) * unit.unsqueeze(1)
    torch.testing.assert_close(residual[:2], left, rtol=0, atol=1e-6)
    assert torch.equal(residual, residual[:2].repeat(repeats, 1))
    counts = torch.zeros(2 * repeats * 5)
    counts[places] = pulses.float()
    counts = counts.view(repeats, 2, 5)
    whole = wanted.trunc()
    largest = whole.abs().amax(1, keepdim=True).double()
    length = (largest * gain).ceil().clamp(max=limit)
    assert int(slots) == repeats * int(length.sum())
    chance = whole.abs() / largest * (largest * gain / length).clamp(max=1)
    mean, spread = length * chance * whole.sign(), (length * chance * (1 - chance)).sqrt()
    assert bool(((counts.mean(0) - mean).abs() <= 4.5 * spread / repeats**0.5 + 1e-9).all())
    error = spread.square() * (3 / repeats) ** 0.5
    assert bool(((counts.var(0) - spread.square()).abs() <= 4.5 * error + 1e-3).all())


@pytest.mark.parametrize("kernels", BOTH, ids=["compiled", "plain"])
def test_rows_are_taken_in_turn(kernels: Kernels) -> None:
    residual, slots = torch.full((4, 3), 0.025), torch.zeros(1, dtype=torch.int64)
    places, pulses = kernels.take(
        residual, torch.full((4,), 0.01), 3, 2, 1.0, 31, generator(1), slots
    )
    assert sorted(places.tolist()) == [0, 1, 2, 9, 10, 11]
    assert pulses.tolist() == [2] * 6
    assert residual[1:3].eq(0.025).all()


@pytest.mark.parametrize(
    "device",
    [
        SoftBounds(dw_min=0.01),
        SoftBoundsReference(dw_min=0.02, subtract_symmetry_point=True),
        ConstantStep(dw_min=0.01, dw_min_std=0.5),
        ConstantStep(dw_min=0.01, dw_min_std=2.0),
    ],
    ids=["soft", "additive", "constant", "noisy"],
)
def test_pulses_in_one_loop_are_those_of_torch(device: Pulsed) -> None:
    """Noise-free they are equal; with noise the moments of 20,000 elements agree, also at a bound."""
    shape, stream = (200, 100), generator(0)
    places = torch.randperm(20_000, generator=stream)[:15_000]
    pulses = torch.randint(1, 13, (15_000,), generator=stream)
    pulses = (pulses * (2 * torch.randint(2, (15_000,), generator=stream) - 1)).to(torch.int32)
    for noise in (0.0, device.dw_min_std):
        response = draw(device.model_copy(update={"dw_min_std": noise}), shape, generator(3))
        start = response.low + (response.high - response.low) * torch.rand(
            shape, generator=generator(4)
        )
        found = []
        for kernels in BOTH:
            weight = start.clone()
            kernels.pulse(weight, kernels.elements(response), places, pulses, generator(5))
            found.append(weight - start)
        if noise == 0:
            torch.testing.assert_close(*found, rtol=1e-5, atol=1e-6)
        for up in (1, -1):
            one, two = (moved.flatten()[places[pulses.sign() == up]] for moved in found)
            for power in (1, 2):
                a, b = one.pow(power), two.pow(power)
                error = ((a - b).var() / len(a)) ** 0.5 if noise else torch.tensor(1e-6)
                assert abs(float(a.mean() - b.mean())) < 4.5 * float(error) + 1e-7


def _normal(*shape: int) -> Tensor:
    return torch.randn(shape, generator=generator(1))


@pytest.mark.parametrize("kind", ["linear", "convolution"])
def test_nothing_is_lost_between_residual_and_array(kind: str) -> None:
    """A step of plain SGD, whole pulses of which are in the array and the rest in the residual."""
    layer: AnalogLinear | AnalogConv2d
    if kind == "linear":
        layer, x = AnalogLinear(5, 4, _tile(), seed=0, name="layer"), _normal(6, 5)
        twin: nn.Module = nn.Linear(5, 4)
    else:
        layer = AnalogConv2d(2, 4, 3, _tile(), padding=1, seed=0, name="layer")
        x, twin = _normal(1, 2, 5, 5), nn.Conv2d(2, 4, 3, padding=1)
    twin.load_state_dict({"weight": layer.weight.clone(), "bias": layer.bias})
    before, e = layer.weight.clone(), torch.randn(layer(x).shape, generator=generator(2))
    for net in (layer, twin):
        net(x).backward(e)
        torch.optim.SGD(net.parameters(), 0.02).step()
    layer.update(0.02)
    residual = _array(layer).residual.detach().view(layer.shape)
    # the update itself sends what is due, also of the batch that it belongs to (AIHWKit: the next)
    assert float(residual.abs().max()) < 0.01
    moved = layer.weight - before
    torch.testing.assert_close(moved, (moved / 0.01).round() * 0.01, rtol=0, atol=1e-6)
    # all but binomial numbers of pulses
    largest = (twin.weight - before).flatten(1).abs().argmax(1, keepdim=True)
    ours = (moved + residual).flatten(1).gather(1, largest)
    theirs = (twin.weight - before).flatten(1).gather(1, largest)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)
    assert float(moved.abs().max()) > 0.05


def test_a_frozen_layer_stays_as_it_is() -> None:
    layer = AnalogLinear(4, 3, _tile(), seed=0, name="layer")
    with torch.no_grad():
        _array(layer).residual += 0.05
    layer.requires_grad_(False)
    net = nn.Sequential(nn.Linear(4, 4), layer)
    state = copy.deepcopy(layer.state_dict())
    net(torch.randn(5, 4)).square().sum().backward()
    layer.update(0.1)
    assert all(torch.equal(layer.state_dict()[key], value) for key, value in state.items())


def test_the_residual_is_in_units_before_the_learned_scale() -> None:
    """A change of the learned scale multiplies array and residual alike: what was owed stays owed, the
    same number of pulses."""
    tile = _tile(mapping={"weight_scaling_omega": 0.5, "learn_out_scaling": True})
    layer = AnalogLinear(1, 3, tile, bias=False, seed=0, name="layer")
    layer.set_weight(torch.tensor([[1.0], [0.5], [0.2]]))
    assert layer.tile.scales.alpha.tolist() == [2.0]  # type: ignore[union-attr]
    array, learned = _array(layer), layer.tile.scales.learned
    assert learned is not None
    _want(layer, torch.tensor([[0.019], [0.0], [0.0]]))
    assert torch.equal(layer.weight, torch.tensor([[1.0], [0.5], [0.2]]))
    with torch.no_grad():
        learned.fill_(3.0)
    x = torch.ones(1, 1)
    layer(x).sum().backward()  # the gradient of V in y = s V x
    assert torch.equal(array.residual.grad, torch.full((3, 1), 3.0))
    before = array.weight.clone()
    _want(layer, torch.tensor([[0.002], [0.0], [0.0]]))
    expected = torch.tensor([[0.01], [0.0], [0.0]])  # one pulse, for 0.02 of alpha A
    torch.testing.assert_close(array.weight - before, expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(array.residual[0], torch.tensor([0.001]), rtol=0, atol=1e-6)
    torch.testing.assert_close(layer.weight[0].clone(), torch.tensor([3.06]), rtol=0, atol=1e-5)


def test_a_weight_that_is_set_leaves_nothing_to_send() -> None:
    layer = _layer(_tile())
    with torch.no_grad():
        _array(layer).residual += 0.005
    layer.weight = torch.full((3, 4), 0.2)  # type: ignore[assignment]
    assert not _array(layer).residual.any()


def test_layers_that_share_an_array_program_it_once() -> None:
    one, two = nn.Linear(4, 3, bias=False), nn.Linear(4, 3, bias=False)
    two.weight = one.weight
    first, second = to_analog([one, two], _tile(rule={"transfer_every": 2}))
    assert isinstance(first, AnalogLinear)
    assert isinstance(second, AnalogLinear)
    net = nn.Sequential(first, nn.Linear(3, 4), second)
    assert sum(p is _array(first).residual for p in net.parameters()) == 1
    before = first.weight.clone()
    for step in (1, 2):
        with torch.no_grad():
            _array(first).residual += 0.02
        first.update(1.0)
        second.update(1.0)
        assert torch.equal(first.weight, before) == (step == 1)


def test_rows_take_turns_and_updates_are_counted() -> None:
    layer = _layer(_tile(rule={"n_rows_per_transfer": 2, "transfer_every": 2}))
    seen = []
    for _ in range(6):
        before = layer.weight.clone()
        _want(layer, torch.full((3, 4), 0.01))
        seen.append((layer.weight != before).any(1).nonzero().flatten().tolist())
    assert seen == [[], [0, 1], [], [0, 2], [], [1, 2]]
    layer = _layer(_tile(rule={"n_rows_per_transfer": 1, "random_row": True}))
    rows = set()
    for _ in range(30):
        before = layer.weight.clone()
        _want(layer, torch.full((3, 4), 0.01))
        rows |= {tuple((layer.weight != before).any(1).tolist())}
    assert len(rows) == 3


@pytest.mark.parametrize("name", ["EcRam", "ReRamES", "ReRamSB", "PCM"])
@pytest.mark.parametrize("rule", ["pulsed", "mean"])
def test_every_device_follows_its_residual(name: str, rule: str) -> None:
    """Linear, exponential, with noise of writing, and a pair (whose first pulse is large): it moves the
    way that it is told, by 0.45 or so."""
    entries: dict[str, Any] = {"preset": name, "update": {"rule": rule}, "mixed_precision": {}}
    layer = AnalogLinear(30, 20, TileConfig.parse(entries), bias=False, seed=0, name="layer")
    layer.set_weight(torch.zeros(20, 30))
    way = torch.ones(20, 30)
    way[:, ::2] = -1
    before = layer.weight.clone()
    for _ in range(15):
        _want(layer, 0.03 * way)
    moved = ((layer.weight - before) * way).mean()
    assert 0.05 < float(moved) < 1.2


def test_random_rounding_is_right_on_average() -> None:
    rule = {"n_x_bins": 3, "n_d_bins": 4}
    layer = _layer(_tile(FINE, rule), 5, 4)
    x, e = torch.randn(1, 5, generator=generator(1)), torch.randn(1, 4, generator=generator(2))
    found = []
    for _ in range(3000):
        layer(x).backward(e)
        found.append(_array(layer).residual.grad.clone())  # type: ignore[union-attr]
        layer.zero_grad()
    gradients = torch.stack(found)
    error = gradients.std(0) / 3000**0.5
    assert bool(((gradients.mean(0) - e.t() @ x).abs() < 4.5 * error + 1e-6).all())
    assert len(gradients.unique()) < 40


def test_signals_of_a_convolution_are_rounded_by_image_and_position() -> None:
    rule = {"n_x_bins": 6, "n_d_bins": 6, "stoc_round_x": False, "stoc_round_d": False}
    layer = AnalogConv2d(2, 3, 1, _tile(FINE, rule), bias=False, seed=0, name="layer")
    x, e = torch.randn(2, 2, 3, 3), torch.randn(2, 3, 3, 3)
    layer(x).backward(e)
    of_x, of_e = x.abs().amax((1, 2, 3), keepdim=True) / 3, e.abs().amax(1, keepdim=True) / 3
    a, b = (x / of_x).round() * of_x, (e / of_e).round() * of_e
    expected = torch.einsum("bohw,bihw->oi", b, a)
    torch.testing.assert_close(_array(layer).residual.grad, expected)


@pytest.mark.parametrize(
    "make",
    [
        partial(torch.optim.SGD, lr=0.02, momentum=0.9),
        partial(torch.optim.SGD, lr=0.02, momentum=0.9, weight_decay=0.1),
        partial(torch.optim.AdamW, lr=0.01, weight_decay=0.1),
    ],
    ids=["momentum", "decay", "adamw"],
)
@pytest.mark.parametrize("scale", [0.0, 0.6])
def test_an_optimizer_moves_the_weight_as_a_digital_one(make: Any, scale: float) -> None:
    """With steps too small to count: in a loop of one's own, and in a stage. Decay acts on the weight."""
    tile = _tile(FINE, {}, update={"rule": "mean", "desired_bl": 10**6},
                 mapping={"weight_scaling_omega": scale})  # fmt: skip
    x, target = torch.randn(8, 5), torch.randn(8, 4)
    layer = AnalogLinear(5, 4, tile, seed=0, name="layer")
    staged, twin = copy.deepcopy(layer), nn.Linear(5, 4)
    twin.load_state_dict({"weight": layer.weight.clone(), "bias": layer.bias})
    loss = nn.MSELoss()
    stage = Stage(staged, loss=loss, optimizer=make)
    optimizers = [make(net.parameters()) for net in (layer, twin)]
    train_arrays(optimizers[0], layer)
    for step in range(20):
        for net, optimizer in zip((layer, twin), optimizers, strict=True):
            optimizer.zero_grad()
            loss(net(x), target).backward()
            optimizer.step()
        stage.forward(step, x, target)
        stage.backward(step)
        stage.update(optimizers[0].param_groups[0]["lr"])
    for one in (layer, staged):
        torch.testing.assert_close(one.weight.clone(), twin.weight.detach(), rtol=0, atol=2e-4)
    torch.testing.assert_close(layer.weight.clone(), staged.weight.clone(), rtol=0, atol=1e-5)


def test_weight_decay_is_refused_where_it_reaches_nothing() -> None:
    layer = AnalogLinear(5, 4, TileConfig(), seed=0, name="layer")
    make = partial(torch.optim.SGD, lr=0.1, weight_decay=0.1)
    with pytest.raises(StageError, match="weight decay does not reach arrays"):
        Stage(layer, optimizer=make)
    layer.requires_grad_(False)
    Stage(nn.Sequential(layer, nn.Linear(4, 3)), optimizer=make)


def _floor(rule: dict[str, Any]) -> float:
    """Mean squared error of a linear regression with noisy targets on a linear device."""
    device = SoftBounds(dw_min=0.002, up_down_dtod=0.01).model_dump()
    tile = AnalogTile(
        torch.zeros(4, 10), TileConfig.parse({"device": device} | PERFECT | rule),
        seed=0, name="tile",
    )  # fmt: skip
    target = 0.3 * (torch.rand(4, 10, generator=generator(1)) * 2 - 1)
    stream, errors = generator(2), []
    for step in range(1000):
        x = torch.randn(256, 10, generator=stream)
        e = x @ (tile.weight - target).t() + 4 * torch.randn(256, 4, generator=stream)
        tile.update(x, e, 0.0005)
        tile.program()
        if step >= 700:
            errors.append(float((tile.weight - target).square().mean()))
    return sum(errors) / len(errors)


def test_it_learns_what_analog_sgd_cannot() -> None:
    """The noise of 256 samples cancels in digital, but every sample sends its pulses in analog SGD."""
    digital, analog, mixed = (
        _floor(rule) for rule in ({"device": {"kind": "ideal"}}, {}, {"mixed_precision": {}})
    )
    assert analog > 0.6 * 0.03  # the mean square of the target: it hardly moves
    assert mixed < 1.5 * digital


def test_what_makes_no_sense_is_refused() -> None:
    cases = [
        ({"device": {"kind": "ideal"}, "mixed_precision": {}}, "pulsed device, found ideal"),
        ({"mixed_precision": {}, "transfer": {}}, "two rules"),
        ({"mixed_precision": {"n_x_bins": 1}}, "n_x_bins: found 1"),
        ({"mixed_precision": {"n_rows_per_transfer": 0}}, "-1 for all"),
        ({"mixed_precision": {"momentum": 0.1}}, "momentum"),
        ({"mapping": {"weight_scaling_omega": -1}}, "weight_scaling_omega"),
    ]
    for entries, message in cases:
        with pytest.raises(TileConfigError, match=message):
            TileConfig.parse(entries)
