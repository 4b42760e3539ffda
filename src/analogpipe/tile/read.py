"""Read-out of an array: one matrix-vector product per row of ``x``, through converters, with noise
(AIHWKit: AnalogMVM).

In the order of the signal: scale by the largest input (noise management), quantise and clip (DAC),
input noise, product, output noise, quantise and clip (ADC), scale back. Where an output reaches its
bound the row is read again at half the input (bound management).
"""

import torch
from torch import Tensor

from analogpipe.tile.config import ReadoutConfig
from analogpipe.tile.kernels import compiled as kernels
from analogpipe.tile.noise import add_normal, seed
from analogpipe.tile.scratch import kept, scratch

_TINY = 1e-30


def read(x: Tensor, matrix: Tensor, config: ReadoutConfig, generator: torch.Generator) -> Tensor:
    """Return the product of each row of ``x`` (b, in) with ``matrix`` (in, out), as read, (b, out)."""
    if config.perfect:
        return torch.mm(x, matrix)
    y, saturated = _read(x, 1.0, matrix, config, generator)
    if saturated is None:
        return y
    factor, limit = 1.0, float(config.max_bm_factor)
    if config.levels.inp_step > 0:
        limit = min(limit, config.max_bm_res / config.levels.inp_step)
    rows = torch.arange(x.shape[0], device=x.device)
    while saturated is not None and factor <= limit:
        rows = rows[saturated]
        factor *= 2
        again, saturated = _read(x[rows], factor, matrix, config, generator)
        y[rows] = again
    return y


def _read(
    x: Tensor, factor: float, matrix: Tensor, config: ReadoutConfig, generator: torch.Generator
) -> tuple[Tensor, Tensor | None]:
    """One read at ``factor`` times the scale; also which rows bound management has to read again,
    None for none."""
    if kernels.usable(x):
        return _read_in_memory(x, factor, matrix, config, generator)
    n = config.levels
    if config.noise_management == "abs_max":
        scale = x.abs().amax(1, keepdim=True).clamp_min_(_TINY)
    else:
        scale = x.new_ones((x.shape[0], 1))
    scale.mul_(factor)
    q = x / (scale * n.inp_step if n.inp_step > 0 else scale)
    if n.inp_step > 0:
        q.round_()
    if n.inp_bound > 0:
        q.clamp_(-n.inp_bound, n.inp_bound)
    if n.inp_noise > 0:
        add_normal(q, n.inp_noise, generator)
    y = torch.mm(q, matrix).mul_(n.to_output)
    if n.out_noise > 0:
        add_normal(y, n.out_noise, generator)
    if n.out_step > 0:
        y.round_()
    saturated = None
    if n.out_bound > 0:
        if config.bound_management == "iterative":
            reached = y.abs().amax(1) >= n.out_bound
            saturated = reached if bool(reached.any()) else None
        y.clamp_(-n.out_bound, n.out_bound)
    return y.mul_(scale * n.out_step if n.out_step > 0 else scale), saturated


class _Space:
    """Work space of reads of one shape in main memory, as tensors and as arrays of them."""

    def __init__(self, samples: int, inputs: int, like: Tensor) -> None:
        self.q = scratch("read", (samples, inputs), like)
        self.seed = seed(like)
        self.saturated = like.new_empty(samples, dtype=torch.bool)
        scale = kernels.array(scratch("scale", (samples,), like))
        self.forth = kernels.array(self.q), scale
        self.back = scale, kernels.array(self.saturated)


def _read_in_memory(
    x: Tensor, factor: float, matrix: Tensor, config: ReadoutConfig, generator: torch.Generator
) -> tuple[Tensor, Tensor | None]:
    """As :func:`_read`, with each conversion in one pass."""
    n = config.levels
    samples, inputs = x.shape
    space = kept(("read", samples, inputs, x.dtype), lambda: _Space(samples, inputs, x))
    managed = config.noise_management == "abs_max"
    signals = kernels.array(x.contiguous())
    kernels.quantise(signals, *space.forth, n.inp_step, n.inp_bound, managed, factor)
    if n.inp_noise > 0:
        add_normal(space.q, n.inp_noise, generator)
    # into a tensor of its own kind, also under autocast
    y = torch.mm(space.q, matrix, out=matrix.new_empty(samples, matrix.shape[1]))
    words = space.seed.draw(generator) if n.out_noise > 0 else space.seed.words
    numbers = n.to_output, n.out_noise, n.out_step, n.out_bound
    found = kernels.convert(kernels.array(y), *space.back, words, *numbers)
    again = found and config.bound_management == "iterative"
    return y, space.saturated.clone() if again else None
