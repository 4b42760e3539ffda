"""The change that a convolution wants of its array: every output position is a sample.

Nothing here loops over positions: one gradient of the signals and one of their sizes count the pulses
of all, and pulse trains are as long as maps of the largest signal under each position say.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from analogpipe.layer.base import with_one
from analogpipe.layer.patches import Windows
from analogpipe.tile.change import Products, Rounding
from analogpipe.tile.kernels import pixels
from analogpipe.tile.mapping import along
from analogpipe.tile.scratch import scratch
from analogpipe.tile.sections import UpdateConfig

_TINY = 1e-30


@dataclass(frozen=True)
class Positions:
    """Inputs x (b, in, h, w) and error signals e (b, out, h', w') of a convolution by ``kernel``."""

    x: Tensor
    e: Tensor
    windows: Windows
    kernel: Tensor
    """Its shape is all that counts."""
    analog_bias: bool
    """Whether the last column of the array is a bias, with input 1."""
    by_pixels: bool = False
    """Whether products in bfloat16 are made pixel by pixel (:mod:`analogpipe.tile.kernels.pixels`)."""

    def add_to(self, matrix: Tensor, factor: float, dtype: torch.dtype) -> None:
        """Add ``factor`` times the gradient for the array to ``matrix`` in place."""
        matrix.add_(self._gradient(self.e, self.x, dtype), alpha=factor)

    def gradient(self, dtype: torch.dtype) -> Tensor:
        """Return the gradient for the array."""
        return self._gradient(self.e, self.x, dtype)

    def over(self, scale: Tensor) -> "Positions":
        """Divide the error signals by ``scale``."""
        return replace(self, e=self.e / along(scale, self.e))

    def rounded(self, of_x: Rounding, of_e: Rounding) -> "Positions":
        """Round the inputs image by image (they lie in many patches), the errors position by
        position."""
        axes = (1, 2, 3)
        return replace(self, x=of_x(self.x, axes), e=of_e(self.e, axes[:1]))

    def samples(self) -> tuple[Tensor, Tensor]:
        """Return the patches and their error signals, one row for each position; for one group."""
        patches = self.windows.unfold(self.x)
        patches = with_one(patches) if self.analog_bias else patches
        return patches, self.e.flatten(2).transpose(1, 2).reshape(-1, self.e.shape[1])

    def products(
        self, lr: float, granularity: float, config: UpdateConfig, dtype: torch.dtype
    ) -> Products | None:
        """Return the expected pulses; None where they are not given by two gradients.

        As :meth:`analogpipe.tile.kernels.backend.Kernels.condition`, with positions for samples, and
        scaled only after the products.
        """
        if config.fires_samples:
            return None
        if self.by_pixels and dtype == torch.bfloat16:
            return self._low_products(lr, granularity, config)
        x, e, g = self.x, self.e, granularity
        x_sizes = torch.abs(x, out=scratch("x_sizes", x.shape, x))
        e_sizes = torch.abs(e, out=scratch("e_sizes", e.shape, e))
        x_top = self._top(x_sizes)
        needed = self.windows.by_group(e_sizes).amax(2).mul_(x_top).mul_(lr / g)
        limit, longest = config.desired_bl, float(needed.max())
        if longest > limit:
            bound = (limit * g / lr / x_top.clamp_min(_TINY)).unsqueeze(2)
            clipped, by_group = scratch("clipped", e.shape, e), self.windows.by_group
            torch.clamp(by_group(e), -bound, bound, out=by_group(clipped))
            e = clipped
            torch.abs(e, out=e_sizes)
        lengths = None if longest <= 1 else needed.ceil_().clamp_(1, limit)
        if not config.update_bl_management:
            lengths = needed.fill_(limit)
        wanted = self._gradient(e, x, dtype).mul_(-lr / (2 * g))
        activity = self._gradient(e_sizes, x_sizes, dtype).mul_(lr / (2 * g))
        of_rows, of_columns = self._chances(x_sizes, e_sizes, lengths)
        sent = self._slots(lengths)
        return Products(activity, wanted, of_rows.mul_(lr / g), of_columns, sent)

    def _low_products(self, lr: float, g: float, config: UpdateConfig) -> Products:
        """As :meth:`products`, by pixels."""
        top = self.windows.largest(pixels.largest(self.x))
        of_x = pixels.split(self.x)
        numbers = lr / g, config.desired_bl, config.update_bl_management
        of_e, sent = pixels.condition(self.e, top, *numbers)
        wanted = self._gradient(of_e.signed, of_x.signed, torch.bfloat16)
        activity = self._gradient(of_e.sizes, of_x.sizes, torch.bfloat16)
        half = lr / (2 * g)
        of_rows, of_columns = (s[1] / s[0].add_(_TINY) for s in (of_e.sums, of_x.sums))
        area = self.windows.kernel[0] * self.windows.kernel[1]
        factors = of_rows.mul_(lr / g), of_columns.repeat_interleave(area)
        return Products(activity.mul_(half), wanted.mul_(-half), *factors, sent)

    def _slots(self, lengths: Tensor | None) -> Tensor | int:
        """Slots of the trains of all positions; of several groups, which fire side by side, the mean."""
        if lengths is None:
            return self.e.numel() // self.e.shape[1]
        return (lengths.sum() / self.windows.groups).to(torch.int64)

    def largest(self) -> tuple[Tensor, Tensor]:
        """Return the largest sizes under each position, image by image and row by row; of all groups."""
        return self._top(self.x.abs()).amax(1).flatten(), self.e.abs().amax(1).flatten()

    def times(self, factors: Tensor) -> "Positions":
        """Return the change with the error signals of each position times its factor."""
        maps = factors.view(self.e.shape[0], 1, *self.e.shape[2:])
        return replace(self, e=self.e * maps)

    def _top(self, x_sizes: Tensor) -> Tensor:
        """The largest input of each position and group, (b, groups, h', w')."""
        found = self.windows.largest(self.windows.by_group(x_sizes).amax(2))
        return found.clamp_min(1.0) if self.analog_bias else found

    def _gradient(self, e: Tensor, x: Tensor, dtype: torch.dtype) -> Tensor:
        """Return the gradient for the array, (out, columns)."""
        gradient = self.windows.kernel_gradient(e, x, self.kernel, dtype)
        if self.analog_bias:
            return torch.cat([gradient, e.sum((0, 2, 3)).unsqueeze(1)], 1)
        return gradient

    def _chances(
        self, x_sizes: Tensor, e_sizes: Tensor, lengths: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """As :meth:`analogpipe.tile.kernels.backend.Kernels.chances` at ``lr / g = 1``; all kernel
        elements of a channel get the same.

        With groups a column stands for several channels: its factor is their mean. ``lengths`` None:
        all are 1. Overwrites the sizes.
        """
        total = e_sizes.sum((0, 2, 3)).add_(_TINY)
        squares = e_sizes.square_()
        if lengths is not None:
            self.windows.by_group(squares).div_(lengths.unsqueeze(2))
        of_rows = squares.sum((0, 2, 3)).div_(total)
        total = x_sizes.sum((0, 2, 3)).add_(_TINY)
        of_channels = x_sizes.square_().sum((0, 2, 3)).div_(total)
        area = self.windows.kernel[0] * self.windows.kernel[1]
        of_columns = of_channels.view(self.windows.groups, -1).mean(0).repeat_interleave(area)
        if self.analog_bias:
            of_columns = torch.cat([of_columns, of_columns.new_ones(1)])
        return of_rows, of_columns
