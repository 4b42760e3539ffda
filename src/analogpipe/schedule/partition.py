"""Partition of a sequence of blocks into contiguous stages."""

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple


class PartitionError(ValueError):
    """Blocks that cannot be split as asked."""


def partition(costs: Sequence[float], stages: int) -> list[range]:
    """Block indices of each stage, such that the slowest stage is as fast as can be. Exact.

    ``costs`` holds the cost of each block, 0 or more, in any unit. Of splits with the same slowest
    stage, the one is taken whose last stage has the most blocks, then the stage before it, and so
    on. Raises PartitionError.
    """
    blocks = len(costs)
    if not 1 <= stages <= blocks:
        raise PartitionError(f"stages is {stages}, allowed is 1 to {blocks}, the number of blocks")
    if not all(0 <= cost < float("inf") for cost in costs):
        raise PartitionError(f"costs are {list(costs)}, allowed is 0 or more, finite")
    prefix = [0.0, *accumulate(costs)]
    best = list(prefix)  # best[i]: slowest stage when the first i blocks make m stages, m = 1
    starts: list[list[int]] = []  # where the last of those stages begins, for m = 2, 3, ...
    for m in range(2, stages + 1):
        start, slowest = [0] * (blocks + 1), [float("inf")] * (blocks + 1)
        for i in range(m, blocks + 1):
            for k in range(m - 1, i):
                worst = max(best[k], prefix[i] - prefix[k])
                if worst < slowest[i]:
                    slowest[i], start[i] = worst, k
        best = slowest
        starts.append(start)
    cuts = [blocks]
    for start in reversed(starts):
        cuts.append(start[cuts[-1]])
    return [range(*ends) for ends in pairwise([0, *reversed(cuts)])]


def from_sizes(sizes: Sequence[int], blocks: int, stages: int) -> list[range]:
    """Block indices of each stage for a split given by the user. Raises PartitionError."""
    if len(sizes) != stages:
        raise PartitionError(f"split {list(sizes)} has {len(sizes)} stages, must have {stages}")
    if any(size < 1 for size in sizes):
        raise PartitionError(f"split {list(sizes)} has an empty stage, each needs a block or more")
    if sum(sizes) != blocks:
        raise PartitionError(f"split {list(sizes)} adds up to {sum(sizes)}, not to {blocks} blocks")
    return [range(*ends) for ends in pairwise([0, *accumulate(sizes)])]


def stage_costs(costs: Sequence[float], parts: Sequence[range]) -> list[float]:
    """Cost of each stage of a partition, the sum over its blocks."""
    return [sum(costs[i] for i in part) for part in parts]


class Balance(NamedTuple):
    """How equal stages are."""

    slowest_to_mean: float
    """1 where all take the same time."""
    ceiling: float
    """Speed-up over no pipeline that the slowest stage allows, at most the number of stages."""


def balance(costs: Sequence[float]) -> Balance:
    """Return how equal stages of these costs are.

    A pipeline that is always full is as fast as its slowest stage; without one a micro-batch takes
    as long as all stages together. Raises PartitionError.
    """
    slowest = max(costs, default=0.0)
    if not 0 < slowest < float("inf") or min(costs) < 0:
        raise PartitionError(f"costs are {list(costs)}, allowed is 0 or more, finite, one above 0")
    return Balance(slowest * len(costs) / sum(costs), sum(costs) / slowest)
