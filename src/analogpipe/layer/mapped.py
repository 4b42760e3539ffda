"""Layers that are larger than their arrays, on several of them.

Every part is a layer of its own, with its scale, noise, pulse trains and random streams; all are read
at the same time, and digital adds up what they give (AIHWKit: AnalogLinearMapped, AnalogConv2dMapped).
"""

from collections.abc import Callable
from math import prod
from typing import Any, Self

import torch
from torch import Tensor, nn

from analogpipe.layer.base import AnalogLayer, Bias, LayerError, initial
from analogpipe.layer.convolution import AnalogConv2d
from analogpipe.layer.linear import AnalogLinear
from analogpipe.layer.patches import Pair, pair
from analogpipe.tile.config import TileConfig
from analogpipe.tile.mapping import pieces

Make = Callable[[int, int, str], AnalogLayer]
"""Makes a part of so many inputs and outputs, with a name."""


class _Mapped(nn.Module):
    """What both kinds share. An optimizer, a pipeline and a checkpoint see the parts, not this layer.

    Args:
        shape: of the weight, as in the digital layer: outputs, inputs, and the kernel of an input.
        limits: most outputs and inputs of a part; 0 for any number.
        make: makes a part without bias.
        axis: of outputs and inputs, from the end.
    """

    bias: Tensor | None

    def __init__(
        self,
        shape: tuple[int, ...],
        limits: tuple[int, int],
        make: Make,
        axis: int,
        *,
        bias: Bias,
        seed: int,
        name: str,
    ) -> None:
        super().__init__()
        if bias == "analog":
            raise LayerError(
                f"{name}: an analog bias needs one array, allowed on several: True, False"
            )
        self.shape, self.name, self._axis = shape, name, axis
        self.outputs, self.inputs = (
            pieces(size, largest) for size, largest in zip(shape[:2], limits, strict=True)
        )
        self.parts = nn.ModuleList(
            make(columns.stop - columns.start, rows.stop - rows.start, f"{name}[{i},{j}]")
            for i, rows in enumerate(self.outputs)
            for j, columns in enumerate(self.inputs)
        )
        weight, values = initial(shape[0], prod(shape[1:]), bias=bias, seed=seed, name=name)
        self.bias = nn.Parameter(values) if bias else None
        self.set_weight(weight.view(shape))

    def forward(self, x: Tensor) -> Tensor:
        """Read all parts and add up.

        Raises:
            LayerError: the input does not fit.
        """
        size = self.shape[1]
        if x.dim() < -self._axis or x.shape[self._axis] != size:
            raise LayerError(
                f"{self.name}: the input has shape {tuple(x.shape)}, allowed: {size} along axis "
                f"{self._axis}"
            )
        columns = torch.split(x, [c.stop - c.start for c in self.inputs], self._axis)
        rows, parts = [], iter(self.parts)
        for _ in self.outputs:
            y = next(parts)(columns[0])
            for column in columns[1:]:
                y = y + next(parts)(column)
            rows.append(y)
        total = torch.cat(rows, self._axis)
        return total if self.bias is None else total + self.bias.view(-1, *[1] * (-self._axis - 1))

    def arrays(self) -> list[nn.Module]:
        """Return the parts, which are read at the same time."""
        return list(self.parts)

    def share(self, other: Self) -> None:
        """Use the arrays of another layer, with its weight."""
        self.parts = other.parts

    def update(self, lr: float) -> None:
        """Update all parts."""
        for part in self.parts:
            part.update(lr)  # type: ignore[operator]

    @property
    def weight(self) -> Tensor:
        """The weight in the shape of the digital layer's: a copy that cannot be changed in place."""
        with torch.inference_mode():
            parts: Any = iter(self.parts)
            rows = [[next(parts).weight for _ in self.inputs] for _ in self.outputs]
            return torch.cat([torch.cat(row, 1) for row in rows])

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "weight":
            self.set_weight(value)
        else:
            super().__setattr__(name, value)

    @torch.no_grad()
    def set_weight(self, weight: Tensor, bias: Tensor | None = None) -> None:
        """As :meth:`analogpipe.layer.base.AnalogLayer.set_weight`."""
        if tuple(weight.shape) != self.shape:
            raise LayerError(
                f"{self.name}: the weight has shape {tuple(weight.shape)}, the layer {self.shape}"
            )
        if bias is not None:
            if self.bias is None or bias.shape != self.bias.shape:
                raise LayerError(f"{self.name}: a bias of shape {tuple(bias.shape)} does not fit")
            self.bias.copy_(bias)
        parts = iter(self.parts)
        for rows in self.outputs:
            for columns in self.inputs:
                next(parts).set_weight(weight[rows, columns])  # type: ignore[operator]

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *rest: Any) -> None:
        if f"{prefix}weight" in state_dict:
            try:
                self.set_weight(state_dict.pop(f"{prefix}weight"))
            except LayerError as error:
                rest[-1].append(str(error))
            state_dict.update(self.parts.state_dict(prefix=f"{prefix}parts."))
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def extra_repr(self) -> str:
        """Sizes and parts."""
        return f"{self.shape[1]}, {self.shape[0]}, arrays={len(self.outputs)} x {len(self.inputs)}"


class AnalogLinearMapped(_Mapped):
    """As :class:`analogpipe.layer.linear.AnalogLinear`, on arrays of at most ``mapping.max_input_size``
    inputs and ``mapping.max_output_size`` outputs."""

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
        def make(inputs: int, outputs: int, part: str) -> AnalogLinear:
            return AnalogLinear(inputs, outputs, tile, bias=False, seed=seed, name=part)

        limits = tile.mapping.max_output_size, tile.mapping.max_input_size
        shape = (out_features, in_features)
        super().__init__(shape, limits, make, -1, bias=bias, seed=seed, name=name)
        self.in_features, self.out_features = in_features, out_features


class AnalogConv2dMapped(_Mapped):
    """As :class:`analogpipe.layer.convolution.AnalogConv2d`, with whole input channels on an array.

    Raises:
        LayerError: there are several groups, or the kernel of one channel is larger than an array.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Pair,
        tile: TileConfig,
        *,
        groups: int = 1,
        bias: Bias = True,
        seed: int,
        name: str,
        **options: Any,
    ) -> None:
        def make(inputs: int, outputs: int, part: str) -> AnalogConv2d:
            settings = {**options, "bias": False, "seed": seed, "name": part}
            return AnalogConv2d(inputs, outputs, kernel_size, tile, **settings)

        if groups > 1:
            raise LayerError(f"{name}: several arrays need groups = 1, found {groups}")
        size = pair("kernel_size", kernel_size, 1)
        most, area = tile.mapping.max_input_size, prod(size)
        if most and most < area:
            raise LayerError(
                f"{name}: mapping.max_input_size is {most}, allowed: {area}, the kernel of a channel, "
                "and more"
            )
        limits = tile.mapping.max_output_size, most // area
        shape = (out_channels, in_channels, *size)
        super().__init__(shape, limits, make, -3, bias=bias, seed=seed, name=name)
        self.in_channels, self.out_channels, self.kernel_size = in_channels, out_channels, size


def linear(
    in_features: int, out_features: int, tile: TileConfig, **options: Any
) -> AnalogLinear | AnalogLinearMapped:
    """Return a fully connected layer on one array, or on several where it is larger than one."""
    fits = tile.mapping.fits(out_features, in_features)
    kind = AnalogLinear if fits else AnalogLinearMapped
    return kind(in_features, out_features, tile, **options)


def convolution(
    in_channels: int,
    out_channels: int,
    kernel_size: Pair,
    tile: TileConfig,
    *,
    groups: int = 1,
    **options: Any,
) -> AnalogConv2d | AnalogConv2dMapped:
    """Return a convolution on one array, or on several where it is larger than one."""
    columns = in_channels // groups * prod(pair("kernel_size", kernel_size, 1))
    kind = AnalogConv2d if tile.mapping.fits(out_channels, columns) else AnalogConv2dMapped
    return kind(in_channels, out_channels, kernel_size, tile, groups=groups, **options)
