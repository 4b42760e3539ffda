import pytest
import torch
from torch import nn

from analogpipe.device.parameters import SoftBounds
from analogpipe.layer.convolution import AnalogConv2d
from analogpipe.layer.linear import AnalogLinear
from analogpipe.seeds import generator
from analogpipe.tile.config import TileConfig, digital
from analogpipe.tile.sections import ReadoutConfig, UpdateConfig

PLAIN = {"dw_min_dtod": 0, "w_max_dtod": 0, "w_min_dtod": 0, "up_down_dtod": 0}
SHAPES = [
    {"stride": 1, "padding": 0, "groups": 1},
    {"stride": 2, "padding": 1, "groups": 1},
    {"stride": (1, 2), "padding": (0, 1), "groups": 2},
]


@pytest.mark.parametrize("shape", SHAPES)
def test_a_digital_tile_trains_like_torch(shape: dict) -> None:
    layer = AnalogConv2d(4, 6, 3, digital(), seed=0, name="layer", **shape)
    twin = nn.Conv2d(4, 6, 3, **shape)
    twin.weight.data.copy_(layer.matrix())
    twin.bias.data.copy_(layer.bias)
    x = torch.randn(2, 4, 7, 8)
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    layer(ours).square().sum().backward()
    twin(theirs).square().sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad)
    torch.testing.assert_close(layer.bias.grad, twin.bias.grad)
    layer.update(0.1)
    torch.testing.assert_close(layer.matrix(), twin.weight.data - 0.1 * twin.weight.grad)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_mean_update_counts_every_position(shape: dict) -> None:
    """Against the sum over patches of the mean dynamics: D - |D| w / tau for each."""
    tile = TileConfig(device=SoftBounds(dw_min=1e-3, **PLAIN), update=UpdateConfig(rule="mean"))
    layer = AnalogConv2d(4, 6, 3, tile, seed=0, name="layer", **shape)
    groups = shape["groups"]
    x = torch.randn(2, 4, 7, 8, generator=generator(1))
    e = torch.randn(layer.windows.convolve(x, layer.matrix()).shape, generator=generator(2))
    lr = 1e-4
    before = layer.tile.weight.clone()
    layer.apply_update(x, e, lr)
    expected = before.clone()
    patches = nn.functional.unfold(x, 3, padding=shape["padding"], stride=shape["stride"])
    for group in range(groups):
        inputs = patches.view(2, groups, -1, patches.shape[2])[:, group]
        errors = e.flatten(2).view(2, groups, -1, patches.shape[2])[:, group]
        wanted = -lr * torch.einsum("bip,bop->oi", inputs, errors)
        activity = lr * torch.einsum("bip,bop->oi", inputs.abs(), errors.abs())
        rows = slice(group * 6 // groups, (group + 1) * 6 // groups)
        expected[rows] += wanted - activity * before[rows] / 0.6
    torch.testing.assert_close(layer.tile.weight, expected, atol=1e-6, rtol=1e-3)


@pytest.mark.usefixtures("in_both_formats")
def test_pulsed_agrees_with_the_trains_of_its_patches() -> None:
    x = torch.rand(2, 3, 6, 6, generator=generator(1))
    e = torch.randn(2, 40, 4, 4, generator=generator(2)) * 0.05
    changes = {}
    for rule in ("pulsed", "pulse_train"):
        device = SoftBounds(dw_min=1e-3, **PLAIN)
        tile = TileConfig(device=device, update=UpdateConfig(rule=rule))  # type: ignore[arg-type]
        repeats = []
        for seed in range(20):
            layer = AnalogConv2d(3, 40, 3, tile, bias=False, seed=seed, name="layer")
            layer.tile.weight.zero_()
            layer.apply_update(x, e, 0.1)
            repeats.append(layer.tile.weight.clone())
        changes[rule] = torch.stack(repeats)
    ours, trains = changes["pulsed"], changes["pulse_train"]
    # 1080 elements of 20 repeats each: means have a relative error of 1 / sqrt(20), spreads,
    # averaged over all elements, of 1 / sqrt(2 * 19 * 1080) = 0.5 % (more, as lines are shared)
    spread = trains.std(0)
    pull = (ours.mean(0) - trains.mean(0)) / (spread * (2 / 20) ** 0.5)
    assert float(pull.square().mean().sqrt()) == pytest.approx(1, abs=0.15)
    assert float(ours.var(0).mean() / trains.var(0).mean()) == pytest.approx(1, abs=0.1)


@pytest.mark.usefixtures("in_both_formats")
def test_the_read_out_noise_is_that_of_reads_patch_by_patch() -> None:
    quiet = ReadoutConfig(out_noise=0.0, inp_res=0, out_res=0)
    noisy = ReadoutConfig(out_noise=0.1, inp_res=0, out_res=0, bound_management="none")
    tile = TileConfig(forward=noisy, backward=noisy)
    layer = AnalogConv2d(2, 300, 3, tile, padding=1, bias=False, seed=0, name="layer")
    x = torch.rand(1, 2, 5, 5, generator=generator(1))
    noise = (layer.read_forward(x) - layer.windows.convolve(x, layer.matrix()))[0]
    patches = nn.functional.unfold(x, 3, padding=1)
    expected = 0.1 * patches.amax(1).view(5, 5)
    torch.testing.assert_close(noise.std(0), expected, rtol=0.2, atol=0)
    wide = AnalogConv2d(300, 2, 3, tile, padding=1, bias=False, seed=0, name="layer")
    x = torch.rand(1, 300, 5, 5)
    e = torch.randn(1, 2, 5, 5, generator=generator(2))
    noise = (wide.read_backward(e, x) - wide.windows.input_gradient(e, x, wide.matrix()))[0]
    tops = e.abs().amax(1, keepdim=True).square()
    fold = nn.functional.conv2d(tops, torch.ones(1, 1, 3, 3), padding=1)
    torch.testing.assert_close(noise.std(0), 0.1 * fold.sqrt()[0, 0], rtol=0.2, atol=0)
    assert quiet.out_noise == 0


def test_bound_management_reads_a_saturated_position_again() -> None:
    config = ReadoutConfig(out_noise=0, inp_res=0)
    tile = TileConfig(device=digital().device, forward=config)
    layer = AnalogConv2d(1, 1, 1, tile, bias=False, seed=0, name="layer")
    layer.tile.weight.fill_(40.0)
    y = layer.read_forward(torch.tensor([[[[1.0, 0.5]]]]))
    torch.testing.assert_close(y.flatten(), torch.tensor([40.0, 20.0]), rtol=0, atol=0.1)


def test_wrong_groups_are_named() -> None:
    with pytest.raises(ValueError, match="3 groups"):
        AnalogConv2d(4, 6, 3, digital(), groups=3, seed=0, name="layer")


@pytest.mark.parametrize("shape", SHAPES)
def test_an_analog_bias_on_a_digital_tile_trains_like_torch(shape: dict) -> None:
    layer = AnalogConv2d(4, 6, 3, digital(), bias="analog", seed=0, name="layer", **shape)
    twin = nn.Conv2d(4, 6, 3, **shape)
    twin.weight.data.copy_(layer.matrix())
    twin.bias.data.copy_(layer.tile.weight[:, -1])
    x = torch.randn(2, 4, 7, 8)
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    y, expected = layer(ours), twin(theirs)
    torch.testing.assert_close(y, expected)
    y.square().sum().backward()
    expected.square().sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad)
    layer.update(0.1)
    torch.testing.assert_close(layer.matrix(), twin.weight.data - 0.1 * twin.weight.grad)
    torch.testing.assert_close(layer.tile.weight[:, -1], twin.bias.data - 0.1 * twin.bias.grad)


def test_an_analog_bias_is_read_and_updated_as_in_a_linear_layer() -> None:
    """One output position: the patch is the image, so both layers do the same."""
    quiet = ReadoutConfig(out_noise=0)
    tile = TileConfig(
        device=SoftBounds(dw_min=1e-3, **PLAIN),
        update=UpdateConfig(rule="mean"),
        forward=quiet,
        backward=quiet,
    )
    conv = AnalogConv2d(2, 5, 3, tile, bias="analog", seed=0, name="layer")
    linear = AnalogLinear(18, 5, tile, bias="analog", seed=0, name="layer")
    assert torch.equal(conv.tile.weight, linear.tile.weight)
    x = torch.randn(4, 2, 3, 3) * 0.3
    ours, theirs = conv(x), linear(x.flatten(1))
    torch.testing.assert_close(ours.flatten(1), theirs)
    e = torch.randn(4, 5) * 0.1
    ours.backward(e.view(4, 5, 1, 1))
    theirs.backward(e)
    conv.update(0.1)
    linear.update(0.1)
    torch.testing.assert_close(conv.tile.weight, linear.tile.weight)
