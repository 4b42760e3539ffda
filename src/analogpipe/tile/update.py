"""The update of an array by micro-batches.

A micro-batch of inputs ``x`` (b, in) and error signals ``e`` (b, out) wants the change
``D = -lr e^T x``. Sample by sample, rows and columns fire at random and an element is pulsed where
both do. The expected numbers of up and down pulses are ``N+- = (A +- D) / 2g`` with the activity
``A = lr |e|^T |x|`` and ``g`` the granularity of the device: opposite samples do not cancel.

Elements are treated as independent. (Those that share a row or a column are not, quite; the
rule ``pulse_train`` keeps that correlation.)
"""

from copy import copy
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd.graph import increment_version

from analogpipe.device.response import Response, mix
from analogpipe.tile.config import UpdateConfig
from analogpipe.tile.kernels import compiled as kernels
from analogpipe.tile.noise import UNIT, Seed, Uniform16
from analogpipe.tile.pulse_train import pulse_trains
from analogpipe.tile.scratch import scratch
from analogpipe.tile.signals import Signals, chances, condition

BLOCK = 2**18
"""Elements handled at a time, per thread: bounds the work space at 12 MiB a thread. Smaller blocks
would stay in a core's cache, but save no time."""


def ideal(weight: Tensor, x: Tensor, e: Tensor, lr: float) -> None:
    """Add the wanted change to ``weight`` in place."""
    weight.addmm_(e.t(), x, alpha=-lr)


@dataclass(frozen=True)
class _Block:
    """Some rows of an array, and views of the work space (overwritten by the next block)."""

    rows: slice
    weight: Tensor
    response: Response
    half: Tensor
    """Half the expected pulses, ``(N+ + N-) / 2``."""
    wanted: Tensor
    """Half their difference, ``(N+ - N-) / 2``."""
    steps: Tensor
    """Of an up and a down pulse: their sum ``total`` and their ``difference``."""
    total: Tensor
    difference: Tensor
    flow: Tensor
    variance: Tensor
    chance: Tensor
    noise: Uniform16
    visible: Tensor | None
    arrays: kernels.Elements | None
    """What :func:`analogpipe.tile.kernels.compiled.move` takes of the elements, where it can do the update; then
    there are a ``seed`` and views of ``half`` and ``wanted``, too."""
    seed: Seed | None
    products: tuple[kernels.Array, kernels.Array] | None


class Updater:
    """Applies updates to ``weight`` (out, in) in place, by the rule of ``config``.

    Args:
        visible: where writing is noisy, what reads see: ``weight`` plus normal noise of
            ``write_noise`` (weight units), drawn anew where an element is pulsed.
    """

    def __init__(
        self,
        weight: Tensor,
        response: Response,
        granularity: float,
        config: UpdateConfig,
        generator: torch.Generator,
        visible: Tensor | None = None,
        write_noise: float = 0.0,
    ) -> None:
        self.response = response
        self.granularity = granularity
        self.config = config
        self.generator = generator
        self._weight = weight
        self._visible = visible
        self._write_noise = write_noise
        multiplicative = 0.0 if response.additive else response.noise**2
        self._variance = 1 + multiplicative
        self._one, self._six = weight.new_tensor(1.0), weight.new_tensor(6.0)
        self._minus_six = -self._six
        self._outputs, inputs = weight.shape
        self._spaces: dict[int, tuple[Signals, list[tuple[Tensor, Tensor]]]] = {}
        at_once = max(1, BLOCK * torch.get_num_threads() // inputs)
        self._blocks = [
            self._block(weight, slice(start, min(start + at_once, weight.shape[0])))
            for start in range(0, weight.shape[0], at_once)
        ]

    def _block(self, weight: Tensor, rows: slice) -> _Block:
        part = weight[rows]

        def space(name: str) -> Tensor:
            return scratch(name, part.shape, weight)

        steps = scratch("steps", (2, *part.shape), weight)
        response = self.response.rows(rows)
        linear = response.mixed_linear() if kernels.usable(weight) else None
        if linear is None or response.additive or self._visible is not None:
            arrays = seed = products = None
        else:
            array = kernels.array
            bounds = array(response.low), array(response.high)
            arrays = (array(part), array(linear[0]), array(linear[1]), *bounds)
            seed = Seed(part.shape[1] // 4 + 2, weight)
            products = array(space("half")), array(space("wanted"))
        return _Block(
            rows=rows,
            weight=part,
            response=response,
            half=space("half"),
            wanted=space("wanted"),
            steps=steps,
            total=steps[0],
            difference=steps[1],
            flow=space("flow"),
            variance=space("variance"),
            chance=space("chance"),
            noise=Uniform16(part),
            visible=None if self._visible is None else self._visible[rows],
            arrays=arrays,
            seed=seed,
            products=products,
        )

    def with_config(self, config: UpdateConfig) -> "Updater":
        """Return an updater of the same array by another configuration."""
        other = copy(self)
        other.config = config
        return other

    def apply(self, x: Tensor, e: Tensor, lr: float) -> None:
        """Apply the update of one micro-batch: x (b, in), e (b, out)."""
        if self.config.rule == "pulse_train":
            self._pulse_trains(x, e, lr)
            return
        signals, of_blocks = self._space(x)
        x = condition(x, e, lr, self.granularity, self.config, signals)
        slots = chances(signals) if self.config.rule == "pulsed" else None
        for block, (e_sizes, e_signed) in zip(self._blocks, of_blocks, strict=True):
            half = torch.mm(e_sizes, signals.x_sizes, out=block.half)
            wanted = torch.mm(e_signed, x, out=block.wanted)
            self._change(block, half, wanted, slots)

    def _pulse_trains(self, x: Tensor, e: Tensor, lr: float) -> None:
        weight, visible, generator = self._weight, self._visible, self.generator
        before = None if visible is None else weight.clone()
        touched = pulse_trains(
            weight, x, e, lr, self.response, self.granularity, self.config, generator
        )
        if visible is not None and before is not None:
            rewrite(visible, before, weight, touched, self._write_noise, generator)

    def apply_products(
        self, sizes: Tensor, signed: Tensor, of_rows: Tensor, of_columns: Tensor
    ) -> None:
        """Apply an update of which the products are known (as a convolution gives them).

        ``sizes`` and ``signed`` (out, in): half the pulses and half the wanted change, in pulses;
        the mean probability of a slot is ``of_rows[k] of_columns[j]``.
        """
        slots = (of_columns, of_rows) if self.config.rule == "pulsed" else None
        for block in self._blocks:
            self._change(block, sizes[block.rows], signed[block.rows], slots)

    def _change(
        self, block: _Block, half: Tensor, wanted: Tensor, slots: tuple[Tensor, Tensor] | None
    ) -> None:
        """Apply expected pulses to the rows of ``block``: ``N+- = half +- wanted``.

        ``slots``: factors of columns and rows of the mean probability of a slot; None for no noise.
        """
        if slots is None:
            self._move(block, half, wanted, None)
            return
        of_columns, of_rows = slots[0], slots[1][block.rows]
        if block.arrays is None:
            self._move(block, half, wanted, torch.outer(of_rows, of_columns, out=block.chance))
            return
        products = block.products
        if half is not block.half or products is None:
            products = kernels.array(half), kernels.array(wanted)
        factors = kernels.array(of_rows), kernels.array(of_columns)
        assert block.seed is not None
        words = block.seed.draw(self.generator)
        scale = UNIT * (self._variance / 2) ** 0.5
        kernels.move(*products, *factors, words, *block.arrays, self._variance, scale)
        increment_version(self._weight)  # autograd would not see it

    def _space(self, x: Tensor) -> tuple[Signals, list[tuple[Tensor, Tensor]]]:
        """Work space for the signals of a batch, and their rows (sizes, signed) for each block."""
        samples, inputs = x.shape
        if samples not in self._spaces:
            signals = Signals.space(samples, inputs, self._outputs, x)
            e_sizes, e_signed = signals.e_sizes.t(), signals.e.t()
            rows = [block.rows for block in self._blocks]
            self._spaces[samples] = signals, [(e_sizes[r], e_signed[r]) for r in rows]
        return self._spaces[samples]

    def _move(self, block: _Block, half: Tensor, wanted: Tensor, chance: Tensor | None) -> None:
        """As :meth:`_change`, with the mean probability of a slot for each element.

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
        response, weight = block.response, block.weight
        before, touched = None, None
        if block.visible is not None and chance is not None:
            untouched = torch.mul(half, -2).exp_()
            touched = torch.empty_like(untouched).uniform_(generator=self.generator) > untouched
            before = weight.clone()
        response.mixed_steps(weight, block.steps)
        total, difference = block.total, block.difference
        flow = torch.mul(half, difference, out=block.flow).addcmul_(wanted, total)
        if chance is None:
            weight.add_(flow)
        else:
            variance = torch.mul(half, total, out=block.variance).addcmul_(wanted, difference)
            variance.mul_(total).addcmul_(difference, flow)
            variance.addcmul_(variance, chance, value=-1 / self._variance)
            extra = response.extra_noise(weight)
            if extra is not None:
                variance.add_(self._extra_variance(block, extra, half, wanted))
            if response.additive:
                variance.add_(self._additive_variance(block, half, wanted))
            # rounding can leave it below 0 where one of both steps vanishes
            variance.relu_().sqrt_()
            noise = block.noise.draw(self.generator)
            flow.addcmul_(variance, noise, value=UNIT * (self._variance / 2) ** 0.5)
            slopes = response.mixed_slopes(weight, block.steps)
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
        torch.clamp(weight, response.low, response.high, out=weight)
        if block.visible is not None:
            if before is None or touched is None:
                block.visible.copy_(weight)
            else:
                rewrite(block.visible, before, weight, touched, self._write_noise, self.generator)

    def _additive_variance(self, block: _Block, half: Tensor, wanted: Tensor) -> Tensor:
        """Twice the variance of pulse noise that does not depend on the weight."""
        response = block.response
        squares = torch.mul(response.base, response.noise, out=block.steps).square_()
        mix(squares)
        return squares[0].mul_(half).addcmul_(squares[1], wanted).mul_(2)

    def _extra_variance(self, block: _Block, extra: Tensor, half: Tensor, wanted: Tensor) -> Tensor:
        """The variance of pulse noise beyond its multiple of the steps, in units of ``_variance / 2``.

        With sizes ``u`` and ``extra`` noise ``c``, ``noise^2`` times ``(u + c)^2 - u^2``, summed over
        pulses: ``c (2 sum N u + c sum N)``.
        """
        sizes = torch.mul(half, block.total).addcmul_(wanted, block.difference)
        sizes.addcmul_(extra, half).mul_(extra)
        return sizes.mul_(4 * self.response.noise**2 / self._variance)


def rewrite(
    visible: Tensor,
    before: Tensor,
    weight: Tensor,
    touched: Tensor,
    write_noise: float,
    generator: torch.Generator,
) -> None:
    """Let ``visible`` follow ``weight`` from its value ``before``, with new noise where touched."""
    fresh = torch.empty_like(weight).normal_(0, write_noise, generator=generator)
    torch.where(touched, fresh, visible - before, out=visible).add_(weight)
