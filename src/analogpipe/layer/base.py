"""What all layers with analog tiles share."""

from math import sqrt
from typing import Any, Literal

import torch
from torch import Tensor, nn

from analogpipe.seeds import generator
from analogpipe.tile.config import TileConfig
from analogpipe.tile.tile import AnalogTile

Bias = bool | Literal["analog"]
"""``True``: digital, a Parameter. ``"analog"``: the last column of the array, whose input is 1
(AIHWKit: a tile with ``analog_bias``, from ``mapping.digital_bias = False``). ``False``: none."""


class AnalogLayer(nn.Module):
    """A layer with an analog tile. A backward pass leaves its update pending; :meth:`update`
    applies it.

    The weight is no Parameter: optimisers and gradient buffers never see it.
    """

    bias: Tensor | None

    def __init__(
        self, rows: int, columns: int, tile: TileConfig, *, bias: Bias, seed: int, name: str
    ) -> None:
        """Draw an array of ``rows`` outputs and ``columns`` inputs, and its bias (see :func:`initial`)."""
        super().__init__()
        weight, values = initial(rows, columns, bias=bias, seed=seed, name=name)
        self.tile = AnalogTile(weight, tile, seed=seed, name=name)
        self.analog_bias = bias == "analog"
        self.bias = nn.Parameter(values) if bias is True else None
        self._pending: list[Tensor] = []
        # autograd calls backward only where something requires a gradient
        self._anchor = torch.empty(0, requires_grad=True)

    def __call__(self, *args: Any, **options: Any) -> Any:
        """Run the layer; under autocast in float32 all the same, as an array has no other precision."""
        if not torch.is_autocast_enabled(args[0].device.type):
            return super().__call__(*args, **options)
        with torch.autocast(args[0].device.type, enabled=False):
            return super().__call__(args[0].float(), *args[1:], **options)

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
        self._pending.extend((x, e))

    def pending_state(self) -> list[Tensor]:
        """Return the pending micro-batches as ``[x0, e0, x1, e1, ...]``."""
        return list(self._pending)

    def load_pending(self, pending: list[Tensor]) -> None:
        """Replace the pending micro-batches."""
        if len(pending) % 2:
            raise ValueError(f"{len(pending)} pending tensors given, an even number is needed")
        self._pending = list(pending)

    def weights(self) -> list[Tensor]:
        """Return the weights that a forward pass reads, the live tensors."""
        return [self.tile.weight]


def initial(rows: int, fan_in: int, *, bias: Bias, seed: int, name: str) -> tuple[Tensor, Tensor]:
    """Draw the array (rows, fan_in) and the digital bias (rows,) as torch's Linear and Conv layers
    draw weight and bias (Kaiming uniform, a = sqrt(5)).

    An analog bias is appended to the array as a column. The bias is empty where it is not digital.

    Raises:
        ValueError: ``bias`` is nothing known.
    """
    if bias not in (True, False, "analog"):
        raise ValueError(f"bias is True, False or 'analog', found {bias!r}")
    stream = generator(seed, name, "weight")
    bound = 1 / sqrt(fan_in)
    weight = torch.empty(rows, fan_in).uniform_(-bound, bound, generator=stream)
    values = torch.empty(rows if bias else 0).uniform_(-bound, bound, generator=stream)
    if bias == "analog":
        return torch.cat([weight, values.unsqueeze(1)], 1), values[:0]
    return weight, values


def with_one(x: Tensor) -> Tensor:
    """Append the input of an analog bias to the rows of ``x``: (b, in) -> (b, in + 1)."""
    return torch.cat([x, x.new_ones((x.shape[0], 1))], 1)
