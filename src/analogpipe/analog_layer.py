"""What all layers with analog tiles share."""

from math import sqrt

import torch
from torch import Tensor, nn

from analogpipe.seeds import generator
from analogpipe.tile import AnalogTile


class AnalogLayer(nn.Module):
    """A layer with an analog tile. A backward pass leaves its update pending; :meth:`update`
    applies it.

    The weight is no Parameter: optimisers and gradient buffers never see it.
    """

    tile: AnalogTile

    def __init__(self) -> None:
        super().__init__()
        self._pending: list[Tensor] = []
        # autograd calls backward only where something requires a gradient
        self._anchor = torch.empty(0, requires_grad=True)

    def update(self, lr: float) -> None:
        """Apply the pending micro-batches in their order and clear them."""
        pending = self._pending
        for x, e in zip(pending[::2], pending[1::2], strict=True):
            self.apply_update(x, e, lr)
        pending.clear()

    def apply_update(self, x: Tensor, e: Tensor, lr: float) -> None:
        """Update the tile by one micro-batch of layer inputs and error signals."""
        raise NotImplementedError

    def add_pending(self, x: Tensor, e: Tensor) -> None:
        """Note a micro-batch for the next update."""
        self._pending += (x, e)

    def pending_state(self) -> list[Tensor]:
        """Return the pending micro-batches as ``[x0, e0, x1, e1, ...]``."""
        return list(self._pending)

    def load_pending(self, pending: list[Tensor]) -> None:
        """Replace the pending micro-batches."""
        if len(pending) % 2:
            raise ValueError(f"{len(pending)} pending tensors given, an even number is needed")
        self._pending = list(pending)


def initial(
    rows: int, fan_in: int, *, bias: bool, seed: int, name: str
) -> tuple[Tensor, Tensor | None]:
    """Draw weight (rows, fan_in) and bias (rows,) as torch's Linear and Conv layers do (Kaiming
    uniform, a = sqrt(5))."""
    stream = generator(seed, name, "weight")
    bound = 1 / sqrt(fan_in)
    weight = torch.empty(rows, fan_in).uniform_(-bound, bound, generator=stream)
    if not bias:
        return weight, None
    return weight, torch.empty(rows).uniform_(-bound, bound, generator=stream)
