"""The geometry of a convolution: what its kernel sees of an image, and its products with it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor

from analogpipe.layer.base import LayerError
from analogpipe.tile.products import convolution_pays

Pair = int | tuple[int, int]


MODES = ("zeros", "reflect", "replicate", "circular")


def pair(key: str, value: object, least: int) -> tuple[int, int]:
    """Return the setting ``key`` for both directions, rows first.

    Raises:
        LayerError: it is no integer, or two, of ``least`` or more.
    """
    both = (value, value) if isinstance(value, int) else value
    if isinstance(both, Sequence) and len(both) in (1, 3) and key == "kernel_size":
        raise LayerError(
            f"kernel_size {both} is that of a Conv{len(both)}d, of which there is no analog layer; "
            "allowed: AnalogConv2d, with an integer or two"
        )
    if (
        not isinstance(both, Sequence)
        or len(both) != 2
        or not all(isinstance(part, int) and part >= least for part in both)
    ):
        raise LayerError(f"{key} is an integer or two, {least} or more, found {value!r}")
    return int(both[0]), int(both[1])


def channels_last(x: Tensor, dtype: torch.dtype) -> Tensor:
    """Return ``x`` (b, c, h, w) in a dtype, channel after channel of a pixel: the layout of the fastest
    convolutions."""
    return x.to(dtype, memory_format=torch.channels_last)


def split_padding(
    padding: Pair | str,
    mode: str,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    dilation: tuple[int, int],
) -> tuple[tuple[int, int], tuple[int, int, int, int]]:
    """Return the zeros that the convolution itself adds on both sides of rows and of columns, and what
    is to be added ahead of it: left, right, top, bottom.

    Raises:
        LayerError: nothing that :class:`torch.nn.Conv2d` knows.
    """
    if mode not in MODES:
        raise LayerError(f"padding_mode is one of {', '.join(MODES)}, found {mode!r}")
    before = after = (0, 0)
    if padding == "same":
        if stride != (1, 1):
            raise LayerError(f"padding 'same' needs stride 1, found {stride}")
        total = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
        before = (total[0] // 2, total[1] // 2)
        after = (total[0] - before[0], total[1] - before[1])
    elif padding != "valid":
        if isinstance(padding, str):
            raise LayerError(f"padding is an integer, two, 'same' or 'valid', found {padding!r}")
        before = after = pair("padding", padding, 0)
    if mode == "zeros" and before == after:
        return before, (0, 0, 0, 0)
    return (0, 0), (before[1], after[1], before[0], after[0])


@dataclass(frozen=True)
class Windows:
    """Kernel sizes, strides, zero padding and dilation, rows first; and groups of channels.

    A kernel is (out, in / groups, kh, kw). :meth:`largest` and :meth:`spread` are for thin maps, with
    one number per pixel and group: they take one direction after the other, tap by tap, which is
    several times faster than pooling or a convolution by ones.

    Products are formed in ``dtype`` where that pays (:mod:`analogpipe.tile.products`); their results
    are float32, channels last where it was another one.
    """

    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1

    def convolve(self, x: Tensor, kernel: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """Return the convolution of ``x`` (b, in, h, w), (b, out, h', w')."""
        options = self.stride, self.padding, self.dilation, self.groups
        if not self.pays(x.shape, kernel, dtype):
            return F.conv2d(x, kernel, None, *options)
        return self.low_convolution(channels_last(x, dtype), kernel).to(x.dtype)

    def low_convolution(self, x: Tensor, kernel: Tensor) -> Tensor:
        """Return the convolution of ``x``, of another dtype and with channels last, in that dtype."""
        options = self.stride, self.padding, self.dilation, self.groups
        return F.conv2d(x, kernel.to(x.dtype), None, *options)

    def input_gradient(
        self, e: Tensor, x: Tensor, kernel: Tensor, dtype: torch.dtype = torch.float32
    ) -> Tensor:
        """Return the gradient with respect to ``x``, of its shape, for that of the output, ``e``."""
        if self.pays(x.shape, kernel, dtype):
            return self.low_input_gradient(channels_last(e, dtype), x, kernel).to(e.dtype)
        return self._gradients(e, x, kernel, (True, False, False))[0]

    def low_input_gradient(self, e: Tensor, x: Tensor, kernel: Tensor) -> Tensor:
        """Return it for ``e`` of another dtype and with channels last, in that dtype."""
        # of x only the shape and the layout count
        like = torch.empty_like(x, dtype=e.dtype, memory_format=torch.channels_last)
        return self._gradients(e, like, kernel.to(e.dtype), (True, False, False))[0]

    def kernel_gradient(
        self, e: Tensor, x: Tensor, kernel: Tensor, dtype: torch.dtype = torch.float32
    ) -> Tensor:
        """Return the gradient with respect to the kernel, (out, columns)."""
        if self.pays(x.shape, kernel, dtype):
            e, x, kernel = channels_last(e, dtype), channels_last(x, dtype), kernel.to(dtype)
        gradient = self._gradients(e, x, kernel, (False, True, False))[1]
        return gradient.to(torch.float32).reshape(len(kernel), -1)

    def pays(self, shape: torch.Size, kernel: Tensor, dtype: torch.dtype) -> bool:
        """Whether the products with images of ``shape`` are to be formed in another ``dtype``."""
        if dtype == torch.float32:
            return False
        columns = prod(kernel.shape[1:])
        return convolution_pays(_positions(self, shape), columns, kernel.shape[0])

    def _gradients(
        self, e: Tensor, x: Tensor, kernel: Tensor, which: tuple[bool, bool, bool]
    ) -> tuple[Tensor, Tensor, Tensor]:
        spaces = self.stride, self.padding, self.dilation
        found: tuple[Tensor, Tensor, Tensor] = torch.ops.aten.convolution_backward(
            e, x, kernel, None, *spaces, False, (0, 0), self.groups, which
        )
        return found

    def unfold(self, x: Tensor) -> Tensor:
        """Return the patches that the kernel sees, (positions of all images, in kh kw)."""
        patches = F.unfold(x, self.kernel, self.dilation, self.padding, self.stride)
        return patches.transpose(1, 2).reshape(-1, patches.shape[1])

    def places(self, shape: torch.Size) -> tuple[int, int]:
        """Return rows and columns of the output for an image of ``shape`` (b, in, h, w)."""
        rows, columns = (
            (shape[2 + i] + 2 * self.padding[i] - self.dilation[i] * (self.kernel[i] - 1) - 1)
            // self.stride[i]
            + 1
            for i in (0, 1)
        )
        return rows, columns

    def by_group(self, x: Tensor) -> Tensor:
        """Return a view of ``x`` (b, c, h, w) as (b, groups, c / groups, h, w)."""
        return x.view(x.shape[0], self.groups, -1, *x.shape[2:])

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
        apart, stride = self.dilation[axis], self.stride[axis]
        last = x.shape[2 + axis] - apart * (self.kernel[axis] - 1)
        starts = [apart * i for i in range(self.kernel[axis])]
        steps = [slice(start, start + last, stride) for start in starts]
        return [x[:, :, step] if axis == 0 else x[:, :, :, step] for step in steps]


@lru_cache(maxsize=256)
def _positions(windows: Windows, shape: torch.Size) -> int:
    """Positions of all images."""
    return shape[0] * prod(windows.places(shape))
