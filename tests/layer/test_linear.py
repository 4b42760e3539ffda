import copy
import pickle

import pytest
import torch
from torch import nn

from analogpipe.layer.linear import AnalogLinear
from analogpipe.tile.config import TileConfig, digital

ANALOG = TileConfig()


def test_a_digital_tile_trains_like_torch() -> None:
    layer = AnalogLinear(4, 3, digital(), seed=0, name="layer")
    twin = nn.Linear(4, 3)
    twin.weight.data.copy_(layer.tile.weight)
    twin.bias.data.copy_(layer.bias)  # type: ignore[arg-type]
    x = torch.randn(2, 5, 4)
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    layer(ours).square().sum().backward()
    twin(theirs).square().sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad)
    torch.testing.assert_close(layer.bias.grad, twin.bias.grad)  # type: ignore[union-attr]
    layer.update(0.1)
    torch.testing.assert_close(layer.tile.weight, twin.weight.data - 0.1 * twin.weight.grad)
    assert layer.pending_state() == []


def test_backward_reads_the_array_as_it_is_then() -> None:
    layer = AnalogLinear(3, 2, digital(), bias=False, seed=0, name="layer")
    x = torch.randn(1, 3, requires_grad=True)
    y = layer(x)
    layer.tile.weight.mul_(2)
    y.sum().backward()
    torch.testing.assert_close(x.grad, layer.tile.weight.sum(0, keepdim=True))


def test_updates_come_in_order_and_once() -> None:
    first = AnalogLinear(3, 2, digital(), bias=False, seed=0, name="layer")
    for _ in range(2):
        first(torch.ones(1, 3)).sum().backward()
    pending = first.pending_state()
    assert len(pending) == 4
    second = AnalogLinear(3, 2, digital(), bias=False, seed=0, name="layer")
    second.load_pending(pending)
    first.update(0.1)
    second.update(0.1)
    torch.testing.assert_close(first.tile.weight, second.tile.weight)
    before = first.tile.weight.clone()
    first.update(0.1)
    assert torch.equal(before, first.tile.weight)


def test_a_layer_resumes_exactly_from_its_state() -> None:
    def step(layer: AnalogLinear) -> None:
        x = torch.randn(4, 6, generator=torch.Generator().manual_seed(1))
        layer(x).square().sum().backward()
        layer.update(0.1)

    straight = AnalogLinear(6, 5, ANALOG, seed=3, name="layer")
    step(straight)
    state = {key: value.clone() for key, value in straight.state_dict().items()}
    step(straight)
    resumed = AnalogLinear(6, 5, ANALOG, seed=3, name="layer")
    resumed.load_state_dict(state)
    step(resumed)
    assert torch.equal(straight.tile.weight, resumed.tile.weight)


def test_evaluation_leaves_the_training_noise_untouched() -> None:
    x = torch.randn(4, 6)
    one, two = (AnalogLinear(6, 5, ANALOG, seed=3, name="layer") for _ in range(2))
    one.eval()
    one(x)
    one.train()
    assert torch.equal(one(x), two(x))


def test_layers_of_other_names_differ() -> None:
    one, two = (AnalogLinear(6, 5, ANALOG, seed=3, name=name) for name in ("a", "b"))
    assert not torch.equal(one.tile.weight, two.tile.weight)


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="at least one input"):
        AnalogLinear(0, 5, ANALOG, seed=0, name="layer")
    with pytest.raises(ValueError, match="even number"):
        AnalogLinear(2, 5, ANALOG, seed=0, name="layer").load_pending([torch.zeros(1)])


def test_an_analog_bias_is_a_column_with_input_one() -> None:
    layer = AnalogLinear(4, 3, ANALOG, bias="analog", seed=0, name="layer")
    assert layer.tile.weight.shape == (3, 5)
    assert [p.numel() for p in layer.parameters()] == [0]  # its anchor
    twin = AnalogLinear(5, 3, ANALOG, bias=False, seed=0, name="layer")
    twin.tile.weight.copy_(layer.tile.weight)
    x = torch.randn(6, 4) * 0.1
    ours, theirs = (x.clone().requires_grad_() for _ in range(2))
    y, expected = layer(ours), twin(torch.cat([theirs, torch.ones(6, 1)], 1))
    assert torch.equal(y, expected)
    y.square().sum().backward()
    expected.square().sum().backward()
    assert torch.equal(ours.grad, theirs.grad)  # type: ignore[arg-type]
    layer.update(0.01)
    twin.update(0.01)
    assert torch.equal(layer.tile.weight, twin.tile.weight)


def test_an_analog_bias_on_a_digital_tile_trains_like_torch() -> None:
    layer = AnalogLinear(4, 3, digital(), bias="analog", seed=0, name="layer")
    twin = nn.Linear(4, 3)
    twin.weight.data.copy_(layer.tile.weight[:, :-1])
    twin.bias.data.copy_(layer.tile.weight[:, -1])
    x = torch.randn(5, 4)
    layer(x).square().sum().backward()
    twin(x).square().sum().backward()
    layer.update(0.1)
    torch.testing.assert_close(layer.tile.weight[:, -1], twin.bias.data - 0.1 * twin.bias.grad)


def test_an_unknown_bias_is_named() -> None:
    with pytest.raises(ValueError, match="found 'array'"):
        AnalogLinear(4, 3, ANALOG, bias="array", seed=0, name="layer")  # type: ignore[arg-type]


def _step(layer: AnalogLinear) -> torch.Tensor:
    before = layer.tile.weight.clone()
    layer(torch.ones(4, 6)).square().sum().backward()
    layer.update(0.1)
    return layer.tile.weight - before


def test_a_copy_of_a_trained_layer_trains_on() -> None:
    layer = AnalogLinear(6, 3, TileConfig(), seed=0, name="a")
    _step(layer)
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        kept = layer.tile.weight.clone()
        assert _step(other).abs().min() > 0
        assert torch.equal(layer.tile.weight, kept)


def test_autograd_notices_an_update_of_the_weight_that_it_saved() -> None:
    layer = AnalogLinear(6, 3, TileConfig(), seed=0, name="a")
    factor = torch.ones(3, 6, requires_grad=True)
    loss = (layer.tile.weight * factor).sum()
    _step(layer)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_a_backward_pass_under_autocast_reads_in_full_precision() -> None:
    layer = AnalogLinear(6, 3, TileConfig(), seed=0, name="a")
    x = torch.ones(4, 6, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        layer(x).square().sum().backward()
    assert x.grad is not None
    assert x.grad.dtype == torch.float32
