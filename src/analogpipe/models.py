"""Networks as sequences of blocks, which a pipeline cuts into stages."""

import math

from torch import Tensor, nn

from analogpipe.analog_layer import initial
from analogpipe.config import Mlp
from analogpipe.layers import AnalogLinear
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
        if index == 0:
            blocks.append(nn.Sequential(nn.Flatten(), layer, nn.Tanh()))
        elif index == config.depth - 1:
            blocks.append(layer)
        else:
            block = nn.Sequential(layer, nn.Tanh())
            blocks.append(Residual(block) if config.residual else block)
    return blocks


class Residual(nn.Module):
    """A block that adds its input to what it computes, in place of what it computes alone."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, width) to (B, width)."""
        y: Tensor = self.block(x)
        return x + y


def _linear(inputs: int, outputs: int, tile: TileConfig | None, seed: int, name: str) -> nn.Module:
    if tile is not None:
        return AnalogLinear(inputs, outputs, tile, seed=seed, name=name)
    # skip_init leaves the global random stream alone
    layer: nn.Linear = nn.utils.skip_init(nn.Linear, inputs, outputs)  # type: ignore[no-untyped-call]
    weight, bias = initial(outputs, inputs, bias=True, seed=seed, name=name)
    layer.load_state_dict({"weight": weight, "bias": bias})
    return layer
