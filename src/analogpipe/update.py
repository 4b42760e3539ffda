"""The update of an array by one micro-batch: inputs ``x`` (b, in) and error signals ``e`` (b, out)
at learning rate ``lr``.

The wanted change is ``-lr e^T x``. Sample i sends it as a pulse train of ``BL_i`` slots, in which
row and column fire with probabilities proportional to ``|e|`` and ``|x|``; where they coincide the
element moves by one pulse. The expected numbers of up and down pulses are ``N+- = (A +- D) / 2g``
with ``D = -lr e^T x``, ``A = lr |e|^T |x|`` and ``g`` the device's granularity.
"""

import torch
from torch import Tensor

from analogpipe.noise import UNIT, uniform16
from analogpipe.pulse_response import Response
from analogpipe.scratch import scratch
from analogpipe.tile_config import UpdateConfig

BLOCK = 2**15
"""Elements handled at a time, per thread, so that the work space stays in the cache."""

_TINY = 1e-30


def ideal(weight: Tensor, x: Tensor, e: Tensor, lr: float) -> None:
    """Add the wanted change to ``weight`` in place."""
    weight.addmm_(e.t(), x, alpha=-lr)


def apply(
    weight: Tensor,
    x: Tensor,
    e: Tensor,
    lr: float,
    response: Response,
    granularity: float,
    config: UpdateConfig,
    generator: torch.Generator,
) -> None:
    """Update ``weight`` (out, in) in place by the rule of ``config`` (``mean`` or ``pulsed``)."""
    noisy = config.rule == "pulsed"
    inputs, samples = x.shape[1], x.shape[0]
    signals = scratch("signals", (samples, inputs + e.shape[1]), weight)
    signals[:, :inputs].copy_(x)
    torch.mul(e, -lr / (2 * granularity), out=signals[:, inputs:])
    sizes = scratch("sizes", signals.shape, weight)
    rate = condition(signals, sizes, inputs, lr, granularity, config)
    base_variance = None
    if noisy:
        base_variance = weight.new_tensor(1 + (0 if response.additive else response.noise**2))
        # Bernoulli slots: the variance of a count N is N (1 - p), p the mean coincidence
        # probability of its slots, here estimated as a product of a row's and a column's, exact for
        # a single sample.
        total = sizes.sum(0).add_(_TINY)
        square = torch.mul(sizes, sizes, out=scratch("squares", sizes.shape, weight))
        chance = torch.mv(square.t(), rate).div_(total)
        chance_in, chance_out = chance[:inputs], chance[inputs:]
    x, e = signals[:, :inputs], signals[:, inputs:].t()
    x_size, e_size = sizes[:, :inputs], sizes[:, inputs:].t()
    rows_at_once = max(1, BLOCK * torch.get_num_threads() // inputs)
    for start in range(0, weight.shape[0], rows_at_once):
        rows = slice(start, min(start + rows_at_once, weight.shape[0]))
        pulses = scratch("pulses", (2, rows.stop - start, inputs), weight)
        up, down = pulses[0], pulses[1]
        wanted = scratch("wanted", up.shape, weight)
        torch.mm(e_size[rows], x_size, out=up)
        torch.mm(e[rows], x, out=wanted)
        torch.sub(up, wanted, out=down)
        up.add_(wanted)
        factor = None
        if base_variance is not None:
            factor = torch.addr(base_variance, chance_out[rows], chance_in, alpha=-2.0, out=wanted)
            factor.clamp_min_(0)
        move(weight[rows], pulses, rows, response, factor, generator)


def move(
    weight: Tensor,
    pulses: Tensor,
    rows: slice,
    response: Response,
    factor: Tensor | None,
    generator: torch.Generator,
) -> None:
    """Apply ``pulses`` (2, rows, in), the expected numbers up and down, to the given rows of the
    array, in place.

    With ``f(w) = N+ up(w) - N- down(w)`` the flow ``dw/dt = f`` over unit time ends at
    ``w + f(w) phi(f')``, ``phi(z) = (e^z - 1)/z``: exactly where the response is linear (it
    relaxes to the point where up and down pulses balance, and cannot overshoot), to second order
    elsewhere. The noise is damped by the same factor, which is right to first order in ``f'``.
    ``factor`` is the variance of one pulse's effect relative to its squared size, None for no
    noise (then the step is the first-order mean, ``w + f(w)``).
    """
    work = scratch("work", (2, *pulses.shape), weight)
    steps = response.steps(weight, rows, work[0])
    moved = torch.mul(pulses, steps, out=work[1])
    flow = torch.sub(moved[0], moved[1], out=scratch("flow", weight.shape, weight))
    if factor is None:
        weight.add_(flow)
    else:
        moved.mul_(steps)
        variance = moved[0].add_(moved[1]).mul_(factor)
        if response.additive:
            per_pulse = torch.mul(
                response.base[:, rows], response.noise, out=scratch("noise", moved.shape, weight)
            )
            variance.add_(per_pulse.square_().mul_(pulses).sum(0))
        flow.addcmul_(variance.sqrt_(), uniform16(flow, generator), value=UNIT)
        slopes = response.slopes(weight, rows, work[0])
        if slopes is None:
            weight.add_(flow)
        else:
            pulses.mul_(slopes)
            # below 1e-3, phi is 1 to 5e-4 and the difference below would lose its digits
            rate = pulses[1].sub_(pulses[0]).clamp_min_(1e-3)
            decay = torch.neg(rate, out=pulses[0]).exp_()
            weight.addcmul_(flow, decay.neg_().add_(1).div_(rate))
    torch.clamp(weight, response.low[rows], response.high[rows], out=weight)


def condition(
    signals: Tensor,
    sizes: Tensor,
    inputs: int,
    lr: float,
    granularity: float,
    config: UpdateConfig,
) -> Tensor:
    """Clip the signals of one micro-batch in place to what pulse trains can carry; return
    ``BL_i**-0.5`` (b,).

    ``sizes`` receives the absolute values. ``signals`` (b, in + out) holds ``x`` and ``-lr e /
    2g``. With ``k = lr max|x| max|e| / g`` a sample needs ``BL = ceil(k)`` slots (at most
    ``desired_bl``; that many always, without bound management). With update management both
    probabilities are balanced, and where ``k > desired_bl`` only ``e`` is clipped; without it each
    is clipped by itself (AIHWKit: PulsedUpdate of the CPU).
    """
    torch.abs(signals, out=sizes)
    x_max = sizes[:, :inputs].amax(1)
    needed = sizes[:, inputs:].amax(1).mul_(x_max).mul_(2)
    limit = config.desired_bl
    if config.update_bl_management:
        length = needed.ceil().clamp_(1, limit)
    else:
        length = torch.full_like(needed, limit)
    x, e = signals[:, :inputs], signals[:, inputs:]
    if not config.update_management:
        bound = (length * (granularity / lr)).sqrt_().unsqueeze(1)
        x.clamp_(-bound, bound)
        bound = bound * (lr / (2 * granularity))
        e.clamp_(-bound, bound)
        torch.abs(signals, out=sizes)
    elif signals.is_cuda or float(needed.max()) > limit:
        bound = (limit / 2 / x_max.clamp_min(_TINY)).unsqueeze(1)
        e.clamp_(-bound, bound)
        torch.abs(signals, out=sizes)
    return length.rsqrt_()
