"""The update rule of a tile, as the cost model knows it."""

from analogpipe.hardware.rules import Rule, RuleError
from analogpipe.tile.config import TileConfig


def of_tile(tile: TileConfig | None) -> Rule:
    """Return how a tile learns; without one, the plain rule that a digital run stands for.

    Raises RuleError for a tile whose events are not known: a refresh of pairs reads and writes
    whole arrays, as often as their state asks for it; and mixed precision is known with a programming
    of all rows after each update.
    """
    if tile is None:
        return Rule("analog_sgd")
    if tile.refresh is not None:
        raise RuleError("a tile with a refresh has no cost yet, allowed: pulses, transfers")
    if (mixed := tile.mixed_precision) is not None:
        if mixed.transfer_every > 1 or mixed.n_rows_per_transfer > 0:
            raise RuleError(
                f"mixed_precision: transfer_every is {mixed.transfer_every} and n_rows_per_transfer "
                f"{mixed.n_rows_per_transfer}, allowed for costs: 1 and -1"
            )
        return Rule("mixed_precision")
    if (transfer := tile.transfer) is None:
        return Rule("analog_sgd")
    return Rule(
        transfer.kind, transfer.every, transfer.columns, units_in_mbatch=transfer.units_in_mbatch
    )
