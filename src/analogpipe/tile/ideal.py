"""The array of ideal elements: any change is applied exactly."""

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

    def update(self, change: Change, lr: float) -> None:
        """Apply the change: stochastic gradient descent."""
        change.add_to(self.weight, -lr)
