"""Updates of an array in main memory by the samples of a micro-batch, in one call."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import increment_version

from analogpipe.tile.kernels import whole
from analogpipe.tile.kernels.loops import Array, Elements
from analogpipe.tile.kernels.reading import address
from analogpipe.tile.noise import ANY
from analogpipe.tile.sections import UpdateConfig
from analogpipe.tile.signals import Signals


class Updating:
    """Updates ``weight`` (out, in), as :data:`analogpipe.tile.kernels.plain.AtOnce` says.

    Args:
        elements, products, words: arrays of the elements, and room, as the loops take them.
        noise: variance of a pulse, and what brings its root and 16 random bits to weight units.
        slots: to which the slots of all pulse trains are added (1,) int64.
    """

    def __init__(
        self,
        weight: Tensor,
        elements: Elements,
        products: tuple[Array, Array],
        words: tuple[Tensor, Array],
        noise: tuple[float, float],
        granularity: float,
        config: UpdateConfig,
        generator: torch.Generator,
        slots: Tensor,
    ) -> None:
        self._weight, self._generator, self._slots = weight, generator, slots
        self._outputs, self._inputs = weight.shape
        self._factor = -1 / (2 * granularity)
        managed = config.update_management, config.update_bl_management
        self._limits: tuple[Any, ...] = config.desired_bl, *managed
        self._products, (self._seed, room) = products, words
        self._elements: tuple[Any, ...] = room, *elements, *noise
        self._spaces: dict[int, tuple[Any, ...]] = {}

    def __call__(self, x: Tensor, e: Tensor, lr: float) -> None:
        """Apply the update of a micro-batch, x (b, in) and e (b, out), of at least one sample."""
        samples = x.shape[0]
        space = self._spaces.get(samples) or self._space(samples, x)
        x, e = x.contiguous(), e.contiguous()
        self._seed.random_(ANY, None, generator=self._generator)
        whole.update(
            address(x, samples * self._inputs),
            address(e, samples * self._outputs),
            samples,
            lr * self._factor,
            *self._limits,
            *space,
            *self._elements,
        )
        increment_version(self._weight)  # autograd would not see it

    def _space(self, samples: int, like: Tensor) -> tuple[Any, ...]:
        signals = Signals.space(samples, self._inputs, self._outputs, like, self._slots)
        space = self._spaces[samples] = *self._products, *signals.arrays
        return space
