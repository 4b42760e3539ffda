"""A convolution on several arrays, each of which serves its share of the positions (RAPA).

An early convolution reads its array at more positions than later layers, and is as much slower. G
arrays with a share each make it G times as fast. Each learns from its own positions alone, and they
are never copied to each other: after training they differ (Rasch, Gokmen, Rigotti and Haensch 2019,
10.3389/fnins.2019.00753; of which an abstract and notes were at hand, so that details are chosen
here: shares are fixed and interleaved, all arrays begin with the same weights, and an evaluation takes
the mean of all only where that is asked for, as it loses with many: docs/hardware.md).
"""

import torch
from torch import Tensor, nn

from analogpipe.layer.base import LayerError
from analogpipe.layer.convolution import AnalogConv2d
from analogpipe.layer.patches import Pair
from analogpipe.tile.config import TileConfig


class ReplicatedConv2d(nn.Module):
    """A 2-D convolution on ``replicas`` analog tiles, (b, in, h, w) -> (b, out, h', w').

    In training each output position is read, and learnt from, on one of them. In evaluation the
    output is the mean of all where ``averages``, which takes as many reads of each; else as in
    training. Simulating it takes as long as so many convolutions.

    Args:
        kernel_size, stride, padding, bias: as in :class:`torch.nn.Conv2d`; the bias is digital.
        replicas: number of arrays, G.
        seed, name: address of the random streams; array g is ``NAME.g``. The initial weights are those
            of array 0, as near as the elements of the others can be.

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
        replicas: int,
        stride: Pair = 1,
        padding: Pair = 0,
        bias: bool = True,
        averages: bool = False,
        seed: int,
        name: str,
    ) -> None:
        super().__init__()
        if replicas < 1:
            raise LayerError(f"{name}: replicas is {replicas}, allowed is 1 or more")
        self.replicas, self.averages = replicas, averages
        first, *others = (
            AnalogConv2d(
                *(in_channels, out_channels, kernel_size, tile),
                stride=stride,
                padding=padding,
                bias=bias and g == 0,
                seed=seed,
                name=f"{name}.{g}",
            )
            for g in range(replicas)
        )
        for other in others:
            other.set_weight(first.matrix())
        self.kernel_size = first.kernel_size
        self.bias, first.bias = first.bias, None  # of the sum, not of one array
        self.parts = nn.ModuleList([first, *others])

    def arrays(self) -> list[nn.Module]:
        """Return the layers of the arrays, which are read at the same time."""
        return list(self.parts)

    def share(self, height: int, width: int) -> Tensor:
        """Return the number of the array that serves each output position, (height, width).

        Shares are as equal as can be, and each lies scattered over the image.
        """
        rows, columns = torch.arange(height).unsqueeze(1), torch.arange(width)
        step = 1 if self.replicas <= width else width
        return (rows * step + columns) % self.replicas

    def forward(self, x: Tensor) -> Tensor:
        """Read each position on its array."""
        found = [array(x) for array in self.parts]
        if self.averages and not self.training:
            y = torch.stack(found).mean(0)
        else:
            served = self.share(*found[0].shape[-2:]).to(x.device)
            y = torch.stack([part * (served == g) for g, part in enumerate(found)]).sum(0)
        return y if self.bias is None else y + self.bias.view(-1, 1, 1)
