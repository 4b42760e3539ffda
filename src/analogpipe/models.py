"""Networks as sequences of blocks, which a pipeline cuts into stages."""

import math

from torch import nn

from analogpipe.config import Mlp
from analogpipe.layers import AnalogLinear, initial
from analogpipe.tile_config import TileConfig


def build(
    config: Mlp, shape: tuple[int, ...], classes: int, tile: TileConfig | None, seed: int
) -> list[nn.Module]:
    """Return the blocks of a network that maps images (B, *shape) to scores (B, classes).

    Every layer is on an analog tile, or digital when ``tile`` is None. The initial weights are a
    function of the seed alone, and the same for a digital and an analog network up to the
    clipping at the device bounds.
    """
    widths = [math.prod(shape), *[config.width] * (config.depth - 1), classes]
    blocks: list[nn.Module] = []
    for index in range(config.depth):
        layer = _linear(widths[index], widths[index + 1], tile, seed, f"block{index}")
        last = index == config.depth - 1
        parts = [nn.Flatten()] if index == 0 else []
        blocks.append(nn.Sequential(*parts, layer, *([] if last else [nn.Tanh()])))
    return blocks


def _linear(inputs: int, outputs: int, tile: TileConfig | None, seed: int, name: str) -> nn.Module:
    if tile is not None:
        return AnalogLinear(inputs, outputs, tile, seed=seed, name=name)
    layer: nn.Linear = nn.utils.skip_init(nn.Linear, inputs, outputs)
    weight, bias = initial(outputs, inputs, bias=True, seed=seed, name=name)
    layer.load_state_dict({"weight": weight, "bias": bias})
    return layer
