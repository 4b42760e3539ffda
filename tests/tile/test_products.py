"""Products in bfloat16: what is rounded, when, and that the rounding does not show beside the noise."""

import copy
from collections.abc import Callable

import pytest
import torch
from scipy import stats
from torch import Tensor

from analogpipe.device.parameters import ConstantStep
from analogpipe.device.response import draw
from analogpipe.layer.convolution import AnalogConv2d
from analogpipe.seeds import generator
from analogpipe.tile import products, update
from analogpipe.tile.config import TileConfig
from analogpipe.tile.kernels import compiled
from analogpipe.tile.products import convolution_pays, dtype_of, mm, pays
from analogpipe.tile.read import read as read_of
from analogpipe.tile.sections import ReadoutConfig, UpdateConfig
from analogpipe.tile.tile import AnalogTile
from analogpipe.tile.update import Updater

FORMATS = torch.float32, torch.bfloat16
DEVICE = ConstantStep(dw_min=1e-4, w_max=9, w_min=-9, dw_min_dtod=0, up_down_dtod=0)
TILE = TileConfig(device=DEVICE)


def coarse(x: Tensor) -> Tensor:
    """Round to four significant bits."""
    fraction, exponent = torch.frexp(x)
    return torch.ldexp((fraction * 16).round() / 16, exponent)


def pulls(one: Tensor, other: Tensor, wanted: Tensor) -> dict[str, float]:
    """How many standard errors two samples of residuals are apart in their mean, in their variance and
    in what they have of ``wanted``; and of their largest distance the normal quantile."""
    a, b, size = one.double().flatten(), other.double().flatten(), one.numel()
    scale = a.std()
    a, b, w = a / scale, b / scale, wanted.double().flatten()
    w = (w - w.mean()) / w.std()
    kurtosis = float((a - a.mean()).pow(4).mean() / a.var() ** 2)
    chance = stats.ks_2samp(a.numpy(), b.numpy(), method="asymp").pvalue
    return {
        "mean": float(a.mean() - b.mean()) / (2 / size) ** 0.5,
        "variance": float(b.var() / a.var() - 1) / (2 * (kurtosis - 1) / size) ** 0.5,
        "slope": float((w * (a - b)).mean()) / (2 / size) ** 0.5,
        "distribution": float(stats.norm.isf(max(chance, 1e-300) / 2)),
    }


def updated(dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """What is left of the change of a matrix beside the wanted one, and that (400, 512)."""
    x = torch.rand(64, 512, generator=generator(1))
    e = (
        torch.rand(64, 400, generator=generator(2)) * 0.01
    )  # of one sign: most pulses for their noise
    weight = torch.zeros(400, 512)
    response = draw(DEVICE, (400, 512), generator(0))
    stream = generator(0, f"update {dtype}")
    Updater(weight, response, 1e-4, UpdateConfig(), stream, dtype=dtype).apply(x, e, 0.3)
    wanted = -0.3 * e.double().t() @ x.double()
    return weight - wanted, wanted


def read(dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """The same of 500 reads (500, 400)."""
    x = torch.rand(500, 512, generator=generator(1)) - 0.5
    tile = AnalogTile(
        torch.randn(400, 512, generator=generator(2)) * 0.1, TILE, seed=0, name="tile"
    )
    tile.multiply_in(dtype)
    tile.streams["forward"].manual_seed(int(dtype == torch.bfloat16))
    wanted = x.double() @ tile.weight.double().t()
    return tile.read_forward(x) - wanted, wanted


def layer_of(dtype: torch.dtype, inputs: int, outputs: int) -> AnalogConv2d:
    layer = AnalogConv2d(inputs, outputs, 3, TILE, padding=1, bias=False, seed=0, name="layer")
    layer.set_weight(torch.randn(layer.shape, generator=generator(3)) * 0.1)
    layer.tile.multiply_in(dtype)
    for stream in ("forward", "backward", "update"):
        layer.tile.streams[stream].manual_seed(int(dtype == torch.bfloat16))
    return layer


def convolved(dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """The same of a convolution (4, 50, 32, 32)."""
    layer = layer_of(dtype, 16, 50)
    x = torch.rand(4, 16, 32, 32, generator=generator(1)) - 0.5
    wanted = layer.windows.convolve(x.double(), layer.matrix().double())
    return layer.read_forward(x) - wanted, wanted


def convolved_back(dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """The same of a convolution's backward read (4, 50, 32, 32)."""
    layer = layer_of(dtype, 50, 16)
    x = torch.rand(4, 50, 32, 32)
    e = torch.randn(4, 16, 32, 32, generator=generator(1))
    wanted = layer.windows.input_gradient(e.double(), x.double(), layer.matrix().double())
    return layer.read_backward(e, x) - wanted, wanted


def convolution_updated(dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """The same of a convolution's update (128, 1575)."""
    layer = layer_of(dtype, 175, 128)
    x = torch.rand(4, 175, 8, 8, generator=generator(1))
    e = torch.rand(4, 128, 8, 8, generator=generator(2)) * 0.01
    before = layer.tile.weight.clone()
    layer.apply_update(x, e, 0.1)
    wanted = -0.1 * layer.windows.kernel_gradient(e.double(), x.double(), layer.matrix().double())
    return layer.tile.weight - before - wanted, wanted


@pytest.mark.parametrize("of", [updated, read, convolved, convolved_back, convolution_updated])
def test_200_000_elements_show_no_difference(of: Callable[..., tuple[Tensor, Tensor]]) -> None:
    (ours, wanted), (low, _) = of(FORMATS[0]), of(FORMATS[1])
    assert ours.numel() >= 200_000
    assert not torch.equal(ours, low)
    found = pulls(ours, low, wanted)
    # four tests of five samples, each with 4 standard errors: 1e-3 in all
    assert max(map(abs, found.values())) < 4, found


def test_four_bits_would_show(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the tests before would find in sums of four bits; changed alone, they are found."""
    exact, wanted = read(FORMATS[0])
    noise = exact + wanted - (coarse(wanted.float()).double())
    assert pulls(exact, noise, wanted)["variance"] > 10
    plain, wanted = updated(FORMATS[0])
    monkeypatch.setattr(update, "mm", lambda a, b, dtype, out: out.copy_(coarse(torch.mm(a, b))))
    found = pulls(plain, updated(FORMATS[1])[0], wanted)
    assert found["variance"] > 10, found


def test_both_factors_and_the_sum_are_rounded_and_nothing_else() -> None:
    a = torch.randn(128, 300, generator=generator(1))
    b = torch.randn(300, 100, generator=generator(2))
    low = mm(a, b, torch.bfloat16)
    assert low.dtype == torch.float32
    sums = a.bfloat16().double() @ b.bfloat16().double()
    torch.testing.assert_close(low.double(), sums, rtol=2**-8, atol=1e-4)  # sums of float32
    space = torch.empty(128, 100)
    assert mm(a, b, torch.bfloat16, out=space) is space
    assert torch.equal(space, low)
    assert torch.equal(mm(a, b, torch.float32), torch.mm(a, b))


def test_levels_of_a_converter_are_exact() -> None:
    levels = torch.arange(-63.0, 64.0).repeat(400, 4)
    ones = torch.eye(508)
    assert torch.equal(mm(levels, ones, torch.bfloat16), levels)


def test_small_products_stay_in_float32() -> None:
    assert not pays(64, 64, 64)
    assert not pays(1, 4096, 4096)
    assert not pays(4096, 1, 4096)
    assert pays(64, 784, 256)
    assert not convolution_pays(64 * 10, 9, 64)
    assert not convolution_pays(128, 2304, 256)
    assert convolution_pays(16 * 1024, 576, 64)
    a, b = torch.randn(64, 64), torch.randn(64, 64)
    assert torch.equal(mm(a, b, torch.bfloat16), torch.mm(a, b))


def test_a_read_of_whole_levels_rounds_the_weights_alone() -> None:
    config = ReadoutConfig(out_noise=0, out_res=0, out_bound=0)
    x = torch.randint(-63, 64, (60, 508), generator=generator(1)).float()
    x[:, 0] = 63.0
    weight = torch.randn(508, 100, generator=generator(2)).bfloat16().float()
    ours = read_of(x, weight, config, generator(0), compiled)
    low = read_of(x, weight, config, generator(0), compiled, torch.bfloat16)
    torch.testing.assert_close(low, ours, rtol=2**-8, atol=1e-3)
    # only the sums were rounded: to even, so that half of all errors are up
    up = float((low > ours).float().mean())
    assert up == pytest.approx(0.5, abs=0.03)


def test_a_wrong_format_is_named() -> None:
    with pytest.raises(ValueError, match=r"found 'float16', allowed: float32, bfloat16"):
        dtype_of("float16")


@pytest.mark.parametrize("fast", [True, False])
def test_a_cpu_without_the_instructions_is_told_once(
    fast: bool, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    found = {"avx512_bf16": fast, "amx_bf16": False}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found)
    products._warn_if_slow.cache_clear()
    for _ in range(2):
        dtype_of("bfloat16")
    dtype_of("float32")
    products._warn_if_slow.cache_clear()
    slow = [str(one.message) for one in recwarn if "bfloat16 will be slow" in str(one.message)]
    assert len(slow) == (0 if fast else 1)


def test_a_copy_keeps_its_format_and_the_state_names_none() -> None:
    tile = AnalogTile(torch.randn(20, 30), TILE, seed=0, name="tile")
    keys = set(tile.state_dict())
    tile.multiply_in(torch.bfloat16)
    assert copy.deepcopy(tile).array.multiplies_in == torch.bfloat16
    assert set(tile.state_dict()) == keys
