"""Convolutions on an analog tile.

The array holds a row per output channel and a column per kernel element. It is read once per output
position, with the patch under the kernel as input. Nothing here loops over positions: one ordinary
convolution does all products, and the effects of converters and noise follow from maps of the
largest signal under each position.

Against a simulation patch by patch (AIHWKit), noise and output quantisation of the forward read and
input quantisation of the backward read are the same. Two things are not: a pixel lies in many
patches but is quantised once, at the scale of its image instead of each patch's; and the backward
read adds the rounding error of the ADC as noise of the same variance, and does not clip.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from analogpipe.layer.base import AnalogLayer, Bias, with_one
from analogpipe.layer.patches import Pair, Windows, pair
from analogpipe.tile.config import TileConfig
from analogpipe.tile.noise import add_normal, normal
from analogpipe.tile.scratch import scratch

_TINY = 1e-30


class AnalogConv2d(AnalogLayer):
    """2-D convolution on an analog tile, (b, in, h, w) -> (b, out, h', w').

    Args:
        bias: digital (a Parameter), ``"analog"`` (the last column of the array, with input 1) or
            ``False`` for none.
        seed, name: address of the layer's random streams; initial weights as in
            :class:`torch.nn.Conv2d`.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Pair,
        tile: TileConfig,
        *,
        stride: Pair = 1,
        padding: Pair = 0,
        groups: int = 1,
        bias: Bias = True,
        seed: int,
        name: str,
    ) -> None:
        if (
            min(in_channels, out_channels, groups) < 1
            or in_channels % groups + out_channels % groups
        ):
            raise ValueError(
                f"{in_channels} input and {out_channels} output channels cannot be split into "
                f"{groups} groups"
            )
        size = pair(kernel_size)
        columns = in_channels // groups * size[0] * size[1]
        super().__init__(out_channels, columns, tile, bias=bias, seed=seed, name=name)
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size, self.stride = size, pair(stride)
        self.padding = pair(padding)
        self.windows = Windows(self.kernel_size, self.stride, self.padding)

    def kernel(self) -> Tensor:
        """Return the array as a kernel (out, in / groups, kh, kw), a view."""
        weight = self.tile.weight[:, :-1] if self.analog_bias else self.tile.weight
        return weight.view(self.out_channels, -1, *self.kernel_size)

    def forward(self, x: Tensor) -> Tensor:
        """Read the array; keep what the update needs."""
        x = x.contiguous()
        out: Tensor = _Conv.apply(x, self.bias, self._anchor, self)  # type: ignore[no-untyped-call]
        return out

    def convolve(self, x: Tensor) -> Tensor:
        """Return the exact convolution, without bias."""
        return F.conv2d(x, self.kernel(), None, self.stride, self.padding, 1, self.groups)

    def _bias_column(self) -> Tensor:
        return self.tile.weight[:, -1].view(-1, 1, 1)

    def _largest_input(self, sizes: Tensor) -> Tensor:
        """Largest of ``sizes`` (b, in, h, w) under the kernel, with the input of an analog bias."""
        top = self.windows.largest(self._largest_channel(sizes))
        return top.clamp_min(1.0) if self.analog_bias else top

    def _largest_channel(self, sizes: Tensor) -> Tensor:
        """Largest of ``sizes`` (b, in, h, w) over the channels of a group, (b, groups, h, w)."""
        return self._by_group(sizes).amax(2)

    def _array_gradient(self, e: Tensor, x: Tensor) -> Tensor:
        """Return the exact gradient for the array, ``(out, columns)``."""
        grad = self.gradients(e, x, wrt_input=False)
        return torch.cat([grad, e.sum((0, 2, 3)).unsqueeze(1)], 1) if self.analog_bias else grad

    def gradients(self, e: Tensor, x: Tensor, *, wrt_input: bool) -> Tensor:
        """Return the exact gradient with respect to the input or (flat) to the kernel."""
        grad: tuple[Tensor | None, Tensor | None, None] = torch.ops.aten.convolution_backward(
            e,
            x,
            self.kernel(),
            None,
            self.stride,
            self.padding,
            (1, 1),
            False,
            (0, 0),
            self.groups,
            (wrt_input, not wrt_input, False),
        )
        if wrt_input:
            assert grad[0] is not None
            return grad[0]
        assert grad[1] is not None
        return grad[1].view(self.out_channels, -1)

    @torch.no_grad()
    def apply_update(self, x: Tensor, e: Tensor, lr: float) -> None:
        """Update the tile by all samples and positions: x (b, in, h, w), e (b, out, h', w')."""
        if lr == 0:
            return
        tile = self.tile
        if tile.response is None:
            tile.weight.add_(self._array_gradient(e, x), alpha=-lr)
            return
        config, g = tile.config.update, tile.config.device.granularity
        by_patches = config.rule == "pulse_train" or not config.update_management
        if by_patches or tile.config.transfer is not None:
            self._update_by_patches(x, e, lr)
            return
        # as in signals.condition, with positions for samples, and scaled only after the products
        x_sizes = torch.abs(x, out=scratch("x_sizes", x.shape, x))
        e_sizes = torch.abs(e, out=scratch("e_sizes", e.shape, e))
        x_top = self._largest_input(x_sizes)
        needed = self._largest_channel(e_sizes).mul_(x_top).mul_(lr / g)
        limit, longest = config.desired_bl, float(needed.max())
        if longest > limit:
            bound = (limit * g / lr / x_top.clamp_min(_TINY)).unsqueeze(2)
            clipped = scratch("clipped", e.shape, e)
            torch.clamp(self._by_group(e), -bound, bound, out=self._by_group(clipped))
            e = clipped
            torch.abs(e, out=e_sizes)
        lengths = None if longest <= 1 else needed.ceil_().clamp_(1, limit)
        if not config.update_bl_management:
            lengths = needed.fill_(limit)
        wanted = self._array_gradient(e, x).mul_(-lr / (2 * g))
        activity = self._array_gradient(e_sizes, x_sizes).mul_(lr / (2 * g))
        of_rows, of_columns = self._chances(x_sizes, e_sizes, lengths)
        tile.updater().apply_products(activity, wanted, of_rows.mul_(lr / g), of_columns)

    def _chances(
        self, x_sizes: Tensor, e_sizes: Tensor, lengths: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """As :func:`analogpipe.tile.signals.chances` at ``lr / g = 1``; all kernel elements of a channel
        get the same.

        With groups a column stands for several channels: its factor is their mean. ``lengths`` None:
        all are 1. Overwrites the sizes.
        """
        total = e_sizes.sum((0, 2, 3)).add_(_TINY)
        squares = e_sizes.square_()
        if lengths is not None:
            self._by_group(squares).div_(lengths.unsqueeze(2))
        of_rows = squares.sum((0, 2, 3)).div_(total)
        total = x_sizes.sum((0, 2, 3)).add_(_TINY)
        of_channels = x_sizes.square_().sum((0, 2, 3)).div_(total)
        area = self.kernel_size[0] * self.kernel_size[1]
        of_columns = of_channels.view(self.groups, -1).mean(0).repeat_interleave(area)
        if self.analog_bias:
            of_columns = torch.cat([of_columns, of_columns.new_ones(1)])
        return of_rows, of_columns

    def _by_group(self, e: Tensor) -> Tensor:
        return e.view(e.shape[0], self.groups, -1, *e.shape[2:])

    def _update_by_patches(self, x: Tensor, e: Tensor, lr: float) -> None:
        if self.groups > 1:
            raise ValueError("updates patch by patch need groups = 1, found more")
        patches = F.unfold(x, self.kernel_size, padding=self.padding, stride=self.stride)
        patches = patches.transpose(1, 2).reshape(-1, patches.shape[1])
        patches = with_one(patches) if self.analog_bias else patches
        self.tile.update(patches, e.flatten(2).transpose(1, 2).reshape(-1, e.shape[1]), lr)

    def read_forward(self, x: Tensor) -> Tensor:
        """Return the convolution as read, (b, in, h, w) -> (b, out, h', w')."""
        config = self.tile.config.forward
        if config.perfect:
            y = self.convolve(x)
            return y.add_(self._bias_column()) if self.analog_bias else y
        stream = self.tile.forward_stream()
        if config.noise_management == "abs_max":
            sizes = self._largest_channel(torch.abs(x, out=scratch("read", x.shape, x)))
            least = 1.0 if self.analog_bias else _TINY
            local = self.windows.largest(sizes).clamp_min(least)
            image = sizes.amax((1, 2, 3), keepdim=True).clamp_min_(least)
        else:
            image = x.new_ones((x.shape[0], 1, 1, 1))
            local = image.expand(-1, self.groups, -1, -1)
        factor, limit = 1, float(config.max_bm_factor)
        if config.levels.inp_step > 0:
            limit = min(limit, config.max_bm_res / config.levels.inp_step)
        y, saturated = self._read(x, image, local, stream)
        while saturated is not None and factor <= limit:
            factor *= 2
            again, still = self._read(x, image * factor, local * factor, stream)
            y = torch.where(saturated, again, y)
            saturated = None if still is None else still & saturated
        return y

    def _read(
        self, x: Tensor, image: Tensor, local: Tensor, stream: torch.Generator
    ) -> tuple[Tensor, Tensor | None]:
        """One read of all positions, and where an output reached its bound (None: nowhere)."""
        config = self.tile.config.forward
        n = config.levels
        unit = image * (n.inp_step or 1.0)
        q = torch.div(x, unit, out=scratch("read", x.shape, x))
        if n.inp_step > 0:
            q.round_()
        if n.inp_bound > 0:
            q.clamp_(-n.inp_bound, n.inp_bound)
        if n.inp_noise > 0:
            add_normal(q, n.inp_noise, stream)
        y = self.convolve(q)
        if self.analog_bias:
            y.add_(self._bias_input(1 / unit, y, stream) * self._bias_column())
        grouped = self._by_group(y)
        scale = (local * (n.out_step or 1.0)).unsqueeze(2)
        grouped.mul_(unit.unsqueeze(1) / scale)
        if n.out_noise > 0:
            add_normal(y, n.out_noise, stream)
        if n.out_step > 0:
            y.round_()
        saturated = None
        if n.out_bound > 0:
            if config.bound_management == "none":
                y.clamp_(-n.out_bound, n.out_bound)
            else:
                low, high = torch.aminmax(y)
                if float(high) >= n.out_bound or float(low) <= -n.out_bound:
                    saturated = (grouped.abs().amax(2, keepdim=True) >= n.out_bound).expand_as(
                        grouped
                    )
                    saturated = saturated.reshape(y.shape)
                    y.clamp_(-n.out_bound, n.out_bound)
        grouped.mul_(scale)
        return y, saturated

    def _bias_input(self, one: Tensor, y: Tensor, stream: torch.Generator) -> Tensor:
        """The input 1 of an analog bias through the converter, at each position of ``y``."""
        n = self.tile.config.forward.levels
        one = one.round() if n.inp_step > 0 else one
        bound = self.tile.config.forward.inp_bound / (n.inp_step or 1.0)
        if bound > 0:
            one = one.clamp(-bound, bound)
        if n.inp_noise > 0:
            noise = torch.empty_like(y[:, :1]).normal_(generator=stream)
            one = one + noise * n.inp_noise
        return one

    def read_backward(self, e: Tensor, x: Tensor) -> Tensor:
        """Return the gradient for ``x`` as read through the transposed array."""
        config = self.tile.config.backward
        if config.perfect:
            return self.gradients(e, x, wrt_input=True)
        grouped = self._by_group(e)
        if config.noise_management == "abs_max":
            sizes = torch.abs(grouped, out=scratch("read", grouped.shape, e))
            scale = sizes.amax(2, keepdim=True).clamp_min_(_TINY)
        else:
            scale = e.new_ones((e.shape[0], self.groups, 1, *e.shape[2:]))
        n = config.levels
        unit = scale * (n.inp_step or 1.0)
        q = torch.div(grouped, unit, out=scratch("read", grouped.shape, e))
        if n.inp_step > 0:
            q.round_()
        if n.inp_bound > 0:
            q.clamp_(-n.inp_bound, n.inp_bound)
        stream = self.tile.backward_stream()
        if n.inp_noise > 0:
            add_normal(q, n.inp_noise, stream)
        grad = self.gradients(q.mul_(unit).view(e.shape), x, wrt_input=True)
        variance = config.out_noise**2 + n.out_step**2 / 12
        if variance > 0:
            # each of the positions over a pixel was read by itself
            total = self.windows.spread(scale.squeeze(2).square(), x.shape)
            noise = normal(grad.shape, grad, stream).view(x.shape[0], self.groups, -1, *x.shape[2:])
            deviation = total.mul_(variance).sqrt_().unsqueeze(2)
            grad.view(noise.shape).addcmul_(noise, deviation)
        return grad


class _Conv(torch.autograd.Function):
    """Forward reads the array, backward reads it as it is *then* and leaves (x, e) pending."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, bias: Tensor | None, anchor: Tensor, layer: AnalogConv2d
    ) -> Tensor:
        ctx.layer = layer
        ctx.save_for_backward(x)
        y = layer.read_forward(x)
        return y if bias is None else y.add_(bias.view(-1, 1, 1))

    @staticmethod
    def backward(ctx: Any, e: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        (x,) = ctx.saved_tensors
        layer = ctx.layer
        e = e.contiguous()
        layer.add_pending(x, e)
        grad_x = layer.read_backward(e, x) if ctx.needs_input_grad[0] else None
        grad_bias = e.sum((0, 2, 3)) if ctx.needs_input_grad[1] else None
        return grad_x, grad_bias, None, None
