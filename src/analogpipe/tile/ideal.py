"""The array of ideal elements: any change is applied exactly."""

from torch import Tensor

from analogpipe.device.parameters import Ideal
from analogpipe.tile.array import Array
from analogpipe.tile.change import Change
from analogpipe.tile.config import TileConfig


class IdealArray(Array):
    """An array whose elements take the wanted change as it is (AIHWKit: IdealDevice)."""

    @classmethod
    def takes(cls, config: TileConfig) -> bool:
        """Whether the device is ideal."""
        return isinstance(config.device, Ideal)

    @classmethod
    def fires_samples(cls, config: TileConfig) -> bool:
        """False: the sum over the samples is all that counts."""
        return False

    def place(self, weight: Tensor) -> None:
        """Set the weight: there are no bounds."""
        self.weight.copy_(weight)

    def change(self, change: Change, lr: float) -> None:
        """Apply the change: stochastic gradient descent."""
        change.add_to(self.weight, -lr, self.multiplies_in)
