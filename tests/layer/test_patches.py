import pytest
import torch
import torch.nn.functional as F

from analogpipe.layer.patches import Windows
from analogpipe.seeds import generator

SHAPES = [((3, 3), (1, 1), (1, 1)), ((3, 2), (2, 1), (0, 1)), ((1, 1), (2, 2), (0, 0))]


@pytest.mark.parametrize(("kernel", "stride", "padding"), SHAPES)
def test_windows_are_those_of_pooling_and_convolution(kernel, stride, padding) -> None:
    windows = Windows(kernel, stride, padding)
    x = torch.rand(2, 3, 8, 7, generator=generator(0))
    area = kernel[0] * kernel[1]
    patches = F.unfold(x, kernel, padding=padding, stride=stride).view(2, 3, area, -1)
    largest = windows.largest(x)
    torch.testing.assert_close(largest.flatten(2), patches.amax(2))
    y = torch.rand(largest.shape, generator=generator(1))
    copies = y.flatten(2).repeat_interleave(area, 1)
    expected = F.fold(copies, (8, 7), kernel, padding=padding, stride=stride)
    torch.testing.assert_close(windows.spread(y, x.shape), expected)
