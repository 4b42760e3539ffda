"""An analog tile: an array, and the converters through which it is read."""

from typing import Any, Self

import torch
from torch import Tensor, nn

from analogpipe.tile.agad import AgadArray
from analogpipe.tile.array import Array
from analogpipe.tile.change import Change, Samples
from analogpipe.tile.chopped import ChoppedArray
from analogpipe.tile.config import TileConfig
from analogpipe.tile.ideal import IdealArray
from analogpipe.tile.pair import PairArray
from analogpipe.tile.pulsed import PulsedArray, RewrittenArray
from analogpipe.tile.read import read
from analogpipe.tile.streams import Streams
from analogpipe.tile.tiki_taka import TikiTakaArray

ARRAYS: tuple[type[Array], ...] = (
    TikiTakaArray,
    ChoppedArray,
    AgadArray,
    PairArray,
    IdealArray,
    RewrittenArray,
    PulsedArray,
)
"""The kinds of arrays: a tile has the first one that takes its configuration."""


class AnalogTile(nn.Module):
    """An array of ``out`` rows and ``in`` columns, read through converters.

    Args:
        weight: initial weight (out, in); clipped into the bounds of the elements.
        config: device, update and read-out.
        seed, name: address of the random streams. The elements follow from them and are not part of
        the state dict.

    In evaluation mode the read-out takes its noise from a stream of its own, so that evaluating
    leaves training as it is.
    """

    def __init__(self, weight: Tensor, config: TileConfig, *, seed: int, name: str) -> None:
        super().__init__()
        if weight.dim() != 2:
            raise ValueError(f"the weight has {weight.dim()} dimensions, an array has 2")
        self.config = config
        self.streams = Streams(seed, name)
        kind = next(kind for kind in ARRAYS if kind.takes(config))
        self.array = kind(weight.detach().to(torch.float32).clone(), config, self.streams)

    @property
    def weight(self) -> Tensor:
        """What reads see, (out, in)."""
        return self.array.weight

    @property
    def address(self) -> tuple[int, str]:
        """Seed and name of the random streams."""
        return self.streams.seed, self.streams.name

    def read_forward(self, x: Tensor) -> Tensor:
        """Return ``x W^T`` as read: (b, in) -> (b, out)."""
        array = self.array
        stream = self.forward_stream()
        return read(x, array.weight.t(), self.config.forward, stream, array.kernels)

    def read_backward(self, e: Tensor) -> Tensor:
        """Return ``e W`` as read through the transposed array: (b, out) -> (b, in)."""
        array = self.array
        return read(e, array.weight, self.config.backward, self.backward_stream(), array.kernels)

    def update(self, x: Tensor, e: Tensor, lr: float) -> None:
        """Apply the change ``-lr e^T x`` wanted by one micro-batch: x (b, in), e (b, out)."""
        self.change(Samples(x, e), lr)

    @torch.no_grad()
    def change(self, change: Change, lr: float) -> None:
        """Apply the change wanted by one micro-batch."""
        if lr != 0:
            self.array.update(change, lr)

    def forward_stream(self) -> torch.Generator:
        """Return the noise stream of forward reads in the present mode."""
        return self.streams["forward" if self.training else "eval"]

    def backward_stream(self) -> torch.Generator:
        """Return the noise stream of backward reads."""
        return self.streams["backward"]

    def get_extra_state(self) -> Tensor:
        """Return the states of the random streams, (streams, bytes) uint8."""
        return self.streams.state()

    def set_extra_state(self, state: Tensor) -> None:
        """Restore the random streams."""
        self.streams.load(state)

    def _apply(self, fn: Any, recurse: bool = True) -> Self:
        before = self.weight.device
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        if self.weight.device != before:
            self.streams.to(self.weight.device)
        return self
