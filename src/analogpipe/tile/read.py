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


def read(
    x: Tensor,
    matrix: Tensor,
    config: ReadoutConfig,
    generator: torch.Generator,
    kernels: Kernels,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Return the product of each row of ``x`` (b, in) with ``matrix`` (in, out), as read, (b, out).

    ``dtype`` is that of the product (:mod:`analogpipe.tile.products`).
    """
    if config.perfect:
        return mm(x, matrix, dtype)
    y, saturated = kernels.read(x, 1.0, matrix, config, generator, dtype)
    if saturated is None:
        return y
    rows = torch.arange(x.shape[0], device=x.device)
    for factor in config.factors():
        rows = rows[saturated]
        again, saturated = kernels.read(x[rows], factor, matrix, config, generator, dtype)
        y[rows] = again
        if saturated is None:
            break
    return y
