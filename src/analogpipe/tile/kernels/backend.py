"""The one choice between the two forms of the work on elements."""

from typing import Any, Protocol

import torch
from torch import Tensor

from analogpipe.device.response import Response
from analogpipe.tile.kernels import compiled, plain
from analogpipe.tile.sections import ReadoutConfig, UpdateConfig
from analogpipe.tile.signals import Signals


class Kernels(Protocol):
    """What both forms offer: :mod:`analogpipe.tile.kernels.compiled`, for arrays in main memory, and
    :mod:`analogpipe.tile.kernels.plain`, for all others.

    They agree to rounding, where they are given the same random bits.
    """

    def add_normal(self, y: Tensor, factor: float, generator: torch.Generator) -> Tensor:
        """Add ``factor`` times standard normal numbers to ``y`` in place, and return it."""

    def normal(self, shape: torch.Size, like: Tensor, generator: torch.Generator) -> Tensor:
        """Return standard normal numbers (it may be scratch memory), on the device of ``like``."""

    def condition(
        self,
        x: Tensor,
        e: Tensor,
        lr: float,
        granularity: float,
        config: UpdateConfig,
        out: Signals,
    ) -> Tensor:
        """Scale and clip the signals ``x`` (b, in) and ``e`` (b, out) to what pulse trains can carry,
        and count their slots.

        Returns ``x`` as clipped: itself under update management, which clips ``e`` alone.
        """

    def chances(self, signals: Signals) -> tuple[Tensor, Tensor]:
        """Return factors of the columns (in,) and of the rows (out,) whose products estimate the
        mean probability that a slot pulses an element, weighted by pulses.

        Exact for one sample; for more, exact where the signals' sizes are independent of each other.
        """

    def reads(self, matrix: Tensor, config: ReadoutConfig, dtype: torch.dtype) -> plain.Once:
        """Return what reads ``matrix`` (in, out), wherever that lies when it is read; the product is formed
        in ``dtype`` (:mod:`analogpipe.tile.products`)."""

    def largest(self, maps: Tensor) -> Tensor:
        """Return the largest size of ``maps`` (b, g, c, h, w) over the channels, (b, g, h, w)."""

    def levels(
        self, maps: Tensor, unit: Tensor, step: float, bound: float, *, back: bool = False
    ) -> Tensor:
        """Return ``maps`` (b, g, c, h, w) in levels of ``unit``, (b, 1, 1, 1, 1) or (b, g, 1, h, w), as
        scratch memory: rounded if ``step`` is not 0, clipped if ``bound`` is not; with ``back``, times
        ``unit`` again."""

    def convert(
        self,
        maps: Tensor,
        gain: Tensor,
        scale: Tensor,
        config: ReadoutConfig,
        generator: torch.Generator,
    ) -> Tensor | None:
        """Bring products ``maps`` (b, g, c, h, w) through the output converter in place.

        They become levels by ``gain`` and values by ``scale``, (b, g, 1, h, w) both. Also returns where
        (b, g, 1, h, w) bound management has to read again, None for nowhere.
        """

    def add_scaled_normal(
        self, maps: Tensor, deviation: Tensor, generator: torch.Generator
    ) -> None:
        """Add to ``maps`` (b, g, c, h, w) normal numbers of a ``deviation`` (b, g, 1, h, w), in place."""

    def take(
        self,
        residual: Tensor,
        unit: Tensor,
        first: int,
        count: int,
        gain: float,
        limit: int,
        generator: torch.Generator,
        slots: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Take whole pulses off ``count`` rows of ``residual`` (out, in) in place, in turn from row
        ``first`` on; return what they make the device do: flat places (n,) int64 and their pulses
        (n,) int32, negative for down (both may be scratch memory).

        An element loses ``n = trunc(residual / unit)`` of ``unit`` (out,). Its row is written by a train
        of ``m = min(ceil(max|n| gain), limit)`` slots, in each of which it fires with probability
        ``|n| / max|n|`` (less, where ``m`` was rounded up); what exceeds ``limit`` is lost. Adds the
        ``m`` of the rows that are written to ``slots`` (1,).
        """

    def elements(self, response: Response) -> Any:
        """Return the elements of an array in the form that :meth:`pulse` takes."""

    def pulse(
        self,
        state: Tensor,
        elements: Any,
        places: Tensor,
        pulses: Tensor,
        generator: torch.Generator,
    ) -> None:
        """Give the elements of ``state`` (out, in) at flat ``places`` their ``pulses``, as of
        :meth:`take`, one after the other."""

    def block(
        self,
        rows: slice,
        weight: Tensor,
        response: Response,
        visible: Tensor | None,
        write_noise: float,
    ) -> plain.Block:
        """Return what updates some ``rows`` of an array; the other arguments are of these alone."""


def kernels_of(weight: Tensor) -> Kernels:
    """Return the form for an array: compiled loops in main memory and float32, else torch."""
    in_memory = weight.device.type == "cpu" and weight.dtype == torch.float32
    return compiled if in_memory else plain
