"""Partition into stages: optimal by comparison with every split, and user-given splits."""

from itertools import combinations, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analogpipe.schedule.partition import PartitionError, from_sizes, partition, stage_costs


def every_split(blocks: int, stages: int) -> list[list[range]]:
    inner = combinations(range(1, blocks), stages - 1)
    return [[range(*ends) for ends in pairwise([0, *cuts, blocks])] for cuts in inner]


@given(st.lists(st.integers(0, 9), min_size=1, max_size=8), st.data())
def test_no_split_has_a_faster_slowest_stage(costs: list[int], data: st.DataObject) -> None:
    stages = data.draw(st.integers(1, len(costs)))
    parts = partition(costs, stages)
    assert [i for part in parts for i in part] == list(range(len(costs)))
    assert all(parts)
    splits = every_split(len(costs), stages)
    best = min(max(stage_costs(costs, split)) for split in splits)
    assert max(stage_costs(costs, parts)) == best
    ties = [split for split in splits if max(stage_costs(costs, split)) == best]
    assert len(parts[-1]) == max(len(split[-1]) for split in ties)


def test_hand_computed_cases() -> None:
    assert partition([1] * 8, 4) == [range(0, 2), range(2, 4), range(4, 6), range(6, 8)]
    assert partition([9, 1, 1, 1], 2) == [range(0, 1), range(1, 4)]
    assert partition([1, 2, 3, 4, 5, 6], 3) == [range(0, 3), range(3, 5), range(5, 6)]
    assert partition([1] * 5, 2) == [range(0, 2), range(2, 5)]


def test_a_split_given_by_the_user() -> None:
    assert from_sizes([1, 3, 2], 6, 3) == [range(0, 1), range(1, 4), range(4, 6)]


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ([1, 3], r"split \[1, 3\] has 2 stages, must have 3"),
        ([1, 0, 5], "has an empty stage"),
        ([1, 3, 3], "adds up to 7, not to 6 blocks"),
    ],
)
def test_a_split_that_does_not_fit_is_refused(sizes: list[int], message: str) -> None:
    with pytest.raises(PartitionError, match=message):
        from_sizes(sizes, 6, 3)


@pytest.mark.parametrize("stages", [0, 4])
def test_more_stages_than_blocks_are_refused(stages: int) -> None:
    with pytest.raises(PartitionError, match=f"stages is {stages}, allowed is 1 to 3"):
        partition([1.0, 1.0, 1.0], stages)


def test_bad_costs_are_refused() -> None:
    with pytest.raises(PartitionError, match="allowed is 0 or more"):
        partition([1.0, -1.0], 1)
    with pytest.raises(PartitionError, match="finite"):
        partition([1.0, float("nan")], 1)
