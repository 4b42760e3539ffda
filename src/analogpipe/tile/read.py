"""Read-out of an array: one matrix-vector product per row of ``x``, through converters, with noise
(AIHWKit: AnalogMVM).

In the order of the signal: scale by the largest input (noise management), quantise and clip (DAC),
input noise, product, output noise, quantise and clip (ADC), scale back. Where an output reaches its
bound the row is read again at half the input (bound management).
"""

import torch
from torch import Tensor

from analogpipe.tile.kernels.backend import Kernels
from analogpipe.tile.products import mm
from analogpipe.tile.sections import ReadoutConfig


class Reads:
    """Reads of ``matrix`` (in, out) through the converters of ``config``, with products in ``dtype``."""

    def __init__(
        self, matrix: Tensor, config: ReadoutConfig, kernels: Kernels, dtype: torch.dtype
    ) -> None:
        self._matrix, self._config, self._dtype = matrix, config, dtype
        self._once = None if config.perfect else kernels.reads(matrix, config, dtype)

    def __call__(self, x: Tensor, generator: torch.Generator, bias: Tensor | None = None) -> Tensor:
        """Return the product of each row of ``x`` (b, in) with the matrix, as read, (b, out), plus a
        digital ``bias`` (out,)."""
        once = self._once
        if once is None:
            y = mm(x, self._matrix, self._dtype)
            return y if bias is None else y.add_(bias)
        y, saturated = once(x, 1.0, generator, bias)
        if saturated is None:
            return y
        rows = torch.arange(x.shape[0], device=x.device)
        for factor in self._config.factors():
            rows = rows[saturated]
            again, saturated = once(x[rows], factor, generator, bias)
            y[rows] = again
            if saturated is None:
                break
        return y


def read(
    x: Tensor,
    matrix: Tensor,
    config: ReadoutConfig,
    generator: torch.Generator,
    kernels: Kernels,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Return one such read of a matrix that is not kept."""
    return Reads(matrix, config, kernels, dtype)(x, generator)
