import torch

from analogpipe.noise import UNIT, Uniform16, normal
from analogpipe.seeds import generator


def test_large_draws_are_standard_normal_and_uncorrelated() -> None:
    shape = torch.Size((999, 1001))  # an odd number: the last pair is cut
    x = normal(shape, torch.empty(0), generator(0)).double()
    assert x.shape == shape
    accuracy = 5 / x.numel() ** 0.5
    assert abs(float(x.mean())) < accuracy
    assert abs(float(x.var()) - 1) < accuracy * 2**0.5
    assert abs(float((x**4).mean()) - 3) < accuracy * 96**0.5
    neighbours, squares = x.flatten()[:-1] * x.flatten()[1:], x.flatten() ** 2 - 1
    assert abs(float(neighbours.mean())) < accuracy + 2e-3
    assert abs(float((squares[:-1] * squares[1:]).mean())) < 2 * accuracy + 1e-2
    ordered = x.flatten().sort().values
    chances = (torch.arange(x.numel()) + 0.5) / x.numel()
    gap = (torch.special.ndtr(ordered) - chances).abs().max()
    assert float(gap) < 2 / x.numel() ** 0.5  # Kolmogorov-Smirnov, significance 7e-4


def test_draws_follow_from_the_stream() -> None:
    shape = torch.Size((100, 100))
    first = normal(shape, torch.empty(0), generator(0, "noise")).clone()
    assert torch.equal(first, normal(shape, torch.empty(0), generator(0, "noise")))
    assert not torch.equal(first, normal(shape, torch.empty(0), generator(1, "noise")))


def test_uniform_numbers_have_unit_variance() -> None:
    x = Uniform16(torch.empty(500, 501)).draw(generator(0)).double() * UNIT
    assert abs(float(x.mean())) < 5 / x.numel() ** 0.5
    assert abs(float(x.var()) - 1) < 5 * 0.8**0.5 / x.numel() ** 0.5
