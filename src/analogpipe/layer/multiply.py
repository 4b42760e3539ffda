"""The format of the products of a model, in its arrays and in its digital layers."""

from collections.abc import Sequence

from torch import nn

from analogpipe.layer.base import AnalogLayer
from analogpipe.layer.digital import BfloatConv2d, BfloatLinear, LastMean
from analogpipe.tile.products import Format, dtype_of

_LOW: dict[type[nn.Module], type[nn.Module]] = {
    nn.Linear: BfloatLinear,
    nn.Conv2d: BfloatConv2d,
    nn.AdaptiveAvgPool2d: LastMean,
}
_PLAIN = {low: plain for plain, low in _LOW.items()}


def multiply_in(model: nn.Module | Sequence[nn.Module], products: Format) -> None:
    """Let a model form its matrix products and convolutions in ``float32`` or ``bfloat16``
    (:mod:`analogpipe.tile.products`), in place; nothing else changes its precision.

    In arrays: of forward and backward reads and of updates (in mixed precision of gradients whose
    signals are quantised). In the digital ``nn.Linear`` and ``nn.Conv2d``: of output and gradients;
    they become :mod:`analogpipe.layer.digital` ones. Convolutions then give maps with channels last,
    values as ever: images that come so save a copy. Other modules, subclasses of both included, stay
    as they are. Weights, seeds, noise streams and states are not touched.

    A model that is converted or loaded later is not meant: call this last. A copy keeps the choice.

    Raises:
        ValueError: ``products`` is neither.
    """
    dtype = dtype_of(products)
    kinds = _PLAIN if products == "float32" else _LOW
    for part in [model] if isinstance(model, nn.Module) else model:
        for module in part.modules():
            if isinstance(module, AnalogLayer):
                module.tile.multiply_in(dtype)
            elif type(module) in kinds:
                module.__class__ = kinds[type(module)]
