"""The twin of a tile without the asymmetry of its device."""

from analogpipe.device.symmetric import symmetric
from analogpipe.tile.config import TileConfig


def symmetric_tile(tile: TileConfig) -> TileConfig:
    """Return the tile on the symmetric twin of its device; read-out, update, mapping and rule are kept.

    Of Tiki-Taka that is the array of the weight. The fast array keeps its device: that its weight
    decays to a symmetric point is what the rule works by, without which it never forgets a gradient.

    Raises:
        SymmetricError: there is no twin of the device.
    """
    transfer = tile.transfer
    if transfer is not None:
        transfer = transfer.model_copy(update={"device": transfer.device or tile.device})
    return tile.model_copy(update={"device": symmetric(tile.device), "transfer": transfer})
