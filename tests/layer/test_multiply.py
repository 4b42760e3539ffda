"""Models whose products are in bfloat16: digital and analog layers, and what stays as it is."""

import copy
import pickle

import pytest
import torch
from torch import nn

import analogpipe as ap
from analogpipe.layer.digital import BfloatConv2d, BfloatLinear
from analogpipe.seeds import generator
from analogpipe.tile import products
from analogpipe.tile.sections import MixedPrecisionConfig


@pytest.fixture
def however_small(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LEAST", "LEAST_OF_CONVOLUTION", "THINNEST", "FEWEST_POSITIONS"):
        monkeypatch.setattr(products, name, 0)


def _network(seed: int = 0) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(2, 6, 3, padding=1, groups=2),
            nn.BatchNorm2d(6),
            nn.Conv2d(6, 4, 3, stride=2, padding="valid", padding_mode="circular", bias=False),
            nn.Flatten(),
            nn.Linear(36, 8),
        )


def _flat() -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(128, 40))


X = torch.rand(3, 2, 8, 8, generator=generator(1))


@pytest.mark.usefixtures("however_small")
def test_a_digital_network_computes_the_same_but_for_the_rounding() -> None:
    plain, low = _network(), _network()
    ap.multiply_in(low, "bfloat16")
    assert [type(low[i]) for i in (0, 2, 4)] == [BfloatConv2d, BfloatConv2d, BfloatLinear]
    x, z = X.clone().requires_grad_(), X.clone().requires_grad_()
    y, w = plain(x), low(z)
    y.square().sum().backward()
    w.square().sum().backward()
    gradients = zip(plain.named_parameters(), low.parameters(), strict=True)
    pairs = {"output": (y, w), "input": (x.grad, z.grad)}
    pairs |= {name: (p.grad, q.grad) for (name, p), q in gradients}
    for name, (one, other) in pairs.items():
        assert other.dtype == torch.float32, name
        error = float(((one - other).norm() / one.norm()).detach())
        # the bias of a convolution before a norm has no gradient but rounding
        assert error < 0.02 or name == "0.bias", (name, error)
    assert not torch.equal(y, w)


@pytest.mark.usefixtures("however_small")
def test_a_single_image_and_rows_of_rows_fit() -> None:
    conv, linear = nn.Conv2d(2, 3, 3), nn.Linear(4, 5)
    x, rows = torch.rand(2, 6, 6), torch.rand(2, 3, 4)
    expected = conv(x), linear(rows)
    ap.multiply_in([conv, linear], "bfloat16")
    for one, other in zip(expected, (conv(x), linear(rows)), strict=True):
        torch.testing.assert_close(one, other, rtol=0.02, atol=0.02)


@pytest.mark.usefixtures("however_small")
def test_a_backward_pass_multiplies_by_the_weight_as_it_is_then() -> None:
    layer = nn.Linear(6, 5, bias=False)
    ap.multiply_in(layer, "bfloat16")
    x, e = torch.rand(4, 6, requires_grad=True), torch.rand(4, 5)
    y = layer(x)
    with torch.no_grad():
        layer.weight.data.mul_(2)
    y.backward(e)
    torch.testing.assert_close(x.grad, e @ layer.weight, rtol=0.02, atol=0.02)


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_the_mean_of_an_image_keeps_its_layout(layout: torch.memory_format) -> None:
    pools = nn.Sequential(nn.AdaptiveAvgPool2d(1)), nn.Sequential(nn.AdaptiveAvgPool2d(1))
    ap.multiply_in(pools[1], "bfloat16")
    gradients = []
    for pool in pools:
        x = torch.rand(3, 4, 5, 6, generator=generator(1)).contiguous(memory_format=layout)
        y = pool(x.requires_grad_())
        y.square().sum().backward()
        gradients.append(x.grad)
    assert torch.equal(*gradients)
    assert gradients[1].is_contiguous(memory_format=layout)
    larger = nn.AdaptiveAvgPool2d(2)
    expected = larger(x)
    ap.multiply_in(larger, "bfloat16")
    assert torch.equal(larger(x), expected)


def test_float32_takes_it_back() -> None:
    network = _network()
    expected = network(X)
    ap.multiply_in(network, "bfloat16")
    ap.multiply_in(network, "float32")
    assert [type(network[i]) for i in (0, 2, 4)] == [nn.Conv2d, nn.Conv2d, nn.Linear]
    assert torch.equal(network(X), expected)


def test_small_layers_stay_in_float32() -> None:
    network = _network()
    expected = network(X)
    ap.multiply_in(network, "bfloat16")
    torch.testing.assert_close(network(X), expected, rtol=1e-6, atol=1e-6)


def test_a_copy_and_a_pickle_keep_the_choice() -> None:
    analog = ap.to_analog(_network(), ap.TileConfig(), seed=0, strict=False)
    ap.multiply_in(analog, "bfloat16")
    for made in (copy.deepcopy(analog), pickle.loads(pickle.dumps(analog))):
        assert made[4].tile.array.multiplies_in == torch.bfloat16


RULES = {
    "pulsed": {},
    "mixed precision": {"mixed_precision": MixedPrecisionConfig()},
    "pair": {"device": {"kind": "one_sided"}},
    "tiki-taka": {"transfer": {"kind": "ttv2"}},
}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.usefixtures("however_small")
def test_seeds_and_numbers_are_those_of_float32(rule: str) -> None:
    """The same elements and the same noise in reads; and updates that use the format."""
    starts, reads, ends = [], [], []
    for name in ("float32", "bfloat16"):
        tile = ap.TileConfig.model_validate(RULES[rule])
        network = ap.to_analog(_flat(), tile, seed=0)
        ap.multiply_in(network, name)
        layer = network[1]
        starts.append(layer.weight.clone())
        optimizer = torch.optim.SGD(network.parameters(), 0.1)
        ap.train_arrays(optimizer, network)
        y = network(X)
        y.square().sum().backward()
        optimizer.step()
        reads.append(y.detach())
        ends.append([buffer.clone() for buffer in layer.tile.array.buffers()])
    assert torch.equal(*starts)
    # noise of another seed would differ by 8 %
    assert float((reads[0] - reads[1]).norm() / reads[0].norm()) < 0.02
    changed = not all(map(torch.equal, *ends))
    assert changed == (rule != "mixed precision")  # whose gradient is in float32


@pytest.mark.parametrize("bins", [0, 8])
@pytest.mark.usefixtures("however_small")
def test_a_gradient_of_mixed_precision_is_in_bfloat16_where_its_signals_are_quantised(
    bins: int,
) -> None:
    rule = MixedPrecisionConfig(
        n_x_bins=bins, n_d_bins=bins, stoc_round_x=False, stoc_round_d=False
    )
    gradients = []
    for name in ("float32", "bfloat16"):
        layer = ap.AnalogLinear(30, 20, ap.TileConfig(mixed_precision=rule), seed=0, name="layer")
        ap.multiply_in(layer, name)
        x = torch.rand(50, 30, generator=generator(1))
        e = torch.randn(50, 20, generator=generator(2))
        gradients.append(layer.tile.array.gradient(layer.wanted(x, e)))
    same = torch.equal(*gradients)
    assert same == (bins == 0)
    torch.testing.assert_close(*gradients, rtol=0.02, atol=0.1)


def test_a_wrong_format_is_named() -> None:
    with pytest.raises(ValueError, match="found 'half', allowed: float32, bfloat16"):
        ap.multiply_in(_network(), "half")
