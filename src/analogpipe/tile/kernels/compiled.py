"""The work on elements by compiled loops (:mod:`analogpipe.tile.kernels.loops`): in main memory,
float32.

:class:`analogpipe.tile.kernels.backend.Kernels` says what each function does.
"""

import numpy as np
import torch
from torch import Tensor
from torch.autograd.graph import increment_version

from analogpipe.device.response import Response
from analogpipe.tile.kernels import loops, plain, programming
from analogpipe.tile.kernels import maps as loops_of_maps
from analogpipe.tile.kernels.blas import FOUND
from analogpipe.tile.kernels.loops import Array, array
from analogpipe.tile.kernels.reading import ROOM, Reading
from analogpipe.tile.kernels.updating import Updating
from analogpipe.tile.noise import ANY, UNIT
from analogpipe.tile.scratch import kept, scratch
from analogpipe.tile.sections import ReadoutConfig, UpdateConfig
from analogpipe.tile.signals import Signals


class Seed:
    """A random word, drawn into the first of ``size`` words of work space."""

    def __init__(self, size: int, like: Tensor) -> None:
        words = scratch("bits", (size,), like, torch.int64)
        self.first = words[:1]
        self.words = words.numpy().view(np.uint64)

    def draw(self, generator: torch.Generator) -> Array:
        """Return the words, the first of them new."""
        self.first.random_(ANY, None, generator=generator)
        return self.words


def _seed(like: Tensor) -> Seed:
    """Return room for a seed and ``ROOM`` words."""
    return kept(("seed", like.dtype), lambda: Seed(ROOM, like))


def fill(words: Tensor, generator: torch.Generator) -> None:
    """Fill ``words`` (n,) int64 with random bits that follow from the first of them."""
    words[:1].random_(ANY, None, generator=generator)
    bits = words.numpy().view(np.uint64)
    loops.fill(bits, bits[0], 0)


def add_normal(y: Tensor, factor: float, generator: torch.Generator) -> Tensor:
    """Add ``factor`` times standard normal numbers to ``y`` in place, and return it."""
    if not y.is_contiguous():
        return plain.add_normal(y, factor, generator)
    words = _seed(y).draw(generator)
    loops.add_normal(array(y.view(-1)), factor, words, words[0], 0)
    return y


def normal(shape: torch.Size, like: Tensor, generator: torch.Generator) -> Tensor:
    """Return standard normal numbers (scratch memory)."""
    return add_normal(scratch("normal", shape, like).zero_(), 1.0, generator)


def condition(
    x: Tensor, e: Tensor, lr: float, granularity: float, config: UpdateConfig, out: Signals
) -> Tensor:
    """Scale and clip signals for pulse trains."""
    inputs, errors = array(x.contiguous()), array(e.contiguous())
    managed = config.update_management, config.update_bl_management
    factor = -lr / (2 * granularity)
    loops.condition(inputs, errors, *out.arrays, factor, config.desired_bl, *managed)
    return x.detach() if config.update_management else out.clipped_x


def chances(signals: Signals) -> tuple[Tensor, Tensor]:
    """Return factors of columns and rows of the mean probability of a slot: :func:`condition` left
    them."""
    return signals.of_columns, signals.of_rows


def reads(matrix: Tensor, config: ReadoutConfig, dtype: torch.dtype) -> Reading:
    """Return what reads a matrix."""
    return Reading(matrix, config, dtype)


def largest(maps: Tensor) -> Tensor:
    """Return the largest size over the channels."""
    if not maps.is_contiguous():
        return plain.largest(maps)
    images, groups, _, *size = maps.shape
    top = maps.new_empty(images, groups, *size)
    loops_of_maps.largest(array(maps.detach().flatten(3)), array(top.flatten(2)))
    return top


def levels(maps: Tensor, unit: Tensor, step: float, bound: float, *, back: bool = False) -> Tensor:
    """Bring maps to levels of the input converter, in one pass."""
    if not maps.is_contiguous():
        return plain.levels(maps, unit, step, bound, back=back)
    q = scratch("read", maps.shape, maps)
    if unit.numel() == unit.shape[0] and not back:
        flat = array(maps.detach().flatten(1)), array(unit.reshape(-1)), array(q.flatten(1))
        loops_of_maps.levels(*flat, step > 0, bound)
    else:
        images, groups, _, *size = maps.shape
        units = _each(unit, torch.Size((images, groups, 1, *size))).view(images, groups, -1)
        three = array(maps.detach().flatten(3)), array(units), array(q.flatten(3))
        loops_of_maps.levels_of_positions(*three, step > 0, bound, back)
    return q


def convert(
    maps: Tensor, gain: Tensor, scale: Tensor, config: ReadoutConfig, generator: torch.Generator
) -> Tensor | None:
    """Bring products through the output converter, in one pass."""
    if not maps.is_contiguous():
        return plain.convert(maps, gain, scale, config, generator)
    n = config.levels
    images, groups, channels, *size = maps.shape
    lines = images * groups, -1
    reached = maps.new_zeros(images, groups, 1, *size, dtype=torch.bool)
    seed = _seed(maps)
    words = seed.draw(generator) if n.out_noise > 0 else seed.words
    gains = array(_each(gain, reached.shape).view(lines))
    scales = array(_each(scale, reached.shape).view(lines))
    found = loops_of_maps.convert(
        array(maps.view(-1)),
        gains,
        scales,
        array(reached.view(lines)),
        channels,
        words,
        ROOM,
        n.out_noise,
        n.out_step > 0,
        n.out_bound,
    )
    increment_version(maps)
    return reached if found and config.bound_management == "iterative" else None


def _each(factor: Tensor, shape: torch.Size) -> Tensor:
    """Return ``factor`` for each position."""
    return factor.expand(shape).contiguous()


def add_scaled_normal(maps: Tensor, deviation: Tensor, generator: torch.Generator) -> None:
    """Add normal numbers of a deviation for each position, in one pass."""
    if not maps.is_contiguous():
        plain.add_scaled_normal(maps, deviation, generator)
        return
    lines = maps.shape[0] * maps.shape[1], -1
    words, noise = _seed(maps).draw(generator), scratch("normal", (ROOM,), maps)
    factors = array(deviation.contiguous().view(lines))
    flat = array(maps.view(-1))
    loops_of_maps.add_scaled_normal(flat, factors, maps.shape[2], words, ROOM, array(noise))
    increment_version(maps)


class _Room:
    """Work space of :func:`take` for one shape."""

    def __init__(self, rows: int, columns: int, like: Tensor) -> None:
        # an element more: loops write before they know whether it counts
        size = rows * columns + 1
        self.places = scratch("places", (size,), like, torch.int64)
        self.pulses = scratch("pulses", (size,), like, torch.int32)
        self.seed = Seed(columns // 4 + 2, like)
        room = scratch("due", (4, columns + 1), like, torch.int32)
        self.arrays = array(room), array(self.places), array(self.pulses)


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
    """Take whole pulses off rows of a residual, in one pass (scratch memory)."""
    rows, columns = residual.shape
    space = kept(("take", rows, columns), lambda: _Room(rows, columns, residual))
    numbers = first, count, gain, limit
    words = space.seed.draw(generator)
    found = programming.take(
        array(residual), array(unit), *numbers, words, *space.arrays, array(slots)
    )
    increment_version(residual)
    return space.places[:found], space.pulses[:found]


class Elements:
    """A response, and arrays of it where steps are linear in the weight."""

    def __init__(self, response: Response) -> None:
        self.response = response
        self.arrays: tuple[Array, Array, Array, Array, Array] | None = None
        if (linear := response.linear()) is not None:
            base, offset, slope = (array(part.reshape(2, -1)) for part in (response.base, *linear))
            bounds = array(response.low.reshape(-1)), array(response.high.reshape(-1))
            self.arrays = base, offset, slope, *bounds


def elements(response: Response) -> Elements:
    """Return the elements in the form that :func:`pulse` takes."""
    return Elements(response)


def pulse(
    state: Tensor,
    elements: Elements,
    places: Tensor,
    pulses: Tensor,
    generator: torch.Generator,
) -> None:
    """Give elements their pulses: in one loop where steps are linear in the weight."""
    response = elements.response
    if elements.arrays is None:
        plain.pulse(state, response, places, pulses, generator)
        return
    numbers = response.noise, response.additive
    words = _seed(state).draw(generator)
    where = array(places), array(pulses)
    programming.pulse(array(state.view(-1)), *where, *elements.arrays, *numbers, words)
    increment_version(state)


class LinearBlock(plain.Block):
    """Rows whose steps are linear in the weight and whose writing has no noise: one loop does all.

    Args:
        linear: as from :meth:`analogpipe.device.response.Response.mixed_linear`.
    """

    def __init__(
        self, rows: slice, weight: Tensor, response: Response, linear: tuple[Tensor, Tensor]
    ) -> None:
        super().__init__(rows, weight, response, fill=fill)
        bounds = array(response.low), array(response.high)
        self._elements: loops.Elements = (
            array(weight),
            array(linear[0]),
            array(linear[1]),
            *bounds,
        )
        self._seed = Seed(weight.shape[1] // 4 + 2, weight)
        self._products = array(self.half), array(self.wanted)
        self._scale = UNIT * (self.pulse_variance / 2) ** 0.5

    def change(
        self,
        half: Tensor,
        wanted: Tensor,
        slots: tuple[Tensor, Tensor] | None,
        generator: torch.Generator,
    ) -> None:
        """As that of torch, in one pass."""
        if slots is None:
            super().change(half, wanted, slots, generator)
            return
        products = self._products if half is self.half else (array(half), array(wanted))
        factors = array(slots[1][self.rows]), array(slots[0])
        words = self._seed.draw(generator)
        numbers = self.pulse_variance, self._scale
        loops.move(*products, *factors, words, *self._elements, *numbers)
        increment_version(self.weight)  # autograd would not see it

    def at_once(
        self, granularity: float, config: UpdateConfig, generator: torch.Generator, slots: Tensor
    ) -> Updating | None:
        """Return what updates the array where loops can form products and pulses are noisy."""
        if not FOUND or config.rule != "pulsed":
            return None
        words, noise = (self._seed.first, self._seed.words), (self.pulse_variance, self._scale)
        parts = self.weight, self._elements, self._products, words, noise
        return Updating(*parts, granularity, config, generator, slots)


def block(
    rows: slice, weight: Tensor, response: Response, visible: Tensor | None, write_noise: float
) -> plain.Block:
    """Return what updates some ``rows`` of an array."""
    linear = response.mixed_linear()
    if linear is None or response.additive or visible is not None:
        return plain.Block(rows, weight, response, visible, write_noise, fill)
    return LinearBlock(rows, weight, response, linear)
