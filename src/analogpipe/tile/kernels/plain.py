"""The work on elements by torch operations: on any device, in any precision.

:class:`analogpipe.tile.kernels.backend.Kernels` says what each function does.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from analogpipe.device.response import Response, mix
from analogpipe.tile.noise import ANY, UNIT, Fill, Uniform16, rewrite
from analogpipe.tile.products import mm
from analogpipe.tile.scratch import scratch
from analogpipe.tile.sections import ReadoutConfig, UpdateConfig
from analogpipe.tile.signals import Signals

_TINY = 1e-30

Once = Callable[[Tensor, float, torch.Generator, Tensor | None], tuple[Tensor, Tensor | None]]
"""Reads once, at a factor of the scale: x (b, in) with noise of a stream, plus a bias (out,) if there
is one. Returns what was read, (b, out), and which rows (b,) bound management has to read again, None
for none."""
AtOnce = Callable[[Tensor, Tensor, float], None]
"""Applies in one call what samples want of an array: x (b, in), e (b, out), learning rate."""


def fill(words: Tensor, generator: torch.Generator) -> None:
    """Fill ``words`` (n,) int64 with random bits."""
    words.random_(ANY, None, generator=generator)


def add_normal(y: Tensor, factor: float, generator: torch.Generator) -> Tensor:
    """Add ``factor`` times standard normal numbers to ``y`` in place, and return it."""
    return y.add_(torch.empty_like(y).normal_(generator=generator), alpha=factor)


def normal(shape: torch.Size, like: Tensor, generator: torch.Generator) -> Tensor:
    """Return standard normal numbers."""
    return torch.empty(shape, device=like.device).normal_(generator=generator)


def condition(
    x: Tensor, e: Tensor, lr: float, granularity: float, config: UpdateConfig, out: Signals
) -> Tensor:
    """Scale and clip signals for pulse trains."""
    factor, limit = -lr / (2 * granularity), config.desired_bl
    torch.mul(e, factor, out=out.e)
    torch.abs(x, out=out.x_sizes)
    torch.abs(out.e, out=out.e_sizes)
    x_max = out.x_sizes.amax(1)
    lengths = torch.mul(out.e_sizes.amax(1), x_max, out=out.lengths).mul_(2).ceil_()
    lengths.clamp_(1 if config.update_bl_management else limit, limit)
    out.slots.add_(lengths.sum().to(torch.int64))
    if config.update_management:
        clipped = x.detach()
        bound = (limit / 2 / x_max.clamp_min_(_TINY)).unsqueeze(1)
    else:
        bound = (lengths / (2 * abs(factor))).sqrt_().unsqueeze(1)
        clipped = torch.clamp(x, -bound, bound, out=out.clipped_x)
        torch.abs(clipped, out=out.x_sizes)
        bound = bound * abs(factor)
    out.e.clamp_(-bound, bound)
    torch.abs(out.e, out=out.e_sizes)
    return clipped


def chances(signals: Signals) -> tuple[Tensor, Tensor]:
    """Return factors of columns and rows of the mean probability of a slot."""
    # the sizes are those of half the pulses: each factor gets the root of 2
    total, chance = signals.sums
    torch.sum(signals.sizes, 0, out=total).clamp_min_(_TINY)
    squares = signals.sizes.square().t()
    torch.mv(squares, signals.lengths.rsqrt(), out=chance).mul_(2**0.5).div_(total)
    return signals.of_columns, signals.of_rows


def reads(matrix: Tensor, config: ReadoutConfig, dtype: torch.dtype) -> Once:
    """Return what reads a matrix."""
    return partial(_read, matrix, config, dtype)


def _read(
    matrix: Tensor,
    config: ReadoutConfig,
    dtype: torch.dtype,
    x: Tensor,
    factor: float,
    generator: torch.Generator,
    bias: Tensor | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Read once, at ``factor`` times the scale; also which rows reached the bound, None for none."""
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
    y = mm(q, matrix, dtype).mul_(n.to_output)
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
    y.mul_(scale * n.out_step if n.out_step > 0 else scale)
    return y if bias is None else y.add_(bias), saturated


def largest(maps: Tensor) -> Tensor:
    """Return the largest size over the channels."""
    return torch.abs(maps, out=scratch("read", maps.shape, maps)).amax(2)


def levels(maps: Tensor, unit: Tensor, step: float, bound: float, *, back: bool = False) -> Tensor:
    """Bring maps to levels of the input converter."""
    q = torch.div(maps, unit, out=scratch("read", maps.shape, maps))
    if step > 0:
        q.round_()
    if bound > 0:
        q.clamp_(-bound, bound)
    return q.mul_(unit) if back else q


def convert(
    maps: Tensor, gain: Tensor, scale: Tensor, config: ReadoutConfig, generator: torch.Generator
) -> Tensor | None:
    """Bring products through the output converter."""
    n = config.levels
    maps.mul_(gain)
    if n.out_noise > 0:
        add_normal(maps, n.out_noise, generator)
    if n.out_step > 0:
        maps.round_()
    saturated = None
    if n.out_bound > 0:
        if config.bound_management == "iterative":
            reached = maps.abs().amax(2, keepdim=True) >= n.out_bound
            saturated = reached if bool(reached.any()) else None
        maps.clamp_(-n.out_bound, n.out_bound)
    maps.mul_(scale)
    return saturated


def add_scaled_normal(maps: Tensor, deviation: Tensor, generator: torch.Generator) -> None:
    """Add normal numbers of a deviation for each position."""
    maps.addcmul_(normal(maps.shape, maps, generator), deviation)


def take(
    residual: Tensor,
    unit: Tensor,
    first: int,
    count: int,
    gain: float,
    limit: int,
    generator: torch.Generator,
    slots: Tensor,
) -> tuple[Tensor, Tensor]:
    """Take whole pulses off rows of a residual; also how many pulses each element gets for them."""
    outputs, inputs = residual.shape
    rows = torch.arange(first, first + count, device=residual.device) % outputs
    whole = torch.trunc(residual[rows] / unit[rows].unsqueeze(1))
    residual[rows] -= whole * unit[rows].unsqueeze(1)
    top = whole.abs().amax(1, keepdim=True).double()
    largest = top.clamp(min=1)
    needed = largest * gain
    length = needed.ceil().clamp_(max=limit)
    slots.add_((length * (top > 0)).sum().to(torch.int64))
    share = (needed / length).clamp_(max=1)
    row, column = whole.nonzero(as_tuple=True)
    signed = whole[row, column]
    chance = signed.abs() / largest[row, 0] * share[row, 0]
    fired = torch.binomial(length[row, 0], chance, generator=generator)
    some = fired > 0
    pulses = (fired * signed.sign())[some].to(torch.int32)
    return (rows[row] * inputs + column)[some], pulses


def elements(response: Response) -> Response:
    """Return the elements in the form that :func:`pulse` takes."""
    return response


def pulse(
    state: Tensor, elements: Response, places: Tensor, pulses: Tensor, generator: torch.Generator
) -> None:
    """Give elements their pulses, one after the other."""
    response = elements
    # most pulses first: those that are left are the first ones
    counts, order = pulses.abs().sort(descending=True)
    places, up = places[order], pulses[order] > 0
    response, flat = response.at(places), state.view(-1)
    values = flat[places].unsqueeze(0)
    left, done = len(places), 0
    while left:
        if left < response.low.shape[1]:
            response = response.at(slice(left))
        response.pulse(values[:, :left], up[:left], generator)
        done += 1
        left = int((counts[:left] > done).sum())
    flat[places] = values.squeeze(0)


class Block:
    """Some rows of an array, and views of the work space (overwritten by the next block).

    Args:
        rows: which ones; the others are theirs (n, in).
        visible, write_noise: as in :class:`analogpipe.tile.update.Updater`.
    """

    def __init__(
        self,
        rows: slice,
        weight: Tensor,
        response: Response,
        visible: Tensor | None = None,
        write_noise: float = 0.0,
        fill: Fill = fill,
    ) -> None:
        self.rows, self.weight, self.response = rows, weight, response
        self._visible, self._write_noise = visible, write_noise

        def space(name: str) -> Tensor:
            return scratch(name, weight.shape, weight)

        self.half, self.wanted = space("half"), space("wanted")
        """Room for what :meth:`change` takes."""
        self._steps = scratch("steps", (2, *weight.shape), weight)
        self._flow, self._variance, self._chance = space("flow"), space("variance"), space("chance")
        self._noise = Uniform16(weight, fill)
        multiplicative = 0.0 if response.additive else response.noise**2
        self.pulse_variance = 1 + multiplicative
        """Of the number of pulses, with their noise, over that of the number alone."""
        self._one, self._six = weight.new_tensor(1.0), weight.new_tensor(6.0)
        self._minus_six = -self._six

    def at_once(
        self, granularity: float, config: UpdateConfig, generator: torch.Generator, slots: Tensor
    ) -> AtOnce | None:
        """Return what updates an array of which these are all rows, None where there is no such thing."""
        return None

    def change(
        self,
        half: Tensor,
        wanted: Tensor,
        slots: tuple[Tensor, Tensor] | None,
        generator: torch.Generator,
    ) -> None:
        """Apply expected pulses to the rows: ``N+- = half +- wanted``.

        ``slots``: factors of columns (in,) and of all rows (out,) of the mean probability of a slot;
        None for no noise.

        With ``f(w) = N+ up(w) - N- down(w)`` the flow ``dw/dt = f`` over unit time ends at
        ``w + f(w) phi(y)`` with ``y = -f'(w)`` and ``phi(y) = (1 - e^-y) / y``: exactly where the
        response is linear (it relaxes to the point where up and down pulses balance, and cannot
        overshoot), to second order elsewhere. ``1/phi`` is replaced by ``y + max(1 - y/6, 0)^3``
        (error below 1 % and never too small). The noise is damped by the same factor, which is
        right to first order in ``y``.

        With the sum ``p`` and the difference ``q`` of the two steps, ``f = half q + wanted p`` and
        the sum of squares ``N+ up^2 + N- down^2 = (p (half p + wanted q) + q f) / 2``: fewer passes
        over the elements than with up and down apart.

        The count of Bernoulli slots has variance ``N (1 - chance)``; a pulse adds its noise. None
        for no noise: then the step is the first-order mean, ``w + f(w)``.
        """
        weight, visible = self.weight, self._visible
        if slots is None:
            weight.add_(self._mean(half, wanted))
            self._clamp()
            if visible is not None:
                visible.copy_(weight)
            return
        chance = torch.outer(slots[1][self.rows], slots[0], out=self._chance)
        if visible is None:
            self._move(half, wanted, chance, generator)
            return
        untouched = torch.mul(half, -2).exp_()
        touched = torch.empty_like(untouched).uniform_(generator=generator) > untouched
        before = weight.clone()
        self._move(half, wanted, chance, generator)
        rewrite(visible, before, weight, touched, self._write_noise, generator)

    def _mean(self, half: Tensor, wanted: Tensor) -> Tensor:
        """The flow ``f(w)``."""
        total, difference = self.response.mixed_steps(self.weight, self._steps)
        return torch.mul(half, difference, out=self._flow).addcmul_(wanted, total)

    def _clamp(self) -> None:
        torch.clamp(self.weight, self.response.low, self.response.high, out=self.weight)

    def _move(
        self, half: Tensor, wanted: Tensor, chance: Tensor, generator: torch.Generator
    ) -> None:
        """Relax with noise; ``chance`` (rows, in) is scratch memory."""
        weight, response = self.weight, self.response
        flow = self._mean(half, wanted)
        variance = self._spread(half, wanted, flow, chance)
        noise = self._noise.draw(generator)
        flow.addcmul_(variance, noise, value=UNIT * (self.pulse_variance / 2) ** 0.5)
        slopes = response.mixed_slopes(weight, self._steps)
        if slopes is None:
            weight.add_(flow)
        else:
            # with t = 1 - y/6, y + max(t, 0)^3 = 6 + t (max(t, 0)^2 - 6)
            total, difference = slopes.unbind()
            t = torch.addcmul(self._one, half, difference, value=1 / 6, out=variance)
            t.addcmul_(wanted, total, value=1 / 6)
            rest = torch.clamp_min(t, 0, out=chance)
            rest = torch.addcmul(self._minus_six, rest, rest, out=noise)
            weight.addcdiv_(flow, torch.addcmul(self._six, t, rest, out=chance))
        self._clamp()

    def _spread(self, half: Tensor, wanted: Tensor, flow: Tensor, chance: Tensor) -> Tensor:
        """Standard deviation of the flow, over the root of ``pulse_variance / 2``."""
        response = self.response
        total, difference = self._steps
        variance = torch.mul(half, total, out=self._variance).addcmul_(wanted, difference)
        variance.mul_(total).addcmul_(difference, flow)
        variance.addcmul_(variance, chance, value=-1 / self.pulse_variance)
        extra = response.extra_noise(self.weight)
        if extra is not None:
            variance.add_(self._extra_variance(extra, half, wanted))
        if response.additive:
            variance.add_(self._additive_variance(half, wanted))
        # rounding can leave it below 0 where one of both steps vanishes
        return variance.relu_().sqrt_()

    def _additive_variance(self, half: Tensor, wanted: Tensor) -> Tensor:
        """Twice the variance of pulse noise that does not depend on the weight."""
        response = self.response
        squares = torch.mul(response.base, response.noise, out=self._steps).square_()
        mix(squares)
        return squares[0].mul_(half).addcmul_(squares[1], wanted).mul_(2)

    def _extra_variance(self, extra: Tensor, half: Tensor, wanted: Tensor) -> Tensor:
        """The variance of pulse noise beyond its multiple of the steps, in units of
        ``pulse_variance / 2``.

        With sizes ``u`` and ``extra`` noise ``c``, ``noise^2`` times ``(u + c)^2 - u^2``, summed over
        pulses: ``c (2 sum N u + c sum N)``.
        """
        total, difference = self._steps
        sizes = torch.mul(half, total).addcmul_(wanted, difference)
        sizes.addcmul_(extra, half).mul_(extra)
        return sizes.mul_(4 * self.response.noise**2 / self.pulse_variance)


def block(
    rows: slice, weight: Tensor, response: Response, visible: Tensor | None, write_noise: float
) -> Block:
    """Return what updates some ``rows`` of an array."""
    return Block(rows, weight, response, visible, write_noise)
