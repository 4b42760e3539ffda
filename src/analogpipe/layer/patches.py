"""The windows that a convolution's kernel sees of an image, for maps of one number per pixel."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

Pair = int | tuple[int, int]


def pair(value: Pair) -> tuple[int, int]:
    """Return ``value`` for both directions, rows first."""
    return (value, value) if isinstance(value, int) else (value[0], value[1])


@dataclass(frozen=True)
class Windows:
    """Kernel sizes, strides and zero padding, rows first.

    Both methods take one direction after the other, tap by tap: for such thin maps that is several
    times faster than pooling or a convolution by ones.
    """

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]

    def largest(self, x: Tensor) -> Tensor:
        """Return the largest of ``x`` (b, c, h, w), not negative, in each window, (b, c, h', w')."""
        rows, columns = self.padding
        if rows or columns:
            x = F.pad(x, (columns, columns, rows, rows))
        for axis in (0, 1):
            first, *others = self._taps(x, axis)
            x = first
            for tap in others:
                x = torch.maximum(x, tap)
        return x

    def spread(self, x: Tensor, shape: torch.Size) -> Tensor:
        """Return for each pixel of ``shape`` (b, c, h, w) the sum of ``x`` (b, c, h', w') over the
        windows that hold it, (b, c, h, w)."""
        rows, columns = self.padding
        height, width = shape[2] + 2 * rows, shape[3] + 2 * columns
        for axis, size in ((1, (*x.shape[2:3], width)), (0, (height, width))):
            grown = x.new_zeros((*x.shape[:2], *size))
            for tap in self._taps(grown, axis):
                tap.add_(x)
            x = grown
        return x[:, :, rows : height - rows, columns : width - columns]

    def _taps(self, x: Tensor, axis: int) -> list[Tensor]:
        """Views of ``x``: the i-th holds what the i-th tap of the kernel sees along an axis."""
        kernel, stride = self.kernel[axis], self.stride[axis]
        last = x.shape[2 + axis] - kernel
        steps = [slice(i, i + last + 1, stride) for i in range(kernel)]
        return [x[:, :, step] if axis == 0 else x[:, :, :, step] for step in steps]
