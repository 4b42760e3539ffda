"""What a whole run costs on hardware: from the layers of its stages to seconds and joules."""

from collections.abc import Sequence
from dataclasses import dataclass

from analogpipe.hardware import cost
from analogpipe.hardware.config import Hardware
from analogpipe.hardware.cost import Cost, StageCost
from analogpipe.hardware.layers import Stage
from analogpipe.hardware.rules import Rule
from analogpipe.schedule.modes import SYNC_MODES
from analogpipe.schedule.partition import Balance, balance
from analogpipe.schedule.timing import duration


@dataclass(frozen=True)
class OnHardware:
    """A network in stages on an accelerator, by an update rule, with micro-batches of one size."""

    stages: Sequence[Stage]
    rule: Rule
    hardware: Hardware
    micro_batch: int

    def costs(self) -> list[StageCost]:
        """Return what a micro-batch costs on each stage."""
        return [
            cost.stage(stage, self.micro_batch, self.rule, self.hardware) for stage in self.stages
        ]

    def balance(self) -> Balance:
        """Return how equal the stages are in the time of a micro-batch with its update."""
        return balance([busy(stage) for stage in self.costs()])

    def run(self, mode: str, micro_batches: int, mini_batch: int = 1) -> Cost:
        """Return what ``micro_batches`` take, from the first forward to the last update.

        Raises ScheduleError for sizes that ``mode`` does not have.
        """
        costs = self.costs()
        seconds = duration(
            mode,
            micro_batches,
            mini_batch,
            [c.forward.seconds for c in costs],
            [c.backward.seconds for c in costs],
            [c.update.seconds for c in costs],
            accumulate=[c.accumulate.seconds for c in costs],
            program=[c.program.seconds for c in costs],
        )
        updates = -(-micro_batches // mini_batch) if mode in SYNC_MODES else micro_batches
        joules = sum(c.joules * micro_batches + c.program.joules * updates for c in costs)
        static = self.hardware.static_power * sum(c.arrays for c in costs)
        return Cost(seconds, joules + seconds * static)


def busy(stage: StageCost) -> float:
    """Return the seconds that a micro-batch keeps a stage busy, with its own update."""
    actions = (stage.forward, stage.backward, stage.update, stage.accumulate, stage.program)
    return sum(action.seconds for action in actions)
