"""Which backward passes train an array, and by whom: freezing, modes, optimizers of torch."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from analogpipe.layer import base
from analogpipe.layer.base import AnalogLayer, LayerError
from analogpipe.layer.convolution import AnalogConv2d
from analogpipe.layer.linear import AnalogLinear
from analogpipe.layer.steps import analog_layers, drop_updates, train_arrays, update_arrays
from analogpipe.pipeline.pipeline import Pipeline
from analogpipe.schedule.table import build
from analogpipe.tile.config import TileConfig, digital
from tiny_network import cross_entropy

TILES = {
    "ideal": {"device": {"kind": "ideal"}},
    "pulsed": {},
    "rewritten": {"preset": "ReRamSB"},
    "pair": {"preset": "PCM"},
    "tiki-taka": {"transfer": {}},
    "gamma": {"transfer": {"gamma": 0.5}},
    "cttv2": {"transfer": {"kind": "cttv2", "out_chop_prob": 0.2}},
    "agad": {"transfer": {"kind": "agad", "auto_scale": True}},
}
X = torch.rand(8, 2, 5, 5, generator=torch.Generator().manual_seed(0)) + 0.1


def _net(tile: TileConfig) -> nn.Sequential:
    return nn.Sequential(
        AnalogConv2d(2, 3, 3, tile, seed=0, name="conv"),
        nn.Flatten(),
        AnalogLinear(27, 4, tile, seed=0, name="fc"),
    )


def _state(net: nn.Module) -> dict[str, Tensor]:
    """All but the random streams."""
    return {k: v.clone() for k, v in net.state_dict().items() if "_extra_state" not in k}


def _same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(one[key], other[key]) for key in one)


def _freeze_each(net: nn.Module) -> None:
    for p in net.parameters():
        p.requires_grad = False


@pytest.mark.parametrize("tile", TILES)
@pytest.mark.parametrize(
    "freeze", [lambda net: net.requires_grad_(False), _freeze_each], ids=["module", "parameters"]
)
def test_a_frozen_part_stays_and_passes_gradients_on(
    tile: str, freeze: Callable[[nn.Module], object]
) -> None:
    net = _net(TileConfig.parse(TILES[tile]))
    net.insert(0, nn.Conv2d(2, 2, 1))
    freeze(net[1:])
    before = _state(net[1:])
    for _ in range(3):
        net(X).square().sum().backward()
        update_arrays(net, 0.1)
    assert _same(before, _state(net[1:]))
    assert bool(net[0].weight.grad.any())  # type: ignore[union-attr]
    net.requires_grad_(True)
    net(X).square().sum().backward()
    update_arrays(net, 0.1)
    assert not _same(before, _state(net[1:]))


def test_a_network_of_frozen_arrays_needs_no_gradient() -> None:
    net = _net(TileConfig()).requires_grad_(False)
    assert not net(X).requires_grad


def test_a_frozen_array_stays_in_a_pipeline() -> None:
    blocks = [
        AnalogLinear(6, 6, TileConfig(), seed=0, name="a"),
        AnalogLinear(6, 6, TileConfig(), seed=0, name="b").requires_grad_(False),
        AnalogLinear(6, 3, TileConfig(), seed=0, name="c"),
    ]
    before = [_state(block) for block in blocks]
    x, y = torch.rand(12, 4, 6), torch.randint(3, (12, 4))
    Pipeline(
        blocks,
        build("async", stages=3, micro_batches=12),
        loss=cross_entropy,
        batch=lambda b: (x[b], y[b]),
        lr=lambda b: 0.1,
    ).run()
    moved = [not _same(old, _state(block)) for old, block in zip(before, blocks, strict=True)]
    assert moved == [True, False, True]


def test_passes_in_evaluation_mode_leave_nothing_and_an_update_says_so() -> None:
    net = _net(TileConfig()).eval()
    x = X.clone().requires_grad_()
    net(x).sum().backward()
    assert x.grad is not None
    assert all(layer.pending_state() == [] for layer in analog_layers(net))
    with pytest.raises(LayerError, match="conv: an update in evaluation mode"):
        update_arrays(net, 0.1)
    net.train()
    net(X).sum().backward()
    assert all(len(layer.pending_state()) == 2 for layer in analog_layers(net))
    update_arrays(net, 0.1)


def test_passes_without_gradients_leave_nothing() -> None:
    net = _net(TileConfig())
    for context in (torch.no_grad(), torch.inference_mode()):
        with context:
            net(X)
    assert all(layer.pending_state() == [] for layer in analog_layers(net))


def test_a_gradient_for_the_input_alone_leaves_nothing() -> None:
    net = _net(TileConfig())
    x = X.clone().requires_grad_()
    torch.autograd.grad(net(x).sum(), x)
    net(x).sum().backward(inputs=[x])
    assert all(layer.pending_state() == [] for layer in analog_layers(net))


def test_a_second_derivative_is_refused() -> None:
    net = _net(TileConfig())
    x = X.clone().requires_grad_()
    loss = net(x).square().sum()
    with pytest.raises(LayerError, match="fc: found create_graph"):
        torch.autograd.grad(loss, x, create_graph=True)


@pytest.mark.parametrize("by_hand", [True, False])
def test_a_stock_optimizer_trains_digital_and_array_alike(by_hand: bool) -> None:
    analog = _net(digital())
    twin = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Flatten(), nn.Linear(27, 4))
    twin[0].load_state_dict({"weight": analog[0].weight, "bias": analog[0].bias})
    twin[2].load_state_dict({"weight": analog[2].weight, "bias": analog[2].bias})
    ours, theirs = (torch.optim.SGD(net.parameters(), lr=0.05) for net in (analog, twin))
    rates = [torch.optim.lr_scheduler.StepLR(each, 1, 0.5) for each in (ours, theirs)]
    if not by_hand:
        train_arrays(ours, analog)
    for _ in range(3):
        for net, optimizer in ((analog, ours), (twin, theirs)):
            optimizer.zero_grad()
            net(X).square().mean().backward()
            optimizer.step()
        if by_hand:
            update_arrays(analog, ours.param_groups[0]["lr"])
        for rate in rates:
            rate.step()
    for i in (0, 2):
        torch.testing.assert_close(analog[i].weight, twin[i].weight.data)
        torch.testing.assert_close(analog[i].bias, twin[i].bias)


def test_each_group_has_its_own_rate() -> None:
    net = _net(digital())
    groups = [{"params": net[0].parameters(), "lr": 0.0}, {"params": net[2].parameters()}]
    optimizer = torch.optim.SGD(groups, lr=0.1)
    train_arrays(optimizer, net)
    before = _state(net)
    net(X).square().sum().backward()
    optimizer.step()
    after = _state(net)
    assert torch.equal(before["0.tile.array.weight"], after["0.tile.array.weight"])
    assert not torch.equal(before["2.tile.array.weight"], after["2.tile.array.weight"])


@pytest.mark.parametrize(
    "zero",
    [
        lambda net, optimizer: optimizer.zero_grad(),
        lambda net, optimizer: optimizer.zero_grad(set_to_none=False),
        lambda net, optimizer: net.zero_grad(),
        lambda net, optimizer: drop_updates(net),
    ],
)
def test_zeroed_gradients_are_not_applied_to_arrays_either(zero: Callable[..., object]) -> None:
    net = _net(digital())
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    train_arrays(optimizer, net)
    (1e6 * net(X).sum()).backward()  # a step that the user skips
    zero(net, optimizer)
    expected = copy.deepcopy(net)
    drop_updates(expected)
    for each in (net, expected):
        each(X).square().mean().backward()
        update_arrays(each, 0.1)
    assert _same(_state(expected), _state(net))


def test_zeroing_without_another_pass_leaves_the_array() -> None:
    net = _net(digital())
    before = _state(net)
    net(X).sum().backward()
    net.zero_grad()
    update_arrays(net, 0.1)
    assert _same(before, _state(net))


def test_gradients_accumulate_over_passes() -> None:
    net = _net(digital())
    for _ in range(2):
        net(X).sum().backward()
    assert all(len(layer.pending_state()) == 4 for layer in analog_layers(net))


def test_a_layer_used_twice_learns_from_both_uses() -> None:
    layer = AnalogLinear(4, 4, digital(), bias=False, seed=0, name="twice")
    twin = nn.Linear(4, 4, bias=False)
    twin.weight.data.copy_(layer.weight)
    x = torch.rand(3, 4)
    for each in (layer, twin):
        each(torch.tanh(each(x))).square().sum().backward()
    layer.update(0.1)
    torch.testing.assert_close(layer.weight, twin.weight.data - 0.1 * twin.weight.grad)


def test_pending_updates_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "MOST_PENDING", 5)
    layer = AnalogLinear(4, 4, TileConfig(), seed=0, name="fc")
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    for _ in range(5):
        layer(torch.rand(2, 4)).sum().backward()
        optimizer.step()
    loss = layer(torch.rand(2, 4)).sum()
    with pytest.raises(
        LayerError, match="fc: 5 micro-batches wait for an update; allowed"
    ) as error:
        loss.backward()
    assert "\n" not in str(error.value)


def test_an_optimizer_that_cannot_train_the_arrays_is_refused() -> None:
    net = _net(TileConfig())
    with pytest.raises(LayerError, match="fc: the optimizer does not hold its anchor"):
        train_arrays(torch.optim.SGD(net[0].parameters(), lr=0.1), net)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, maximize=True)
    train_arrays(optimizer, net)
    net(X).sum().backward()
    with pytest.raises(LayerError, match="maximize"):
        optimizer.step()


def test_a_signal_that_changed_before_its_update_is_refused() -> None:
    layer = AnalogLinear(4, 4, TileConfig(), seed=0, name="fc")
    buffer = torch.rand(2, 4)
    layer(buffer).sum().backward()
    buffer.copy_(torch.rand(2, 4))  # the next batch into the same memory
    with pytest.raises(LayerError, match="fc: an input or its gradient was changed in place"):
        layer.update(0.1)


@pytest.mark.parametrize("tile", TILES)
def test_a_copy_with_an_update_pending_goes_its_own_way(tile: str) -> None:
    net = _net(TileConfig.parse(TILES[tile]))
    net(X).square().sum().backward()
    copied = copy.deepcopy(net)
    update_arrays(net, 0.1)
    assert all(len(layer.pending_state()) == 2 for layer in analog_layers(copied))
    update_arrays(copied, 0.1)
    assert _same(_state(net), _state(copied))
    assert all(isinstance(layer, AnalogLayer) for layer in analog_layers(copied))
