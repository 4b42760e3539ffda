"""Layers whose weights live in analog tiles, for use in any torch module."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from analogpipe.layer.base import AnalogLayer, Bias, LayerError, check_input, with_one
from analogpipe.tile.change import Samples
from analogpipe.tile.config import TileConfig


class AnalogLinear(AnalogLayer):
    """Fully connected layer on an analog tile, (..., in_features) -> (..., out_features).

    Args:
        bias: digital (a Parameter), ``"analog"`` (the last column of the array, with input 1) or
            ``False`` for none.
        seed, name: address of the layer's random streams; initial weights as in
        :class:`torch.nn.Linear`.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        tile: TileConfig,
        *,
        bias: Bias = True,
        seed: int,
        name: str,
    ) -> None:
        if in_features < 1 or out_features < 1:
            raise LayerError(
                f"a layer needs at least one input and output, found {in_features}, {out_features}"
            )
        super().__init__((out_features, in_features), tile, bias=bias, seed=seed, name=name)
        self.in_features, self.out_features = in_features, out_features

    def forward(self, x: Tensor) -> Tensor:
        """Read the array; keep what the update needs.

        Raises:
            LayerError: the input does not fit.
        """
        check_input(self, x, -1, self.in_features, ())
        if x.numel() == 0:  # nothing to read
            return F.linear(x, self.matrix(), self.bias)
        if x.dim() != 2:
            flat = self.forward(x.reshape(-1, self.in_features))
            return flat.view(*x.shape[:-1], self.out_features)
        if self.tile.scales.learned is None:
            return _read(x, self.bias, self.anchor, self)
        return self.scaled(_read(x, None, self.anchor, self))

    def apply_update(self, x: Tensor, e: Tensor, lr: float) -> None:
        """Update the tile by one micro-batch: in one call where the array can."""
        plain = not self.analog_bias and self.tile.scales.alpha is None
        if not (plain and self.tile.array.at_once(x, e, lr)):
            super().apply_update(x, e, lr)

    def wanted(self, x: Tensor, e: Tensor) -> Samples:
        """Return the change that x (b, in) and e (b, out) want."""
        return Samples(with_one(x) if self.analog_bias else x, e)

    def extra_repr(self) -> str:
        """Sizes, bias and device."""
        return f"{self.in_features}, {self.out_features}, {super().extra_repr()}"


class _Linear(torch.autograd.Function):
    """Forward reads the array, backward reads it as it is *then* and leaves (x, e) pending."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, bias: Tensor | None, anchor: Tensor, layer: AnalogLinear
    ) -> Tensor:
        ctx.layer, ctx.trains = layer, layer.training
        ctx.save_for_backward(x)
        tile = layer.tile
        signals = with_one(x) if layer.analog_bias else x
        if tile.scales.alpha is None:
            return tile.read_forward(signals, bias)
        y = tile.scales.fix_(tile.read_forward(signals))
        return y if bias is None else y.add_(bias)

    @staticmethod
    def backward(ctx: Any, e: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        (x,) = ctx.saved_tensors
        layer = ctx.layer
        gradient = layer.learn(x, e, ctx)
        scaled = layer.tile.scales.fixed(e)
        grad_x = layer.tile.read_backward(scaled) if ctx.needs_input_grad[0] else None
        if layer.analog_bias and grad_x is not None:
            grad_x = grad_x[:, :-1]
        grad_bias = e.sum(0) if ctx.needs_input_grad[1] else None
        return grad_x, grad_bias, gradient, None


_read: Callable[..., Tensor] = super(torch.autograd.Function, _Linear).apply
"""``_Linear.apply`` without what it does for transforms of torch.func, which arrays refuse anyway: a third
of its time."""
