"""The update rule of a tile, as the cost model knows it."""

from analogpipe.hardware.rules import Rule, RuleError
from analogpipe.tile.config import TileConfig


def of_tile(tile: TileConfig | None) -> Rule:
    """Return how a tile learns; without one, the plain rule that a digital run stands for.

    Raises RuleError for a tile whose events are not known: a refresh of pairs reads and writes
    whole arrays, as often as their state asks for it.
    """
    if tile is None or (tile.transfer is None and tile.refresh is None):
        return Rule("analog_sgd")
    if tile.refresh is not None:
        raise RuleError("a tile with a refresh has no cost yet, allowed: pulses, transfers")
    transfer = tile.transfer
    assert transfer is not None
    return Rule(transfer.kind, transfer.every, transfer.columns, units_in_mbatch=True)
