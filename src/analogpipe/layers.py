"""Layers whose weights live in analog tiles, for use in any torch module."""

from math import sqrt
from typing import Any

import torch
from torch import Tensor, nn

from analogpipe.seeds import generator
from analogpipe.tile import AnalogTile
from analogpipe.tile_config import TileConfig


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


class AnalogLinear(AnalogLayer):
    """Fully connected layer on an analog tile, (..., in_features) -> (..., out_features).

    Args:
        bias: digital bias, a Parameter; ``False`` for none.
        seed, name: address of the layer's random streams; initial weights as in
        :class:`torch.nn.Linear`.
    """

    bias: Tensor | None

    def __init__(
        self,
        in_features: int,
        out_features: int,
        tile: TileConfig,
        *,
        bias: bool = True,
        seed: int,
        name: str,
    ) -> None:
        super().__init__()
        if in_features < 1 or out_features < 1:
            raise ValueError(
                f"a layer needs at least one input and output, found {in_features}, {out_features}"
            )
        self.in_features, self.out_features = in_features, out_features
        weight, initial_bias = initial(out_features, in_features, bias=bias, seed=seed, name=name)
        self.tile = AnalogTile(weight, tile, seed=seed, name=name)
        self.bias = None if initial_bias is None else nn.Parameter(initial_bias)

    def forward(self, x: Tensor) -> Tensor:
        """Read the array; keep what the update needs."""
        out: Tensor
        if x.dim() == 2:
            out = _Linear.apply(x, self.bias, self._anchor, self)  # type: ignore[no-untyped-call]
        else:
            flat = x.reshape(-1, self.in_features)
            out = _Linear.apply(flat, self.bias, self._anchor, self)  # type: ignore[no-untyped-call]
            out = out.view(*x.shape[:-1], self.out_features)
        return out

    def apply_update(self, x: Tensor, e: Tensor, lr: float) -> None:
        """Update the tile: x (b, in), e (b, out)."""
        self.tile.update(x, e, lr)

    def extra_repr(self) -> str:
        """Sizes and device."""
        kind, bias = self.tile.config.device.kind, self.bias is not None
        return f"{self.in_features}, {self.out_features}, device={kind}, bias={bias}"


class _Linear(torch.autograd.Function):
    """Forward reads the array, backward reads it as it is *then* and leaves (x, e) pending."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, bias: Tensor | None, anchor: Tensor, layer: AnalogLinear
    ) -> Tensor:
        ctx.layer = layer
        ctx.save_for_backward(x)
        y = layer.tile.read_forward(x)
        return y if bias is None else y.add_(bias)

    @staticmethod
    def backward(ctx: Any, e: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        (x,) = ctx.saved_tensors
        layer = ctx.layer
        layer.add_pending(x, e)
        grad_x = layer.tile.read_backward(e) if ctx.needs_input_grad[0] else None
        grad_bias = e.sum(0) if ctx.needs_input_grad[1] else None
        return grad_x, grad_bias, None, None


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
