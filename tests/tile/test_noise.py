import pytest
import torch

from analogpipe.seeds import generator
from analogpipe.tile.kernels import compiled, plain
from analogpipe.tile.kernels.backend import Kernels
from analogpipe.tile.noise import UNIT, Fill, Uniform16


def test_large_draws_are_standard_normal_and_uncorrelated() -> None:
    shape = torch.Size((999, 1001))
    x = compiled.normal(shape, torch.empty(0), generator(0)).double()
    assert x.shape == shape
    accuracy = 5 / x.numel() ** 0.5
    assert abs(float(x.mean())) < accuracy
    assert abs(float(x.var()) - 1) < accuracy * 2**0.5
    assert abs(float((x**4).mean()) - 3) < accuracy * 96**0.5 + 0.005
    assert abs(float((x.abs() > 3).double().mean()) / 2.6998e-3 - 1) < 0.02 + 5 / 2700**0.5
    neighbours, squares = x.flatten()[:-1] * x.flatten()[1:], x.flatten() ** 2 - 1
    assert abs(float(neighbours.mean())) < accuracy
    assert abs(float((squares[:-1] * squares[1:]).mean())) < 2 * accuracy
    ordered = x.flatten().sort().values
    chances = (torch.arange(x.numel()) + 0.5) / x.numel()
    gap = (torch.special.ndtr(ordered) - chances).abs().max()
    assert float(gap) < 2 / x.numel() ** 0.5  # Kolmogorov-Smirnov, significance 7e-4


def test_draws_follow_from_the_stream() -> None:
    shape = torch.Size((100, 100))
    first = compiled.normal(shape, torch.empty(0), generator(0, "noise")).clone()
    assert torch.equal(first, compiled.normal(shape, torch.empty(0), generator(0, "noise")))
    assert not torch.equal(first, compiled.normal(shape, torch.empty(0), generator(1, "noise")))


@pytest.mark.parametrize("kernels", [compiled, plain])
def test_noise_is_added_in_place(kernels: Kernels) -> None:
    y = torch.full((501, 403), 2.0)
    assert kernels.add_normal(y, 0.5, generator(0)) is y
    assert float(y.mean()) == pytest.approx(2, abs=2.5 / y.numel() ** 0.5)
    assert float(y.std()) == pytest.approx(0.5, abs=2 / y.numel() ** 0.5)


@pytest.mark.parametrize("change", [torch.Tensor.t, lambda y: y[:, :200]])
def test_noise_reaches_a_view_of_any_layout(change) -> None:
    y = torch.zeros(500, 400)
    view = change(y)
    assert not view.is_contiguous()
    compiled.add_normal(view, 2.0, generator(0))
    assert float(change(y).std()) == pytest.approx(2, rel=0.02)


@pytest.mark.parametrize("fill", [compiled.fill, plain.fill])
def test_uniform_numbers_have_unit_variance(fill: Fill) -> None:
    x = Uniform16(torch.empty(500, 501), fill).draw(generator(0)).double() * UNIT
    assert abs(float(x.mean())) < 5 / x.numel() ** 0.5
    assert abs(float(x.var()) - 1) < 5 * 0.8**0.5 / x.numel() ** 0.5
