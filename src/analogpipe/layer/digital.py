"""Digital layers whose products are in bfloat16; weights, sums, gradients and all else are float32.

A backward pass multiplies by the weight as it is then, not by a rounded copy of the forward pass: in a
pipeline without stashes that is what an accelerator does (docs/schedules.md).
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from analogpipe.layer.patches import Windows, split_padding
from analogpipe.tile.products import mm


class BfloatLinear(nn.Linear):
    """:class:`torch.nn.Linear`, with its three products in bfloat16 where they are large enough."""

    def forward(self, input: Tensor) -> Tensor:
        """Return ``x W^T + b``, (..., in) -> (..., out)."""
        flat = input.reshape(-1, self.in_features)
        y: Tensor = _Linear.apply(flat, self.weight)  # type: ignore[no-untyped-call]
        y = y if self.bias is None else y + self.bias
        return y.view(*input.shape[:-1], self.out_features)


class BfloatConv2d(nn.Conv2d):
    """:class:`torch.nn.Conv2d`, with its three products in bfloat16 where they are large enough."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        sizes: Any = self.kernel_size, self.stride, self.dilation
        kernel, stride, dilation = sizes
        padding: Any = self.padding
        inside, ahead = split_padding(padding, self.padding_mode, kernel, stride, dilation)
        x = input if input.dim() == 4 else input.unsqueeze(0)
        if any(ahead):
            x = F.pad(x, ahead, "constant" if self.padding_mode == "zeros" else self.padding_mode)
        windows = Windows(kernel, stride, inside, dilation, self.groups)
        y: Tensor = _Conv.apply(x, weight, windows)  # type: ignore[no-untyped-call]
        y = y if bias is None else y + bias.view(-1, 1, 1)
        return y if input.dim() == 4 else y.squeeze(0)


class LastMean(nn.AdaptiveAvgPool2d):
    """:class:`torch.nn.AdaptiveAvgPool2d`, whose gradient has its channels last where its input has.

    torch lays the gradient of a mean over whole images out with channels first; each operation before it
    would then take two layouts at once, for 50 times its time (docs/speed.md).
    """

    def forward(self, input: Tensor) -> Tensor:
        """Return the means, (b, c, h, w) -> (b, c, h', w')."""
        if self.output_size not in (1, (1, 1)) or input.dim() != 4:
            return super().forward(input)
        mean: Tensor = _Mean.apply(input)  # type: ignore[no-untyped-call]
        return mean


class _Mean(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.like = x.shape, suggested(x)
        return F.adaptive_avg_pool2d(x, 1)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, e: Tensor) -> Tensor:
        shape, layout = ctx.like
        each: Tensor = e / (shape[2] * shape[3])
        return each.expand(shape).contiguous(memory_format=layout)


def suggested(x: Tensor) -> torch.memory_format:
    """Return the layout of ``x`` (b, c, h, w)."""
    last = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
    return torch.channels_last if last else torch.contiguous_format


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return mm(x, weight.t(), torch.bfloat16)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, e: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        of_x, of_weight = ctx.needs_input_grad
        return (
            mm(e, weight, torch.bfloat16) if of_x else None,
            mm(e.t(), x, torch.bfloat16) if of_weight else None,
        )


class _Conv(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, windows: Windows) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.windows = windows
        return windows.convolve(x, weight, torch.bfloat16)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, e: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        of_x, of_weight, _ = ctx.needs_input_grad
        how = e, x, weight, torch.bfloat16
        windows = ctx.windows
        return (
            windows.input_gradient(*how) if of_x else None,
            windows.kernel_gradient(*how).view(weight.shape) if of_weight else None,
            None,
        )
