"""What all arrays are: a weight that reads see, and a way to take an update."""

from functools import cached_property
from typing import Any, Self

import torch
from torch import Tensor, nn

from analogpipe.tile.change import Change
from analogpipe.tile.config import TileConfig
from analogpipe.tile.kernels.backend import Kernels, kernels_of
from analogpipe.tile.streams import Streams


class Array(nn.Module):
    """An array of ``out`` rows and ``in`` columns; each kind of array is a subclass, in its own file.

    Its state is in buffers (or parameters), so that it moves, is saved and is copied as that of any
    module. The elements, which follow from the address of ``streams``, are attributes: a subclass
    moves them in :meth:`moved`. What it keeps of views of its memory are cached properties.

    Args:
        weight: initial weight (out, in), float32; the array's own from here on.
        streams: those of the tile; ``update`` is for the array.
    """

    weight: Tensor
    """What reads see, (out, in)."""

    def __init__(self, weight: Tensor, config: TileConfig, streams: Streams) -> None:
        super().__init__()
        self.config, self.streams = config, streams
        self.keep(weight)

    def keep(self, weight: Tensor) -> None:
        """Take ``weight`` as the array's memory."""
        self.register_buffer("weight", weight)

    @classmethod
    def takes(cls, config: TileConfig) -> bool:
        """Whether this is the kind of array that ``config`` asks for."""
        raise NotImplementedError

    def update(self, change: Change, lr: float) -> None:
        """Apply the change that a micro-batch wants, at a learning rate that is not 0."""
        raise NotImplementedError

    def moved(self, device: torch.device) -> None:
        """Follow the buffers to ``device``."""

    @cached_property
    def kernels(self) -> Kernels:
        """What does the work on the elements."""
        return kernels_of(self.weight)

    def forget(self) -> None:
        """Drop what is made of views of the array's memory; it is made anew when it is needed."""
        for name in self._views():
            self.__dict__.pop(name, None)

    @classmethod
    def _views(cls) -> set[str]:
        return {
            name
            for kind in cls.__mro__
            for name, value in vars(kind).items()
            if isinstance(value, cached_property)
        }

    def __getstate__(self) -> dict[str, Any]:
        # a copy makes its own
        views = self._views()
        return {name: value for name, value in self.__dict__.items() if name not in views}

    def _apply(self, fn: Any, recurse: bool = True) -> Self:
        before = self.weight.device
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        if self.weight.device != before:
            self.moved(self.weight.device)
        self.forget()
        return self
