"""The random streams of a tile."""

import torch
from torch import Tensor

from analogpipe.seeds import generator

STREAMS = ("update", "forward", "backward", "eval")
"""Forward and backward reads have streams of their own, so that noise does not depend on how a
schedule interleaves them."""


class Streams:
    """The streams at one address (seed, name): those in use, by purpose, and fresh ones."""

    def __init__(self, seed: int, name: str) -> None:
        self.seed, self.name = seed, name
        self.to("cpu")

    def __getitem__(self, purpose: str) -> torch.Generator:
        return self._streams[purpose]

    def fresh(self, purpose: str) -> torch.Generator:
        """Return a stream of its own at this address, in main memory: for what is drawn once."""
        return generator(self.seed, self.name, purpose)

    def to(self, device: torch.device | str) -> None:
        """Begin all streams anew on ``device``: no state means the same on two kinds of device."""
        self._streams = {
            purpose: generator(self.seed, self.name, purpose, device=device) for purpose in STREAMS
        }

    def state(self) -> Tensor:
        """Return the states of the streams, (streams, bytes) uint8."""
        return torch.stack([self._streams[purpose].get_state() for purpose in STREAMS])

    def load(self, state: Tensor) -> None:
        """Go on from :meth:`state`."""
        for purpose, row in zip(STREAMS, state.cpu(), strict=True):
            self._streams[purpose].set_state(row.clone())
