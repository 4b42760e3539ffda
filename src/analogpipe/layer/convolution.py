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

from analogpipe.layer.base import AnalogLayer, Bias, LayerError, check_input
from analogpipe.layer.patches import Pair, Windows, pair, split_padding
from analogpipe.layer.positions import Positions
from analogpipe.tile.config import TileConfig
from analogpipe.tile.kernels import compiled, pixels

_TINY = 1e-30


class AnalogConv2d(AnalogLayer):
    """2-D convolution on an analog tile, (b, in, h, w) -> (b, out, h', w') or without b.

    Args:
        kernel_size, stride, padding, dilation, groups, padding_mode: as in :class:`torch.nn.Conv2d`.
        bias: digital (a Parameter), ``"analog"`` (the last column of the array, with input 1) or
            ``False`` for none.
        seed, name: address of the layer's random streams; initial weights as in
            :class:`torch.nn.Conv2d`.

    Raises:
        LayerError: what was found, and what is allowed.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Pair,
        tile: TileConfig,
        *,
        stride: Pair = 1,
        padding: Pair | str = 0,
        dilation: Pair = 1,
        groups: int = 1,
        padding_mode: str = "zeros",
        bias: Bias = True,
        seed: int,
        name: str,
    ) -> None:
        if (
            min(in_channels, out_channels, groups) < 1
            or in_channels % groups + out_channels % groups
        ):
            raise LayerError(
                f"{in_channels} input and {out_channels} output channels cannot be split into "
                f"{groups} groups"
            )
        size = pair("kernel_size", kernel_size, 1)
        steps = pair("stride", stride, 1)
        apart = pair("dilation", dilation, 1)
        inside, ahead = split_padding(padding, padding_mode, size, steps, apart)
        shape = (out_channels, in_channels // groups, *size)
        super().__init__(shape, tile, bias=bias, seed=seed, name=name)
        if groups > 1 and self.tile.array.fires_samples(tile):
            raise LayerError(
                f"{name}: updates of this tile go patch by patch, which needs groups = 1, found {groups}"
            )
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size, self.stride, self.dilation = size, steps, apart
        self.padding, self.padding_mode = padding, padding_mode
        self.windows = Windows(size, steps, inside, apart, groups)
        self._ahead = ahead

    def forward(self, x: Tensor) -> Tensor:
        """Read the array; keep what the update needs.

        Raises:
            LayerError: the input does not fit.
        """
        check_input(self, x, -3, self.in_channels, (3, 4))
        if x.dim() == 3:
            single: Tensor = self.forward(x.unsqueeze(0))
            return single.squeeze(0)
        if any(self._ahead):
            mode = "constant" if self.padding_mode == "zeros" else self.padding_mode
            x = F.pad(x, self._ahead, mode)
        if min(self.windows.places(x.shape)) < 1:
            raise LayerError(
                f"{self.name}: an image of {x.shape[2]} x {x.shape[3]} pixels with its padding is "
                f"smaller than the kernel, {self.kernel_size} at dilation {self.dilation}"
            )
        if x.numel() == 0:  # nothing to read
            y = self.windows.convolve(x, self.matrix())
            return y if self.bias is None else y + self.bias.view(-1, 1, 1)
        x = pixels.laid(x) if self.by_pixels(x) else x.contiguous()
        read = _Conv.apply(x, self.read_bias(), self.anchor, self)  # type: ignore[no-untyped-call]
        return self.scaled(read)

    def wanted(self, x: Tensor, e: Tensor) -> Positions:
        """Return the change that all samples and positions want: x (b, in, h, w), e (b, out, h', w')."""
        how = self.windows, self.matrix(), self.analog_bias, self.by_pixels(x)
        return Positions(x, e, *how)

    def extra_repr(self) -> str:
        """Sizes, bias and device."""
        sizes = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}"
        sizes += f", stride={self.stride}"
        defaults = {"padding": 0, "dilation": (1, 1), "groups": 1, "padding_mode": "zeros"}
        for key, default in defaults.items():
            if (value := getattr(self, key)) != default:
                sizes += f", {key}={value!r}"
        return f"{sizes}, {super().extra_repr()}"

    def by_pixels(self, x: Tensor) -> bool:
        """Whether the products of an input are in bfloat16 and made of signals pixel by pixel
        (:mod:`analogpipe.tile.kernels.pixels`): in main memory, of one group, without analog bias."""
        array = self.tile.array
        return (
            array.multiplies_in == torch.bfloat16
            and self.groups == 1
            and not self.analog_bias
            and array.kernels is compiled
            and self.windows.pays(x.shape, self.matrix(), torch.bfloat16)
        )

    def _largest(self, x: Tensor) -> Tensor:
        if self.by_pixels(x):
            return pixels.largest(x)
        return self.tile.array.kernels.largest(self.windows.by_group(x))

    def _low_read_backward(self, e: Tensor, x: Tensor, variance: float) -> Tensor:
        """As :meth:`read_backward`, by pixels."""
        q, scale = pixels.levels_of_pixels(e, self.tile.config.backward)
        grad = self.windows.low_input_gradient(q, x, self.matrix())
        deviation = self.windows.spread(scale.square_(), x.shape).mul_(variance).sqrt_()
        return pixels.add_scaled_normal(grad, deviation, self.tile.backward_stream())

    def _convolve(self, x: Tensor) -> Tensor:
        dtype = self.tile.array.multiplies_in
        return self.windows.convolve(x, self.matrix(), dtype).contiguous()

    def _input_gradient(self, e: Tensor, x: Tensor) -> Tensor:
        dtype = self.tile.array.multiplies_in
        return self.windows.input_gradient(e, x, self.matrix(), dtype).contiguous()

    def _bias_column(self) -> Tensor:
        return self.tile.array.weight[:, -1].view(-1, 1, 1)

    def read_forward(self, x: Tensor) -> Tensor:
        """Return the convolution as read, (b, in, h, w) -> (b, out, h', w')."""
        config = self.tile.config.forward
        if config.perfect:
            y = self._convolve(x)
            return y.add_(self._bias_column()) if self.analog_bias else y
        stream = self.tile.forward_stream()
        if config.noise_management == "abs_max":
            sizes = self._largest(x)
            least = 1.0 if self.analog_bias else _TINY
            local = self.windows.largest(sizes).clamp_min(least)
            image = sizes.amax((1, 2, 3), keepdim=True).clamp_min_(least)
        else:
            image = x.new_ones((x.shape[0], 1, 1, 1))
            local = image.expand(-1, self.groups, -1, -1)
        y, saturated = self._read(x, image, local, stream)
        for factor in config.factors():
            if saturated is None:
                break
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
        unit, kernels = image * (n.inp_step or 1.0), self.tile.array.kernels
        scale = local * (n.out_step or 1.0)
        if self.by_pixels(x) and n.inp_noise == 0:
            q = pixels.levels(x, unit, config)
            low = self.windows.low_convolution(q, self.matrix())
            y, reached = pixels.convert(low, unit / scale, scale, config, stream)
            return y, None if reached is None else reached.expand_as(y)
        images = unit.unsqueeze(1)
        q = kernels.levels(self.windows.by_group(x), images, n.inp_step, n.inp_bound).view(x.shape)
        if n.inp_noise > 0:
            kernels.add_normal(q, n.inp_noise, stream)
        y = self._convolve(q)
        if self.analog_bias:
            y.add_(self._bias_input(1 / unit, y, stream) * self._bias_column())
        grouped, scale = self.windows.by_group(y), scale.unsqueeze(2)
        saturated = kernels.convert(grouped, images / scale, scale, config, stream)
        return y, None if saturated is None else saturated.expand_as(grouped).reshape(y.shape)

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
            return self._input_gradient(e, x)
        n = config.levels
        variance = config.out_noise**2 + n.out_step**2 / 12
        if self.by_pixels(x) and n.inp_noise == 0 and variance > 0:
            return self._low_read_backward(e, x, variance)
        grouped = self.windows.by_group(e)
        stream, kernels = self.tile.backward_stream(), self.tile.array.kernels
        if config.noise_management == "abs_max":
            scale = kernels.largest(grouped).unsqueeze(2).clamp_min_(_TINY)
        else:
            scale = e.new_ones((e.shape[0], self.groups, 1, *e.shape[2:]))
        unit = scale * (n.inp_step or 1.0)
        noisy = n.inp_noise > 0
        q = kernels.levels(grouped, unit, n.inp_step, n.inp_bound, back=not noisy)
        if noisy:
            kernels.add_normal(q, n.inp_noise, stream).mul_(unit)
        grad = self._input_gradient(q.view(e.shape), x)
        if variance > 0:
            # each of the positions over a pixel was read by itself
            total = self.windows.spread(scale.squeeze(2).square(), x.shape)
            deviation = total.mul_(variance).sqrt_().unsqueeze(2)
            kernels.add_scaled_normal(self.windows.by_group(grad), deviation, stream)
        return grad


class _Conv(torch.autograd.Function):
    """Forward reads the array, backward reads it as it is *then* and leaves (x, e) pending."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, bias: Tensor | None, anchor: Tensor, layer: AnalogConv2d
    ) -> Tensor:
        ctx.layer, ctx.trains = layer, layer.training
        ctx.save_for_backward(x)
        y = layer.tile.scales.fix_(layer.read_forward(x))
        return y if bias is None else y.add_(bias.view(-1, 1, 1))

    @staticmethod
    def backward(ctx: Any, e: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        (x,) = ctx.saved_tensors
        layer = ctx.layer
        e = pixels.laid(e) if layer.by_pixels(x) else e.contiguous()
        gradient = layer.learn(x, e, ctx)
        scaled = layer.tile.scales.fixed(e)
        grad_x = layer.read_backward(scaled, x) if ctx.needs_input_grad[0] else None
        grad_bias = e.sum((0, 2, 3)) if ctx.needs_input_grad[1] else None
        return grad_x, grad_bias, gradient, None
