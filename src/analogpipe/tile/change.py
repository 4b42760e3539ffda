"""What a micro-batch wants of an array: the change ``-lr e^T x``, in the forms that arrays ask for."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol, Self

import torch
from torch import Tensor

from analogpipe.tile.products import mm
from analogpipe.tile.sections import UpdateConfig


class Products(NamedTuple):
    """Expected pulses of all elements, ``sizes`` and ``signed`` (out, in): half the pulses and half
    the wanted change, in pulses; the mean probability of a slot is ``of_rows[k] of_columns[j]``."""

    sizes: Tensor
    signed: Tensor
    of_rows: Tensor
    of_columns: Tensor
    slots: Tensor | int
    """Slots of all pulse trains, () int64; 0 where they are counted already."""


Rounding = Callable[[Tensor, tuple[int, ...]], Tensor]
"""Rounds signals to levels that they share along the given axes."""


class Change(Protocol):
    """Inputs ``x`` and error signals ``e`` of the samples of a micro-batch, of any layer.

    An array that applies exact changes asks for :meth:`add_to`, one that fires pulse trains for
    :meth:`samples`. Products are formed in ``dtype`` (:mod:`analogpipe.tile.products`).
    """

    def add_to(self, matrix: Tensor, factor: float, dtype: torch.dtype) -> None:
        """Add ``factor e^T x``, summed over the samples, to ``matrix`` (out, in) in place."""

    def gradient(self, dtype: torch.dtype) -> Tensor:
        """Return ``e^T x``, summed over the samples, (out, in)."""

    def over(self, scale: Tensor) -> Self:
        """Return the change of error signals that are divided by ``scale``, (1,) or (out,)."""

    def rounded(self, of_x: "Rounding", of_e: "Rounding") -> Self:
        """Return the change of signals that are rounded sample by sample."""

    def samples(self) -> tuple[Tensor, Tensor]:
        """Return ``x`` (b, in) and ``e`` (b, out)."""

    def products(
        self, lr: float, granularity: float, config: UpdateConfig, dtype: torch.dtype
    ) -> Products | None:
        """Return the expected pulses, or None where they are to be found from the samples."""

    def largest(self) -> tuple[Tensor, Tensor]:
        """Return the largest size of ``x`` and of ``e`` in each sample, (b,) each."""

    def times(self, factors: Tensor) -> "Change":
        """Return the change with the error signals of each sample times its factor (b,)."""


@dataclass(slots=True)
class Samples:
    """The change of a fully connected layer: x (b, in), e (b, out)."""

    x: Tensor
    e: Tensor

    def add_to(self, matrix: Tensor, factor: float, dtype: torch.dtype) -> None:
        """Add ``factor e^T x`` to ``matrix`` in place."""
        if dtype == torch.float32:
            matrix.addmm_(self.e.t(), self.x, alpha=factor)
        else:
            matrix.add_(self.gradient(dtype), alpha=factor)

    def gradient(self, dtype: torch.dtype) -> Tensor:
        """Return ``e^T x``."""
        return mm(self.e.t(), self.x, dtype)

    def over(self, scale: Tensor) -> "Samples":
        """Divide the error signals by ``scale``."""
        return replace(self, e=self.e / scale)

    def rounded(self, of_x: Rounding, of_e: Rounding) -> "Samples":
        """Round both, each row by itself."""
        return Samples(of_x(self.x, (1,)), of_e(self.e, (1,)))

    def samples(self) -> tuple[Tensor, Tensor]:
        """Return ``x`` and ``e``."""
        return self.x, self.e

    def products(
        self, lr: float, granularity: float, config: UpdateConfig, dtype: torch.dtype
    ) -> None:
        """Return None: :class:`analogpipe.tile.update.Updater` forms them block by block."""

    def largest(self) -> tuple[Tensor, Tensor]:
        """Return the largest sizes."""
        return self.x.abs().amax(1), self.e.abs().amax(1)

    def times(self, factors: Tensor) -> "Samples":
        """Return the change with other error signals."""
        return Samples(self.x, self.e * factors.unsqueeze(1))
