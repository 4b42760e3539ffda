"""Whether backward passes use the weights that are in the arrays then: measured at the layers themselves.

Nothing is asked of the engine. Of each layer the error that it gives back is compared with the product of
the error that it got and its weight at that moment: a layer that keeps a copy of its weight for the
backward gives back another one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from analogpipe.layer.convolution import AnalogConv2d
from analogpipe.layer.linear import AnalogLinear

Layer = nn.Linear | nn.Conv2d | AnalogLinear | AnalogConv2d
LAYERS = (nn.Linear, nn.Conv2d, AnalogLinear, AnalogConv2d)


@dataclass
class Seen:
    """What was seen of the layers of a stage."""

    compared: int = 0
    """Errors that layers gave back."""
    deviation: float = 0.0
    """The largest difference between such an error and the product with the weight at that moment, over
    the size of the product."""
    of_forward: float = 0.0
    """The same for the product with the weight of the forward: the deviation that a copy would show."""


class Watch:
    """Compares every backward pass of the linear layers and convolutions of some modules, the stages.

    Reads must have no noise. A layer whose input needs no error is not read in a backward pass, and not
    compared. The weights of forwards are kept, which the engine must not do.
    """

    def __init__(self, stages: Sequence[nn.Module]) -> None:
        self.seen = [Seen() for _ in stages]
        for seen, stage in zip(self.seen, stages, strict=True):
            for layer in stage.modules():
                if isinstance(layer, LAYERS):
                    layer.register_forward_pre_hook(_with_its_own_input)
                    layer.register_forward_hook(_Comparison(seen))


class _Comparison:
    """A forward hook of a layer, which compares in its backward."""

    def __init__(self, seen: Seen) -> None:
        self._seen = seen

    def __call__(self, layer: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        x = inputs[0]
        if not (x.requires_grad and output.requires_grad):
            return
        errors: list[Tensor] = []
        shape, forward = x.shape, _weight(layer)
        output.register_hook(errors.append)  # type: ignore[no-untyped-call]

        def compare(returned: Tensor) -> None:
            seen, live = self._seen, transposed(layer, _weight(layer), errors[0], shape)
            old = transposed(layer, forward, errors[0], shape)
            size = max(float(live.norm()), 1e-30)
            seen.compared += 1
            seen.deviation = max(seen.deviation, float((returned - live).norm()) / size)
            seen.of_forward = max(seen.of_forward, float((old - live).norm()) / size)

        x.register_hook(compare)  # type: ignore[no-untyped-call]


def _with_its_own_input(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Give a layer a view of its input, whose gradient is what this layer gives back alone."""
    return inputs[0].view_as(inputs[0]), *inputs[1:]


def _weight(layer: Layer) -> Tensor:
    """Return a copy of the weight, of an array as reads see it."""
    return layer.weight.detach().clone()


def transposed(layer: Layer, weight: Tensor, error: Tensor, shape: torch.Size) -> Tensor:
    """Return the product of an output's error with the transposed weight, in the input's ``shape``."""
    error = error.detach().to(weight.dtype)
    if isinstance(layer, nn.Linear | AnalogLinear):
        return error @ weight
    # torch's own convolution knows paddings of every kind
    digital = nn.Conv2d(
        layer.in_channels,
        layer.out_channels,
        layer.kernel_size,  # type: ignore[arg-type]
        layer.stride,  # type: ignore[arg-type]
        layer.padding,  # type: ignore[arg-type]
        layer.dilation,  # type: ignore[arg-type]
        layer.groups,
        bias=False,
        padding_mode=layer.padding_mode,  # type: ignore[arg-type]
        device="meta",
    )
    with torch.enable_grad():
        x = error.new_zeros(shape).requires_grad_()
        y = digital._conv_forward(x, weight, None)
        (found,) = torch.autograd.grad(y, x, error)
    return found
