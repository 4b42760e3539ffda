"""Networks as sequences of blocks, which a pipeline cuts into stages."""

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from analogpipe.experiment import own
from analogpipe.experiment.decoder import decoder
from analogpipe.layer.base import initial
from analogpipe.layer.convert import analog_layer
from analogpipe.profile.sections import (
    Cnn,
    Decoder,
    EvenResNet,
    Mlp,
    Model,
    PythonModel,
    ResNet,
)
from analogpipe.tile.config import TileConfig


def build(
    config: Model, shape: tuple[int, ...], classes: int, tile: TileConfig | None, seed: int
) -> list[nn.Module]:
    """Return the blocks of a network that maps images (B, *shape) to scores (B, classes), or
    characters (B, context) to scores (B, classes, context).

    Every layer with a weight matrix or kernel is on an analog tile, or digital when ``tile`` is
    None; biases and batch normalisation are digital. The initial weights are a function of the seed
    alone, and the same for a digital and an analog network up to the clipping at the device bounds.

    Raises:
        ValueError: the images are too small for the network.
    """
    if isinstance(config, PythonModel):
        return own.blocks(config, shape, classes, tile, seed)
    layers = Layers(tile, seed)
    if isinstance(config, Mlp):
        return _mlp(config, layers, math.prod(shape), classes)
    if isinstance(config, Decoder):
        return decoder(
            layers.linear,
            layers=config.layers,
            width=config.width,
            heads=config.heads,
            context=shape[0],
            vocabulary=classes,
            seed=seed,
        )
    if isinstance(config, Cnn):
        return _cnn(config, layers, shape, classes)
    if isinstance(config, EvenResNet):
        return _even_resnet(config, layers, shape, classes)
    return _resnet(config, layers, shape, classes)


class Layers:
    """Makes the layers of a network, all analog on one kind of tile or all digital."""

    def __init__(self, tile: TileConfig | None, seed: int) -> None:
        self.tile = tile
        self.seed = seed

    def linear(self, inputs: int, outputs: int, name: str) -> nn.Module:
        """Return a fully connected layer with a digital bias, (B, inputs) -> (B, outputs)."""
        # skip_init leaves the global random stream alone
        layer: nn.Linear = nn.utils.skip_init(nn.Linear, inputs, outputs)  # type: ignore[no-untyped-call]
        return self._drawn(layer, name)

    def convolution(
        self,
        inputs: int,
        outputs: int,
        name: str,
        *,
        kernel: int = 3,
        stride: int = 1,
        bias: bool = True,
    ) -> nn.Module:
        """Return a convolution, (B, inputs, h, w) -> (B, outputs, h / stride, w / stride), rounded
        up; its bias is digital."""
        layer: nn.Conv2d = nn.utils.skip_init(  # type: ignore[no-untyped-call]
            nn.Conv2d, inputs, outputs, kernel, stride=stride, padding=kernel // 2, bias=bias
        )
        return self._drawn(layer, name)

    def _drawn(self, layer: nn.Linear | nn.Conv2d, name: str) -> nn.Module:
        """Draw the weights of a layer, and put it on an array where there is a tile."""
        rows, bias = len(layer.weight), layer.bias is not None
        columns = layer.weight[0].numel()
        weight, values = initial(rows, columns, bias=bias, seed=self.seed, name=name)
        state = {"weight": weight.view(layer.weight.shape)}
        layer.load_state_dict({**state, "bias": values} if bias else state)
        return (
            layer
            if self.tile is None
            else analog_layer(layer, self.tile, seed=self.seed, name=name)
        )


def _mlp(config: Mlp, layers: Layers, inputs: int, classes: int) -> list[nn.Module]:
    widths = [inputs, *[config.width] * (config.depth - 1), classes]
    blocks: list[nn.Module] = []
    for index, (above, below) in enumerate(pairwise(widths)):
        layer = layers.linear(above, below, f"block{index}")
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


def _cnn(config: Cnn, layers: Layers, shape: tuple[int, ...], classes: int) -> list[nn.Module]:
    _at_least(8, shape)
    channels, width = shape[0], config.width
    blocks = [
        _tanh(layers.convolution(channels, width, "block0", kernel=5, stride=2)),
        Residual(_tanh(layers.convolution(width, width, "block1"))),
        Residual(_tanh(layers.convolution(width, width, "block2"))),
        _tanh(layers.convolution(width, 2 * width, "block3", stride=2)),
        Residual(_tanh(layers.convolution(2 * width, 2 * width, "block4"))),
        Residual(_tanh(layers.convolution(2 * width, 2 * width, "block5"))),
    ]
    pixels = math.prod(-(-side // 4) for side in shape[1:])
    flat = nn.Flatten()
    hidden = layers.linear(2 * width * pixels, 8 * width, "block6")
    return [
        *blocks,
        nn.Sequential(flat, hidden, nn.Tanh()),
        layers.linear(8 * width, classes, "block7"),
    ]


def _tanh(layer: nn.Module) -> nn.Sequential:
    return nn.Sequential(layer, nn.Tanh())


def _resnet(
    config: ResNet, layers: Layers, shape: tuple[int, ...], classes: int
) -> list[nn.Module]:
    _at_least(8, shape)
    per_group = (config.layers - 2) // 8
    blocks: list[nn.Module] = [_stem(layers, shape[0], config.width, "stem")]
    inputs = config.width
    for group in range(4):
        outputs = config.width * 2**group
        for index in range(per_group):
            stride = 2 if group > 0 and index == 0 else 1
            name = f"group{group}.block{index}"
            blocks.append(FirstHalf(layers, inputs, outputs, stride, name))
            blocks.append(SecondHalf(layers, outputs, name))
            inputs = outputs
    return [*blocks, _classifier(layers, inputs, classes)]


def _even_resnet(
    config: EvenResNet, layers: Layers, shape: tuple[int, ...], classes: int
) -> list[nn.Module]:
    _at_least(4, shape)
    width = config.width
    blocks: list[nn.Module] = [
        _stem(layers, shape[0], width, "stem.conv1", stride=2),
        _stem(layers, width, width, "stem.conv2"),
    ]
    for index in range(config.pairs - 1):
        blocks.append(FirstHalf(layers, width, width, 1, f"block{index}"))
        blocks.append(SecondHalf(layers, width, f"block{index}"))
    blocks[-1] = nn.Sequential(blocks[-1], _classifier(layers, width, classes))
    return blocks


def _stem(layers: Layers, inputs: int, outputs: int, name: str, stride: int = 1) -> nn.Module:
    return nn.Sequential(_normalised(layers, inputs, outputs, name, stride=stride), nn.ReLU())


def _classifier(layers: Layers, inputs: int, classes: int) -> nn.Module:
    pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return nn.Sequential(pool, layers.linear(inputs, classes, "classifier"))


class FirstHalf(nn.Module):
    """First convolution of a basic block, and its shortcut: (B, c, h, w) -> (B, 2 c', h', w').

    The output holds what the convolution gives above what the shortcut gives, in one tensor, so that
    the next accelerator can finish the block. Where the shape changes, the shortcut takes every
    second pixel and adds channels of zeros (option A of He et al., arXiv 1512.03385): it has no
    weights and hence no analog noise.
    """

    def __init__(self, layers: Layers, inputs: int, outputs: int, stride: int, name: str) -> None:
        super().__init__()
        self.convolution = _normalised(layers, inputs, outputs, f"{name}.conv1", stride=stride)
        self.stride = stride
        self.more = outputs - inputs

    def forward(self, x: Tensor) -> Tensor:
        """Return both paths, one above the other."""
        # by pooling single pixels: a slice would lay its gradient out with channels first, always
        shortcut = F.avg_pool2d(x, 1, self.stride) if self.stride > 1 else x
        both = torch.cat([torch.relu(self.convolution(x)), shortcut], 1)
        return F.pad(both, (0, 0, 0, 0, 0, self.more)) if self.more else both


class SecondHalf(nn.Module):
    """Second convolution of a basic block and the sum: (B, 2 c, h, w) -> (B, c, h, w).

    The last normalisation starts at scale 0 (Goyal et al., arXiv 1706.02677): a block begins as the
    identity and adds its own, noisy path as far as that helps.
    """

    def __init__(self, layers: Layers, channels: int, name: str) -> None:
        super().__init__()
        self.convolution = _normalised(layers, channels, channels, f"{name}.conv2", scale=0.0)

    def forward(self, x: Tensor) -> Tensor:
        """Add the two paths."""
        path, shortcut = x.chunk(2, 1)
        # a copy in the layout of both, as channels of a map are not dense
        return torch.relu(self.convolution(path.clone()) + shortcut)


def _normalised(
    layers: Layers, inputs: int, outputs: int, name: str, *, stride: int = 1, scale: float = 1.0
) -> nn.Sequential:
    """A convolution without bias and its batch normalisation, which starts at ``scale``."""
    norm = nn.BatchNorm2d(outputs)
    nn.init.constant_(norm.weight, scale)
    return nn.Sequential(layers.convolution(inputs, outputs, name, stride=stride, bias=False), norm)


def _at_least(pixels: int, shape: tuple[int, ...]) -> None:
    if min(shape[1:]) < pixels:
        raise ValueError(
            f"images of {shape[1]} x {shape[2]} pixels, allowed: {pixels} x {pixels} or more"
        )
