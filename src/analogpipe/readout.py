"""Read-out of an array: one matrix-vector product per row of ``x``, through converters, with noise
(AIHWKit: AnalogMVM).

In the order of the signal: scale by the largest input (noise management), quantise and clip (DAC),
input noise, product, output noise, quantise and clip (ADC), scale back. Where an output reaches its
bound the row is read again at half the input (bound management).
"""

import torch
from torch import Tensor

from analogpipe.noise import normal
from analogpipe.scratch import scratch
from analogpipe.tile_config import ReadoutConfig

_TINY = 1e-30


def read(x: Tensor, matrix: Tensor, config: ReadoutConfig, generator: torch.Generator) -> Tensor:
    """Return the product of each row of ``x`` (b, in) with ``matrix`` (in, out), as read, (b, out)."""
    if config.perfect:
        return torch.mm(x, matrix)
    if config.noise_management == "abs_max":
        sizes = torch.abs(x, out=_space(x))
        scale = sizes.amax(1, keepdim=True).clamp_min_(_TINY)
    else:
        scale = x.new_ones((x.shape[0], 1))
    y, saturated = _read(x, scale, matrix, config, generator)
    if saturated is None:
        return y
    factor, limit = 1, float(config.max_bm_factor)
    if config.inp_res > 0:
        limit = min(limit, config.max_bm_res / (2 * config.inp_bound * config.inp_res))
    rows = torch.arange(x.shape[0], device=x.device)
    while saturated is not None and factor <= limit:
        rows = rows[saturated]
        factor *= 2
        again, saturated = _read(x[rows], scale[rows] * factor, matrix, config, generator)
        y[rows] = again
    return y


def _read(
    x: Tensor, scale: Tensor, matrix: Tensor, config: ReadoutConfig, generator: torch.Generator
) -> tuple[Tensor, Tensor | None]:
    """One read at ``scale`` (b, 1); also which rows bound management has to read again, None for
    none."""
    level = 2 * config.inp_bound * config.inp_res
    q = torch.div(x, scale * level if level > 0 else scale, out=_space(x))
    if level > 0:
        q.round_()
    bound = config.inp_bound / level if level > 0 else config.inp_bound
    if bound > 0 and (config.noise_management == "none" or config.inp_bound < 1):
        q.clamp_(-bound, bound)
    if config.inp_noise > 0:
        q.add_(normal(q.shape, q, generator), alpha=config.inp_noise / (level or 1.0))
    step = 2 * config.out_bound * config.out_res
    # q counts input levels; y output levels, or is in normalised units without ADC
    to_output = (level or 1.0) / (step or 1.0)
    shape = torch.Size((x.shape[0], matrix.shape[1]))
    noise = normal(shape, q, generator) if config.out_noise > 0 else q.new_empty(shape)
    y = torch.addmm(noise, q, matrix, beta=config.out_noise / (step or 1.0), alpha=to_output)
    if step > 0:
        y.round_()
    saturated = None
    bound = config.out_bound / (step or 1.0)
    if bound > 0 and config.bound_management == "none":
        y.clamp_(-bound, bound)
    elif bound > 0:
        low, high = torch.aminmax(y)
        if float(high) >= bound or float(low) <= -bound:
            saturated = y.abs().amax(1) >= bound
            y.clamp_(-bound, bound)
    return y.mul_(scale * step if step > 0 else scale), saturated


def _space(x: Tensor) -> Tensor | None:
    """Work space in the shape of ``x``; None (a new tensor) for small ones, which are cheaper so."""
    return scratch("read", x.shape, x) if x.numel() > 2**14 else None
