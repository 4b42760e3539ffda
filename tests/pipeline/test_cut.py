"""Networks cut into balanced stages."""

import pytest
import torch
from torch import nn

from analogpipe.layer.convert import to_analog
from analogpipe.pipeline.cut import CutError, cut
from analogpipe.tile.config import TileConfig

X = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))

SOFT = TileConfig.parse({"device": {"kind": "soft_bounds"}})


def _network() -> nn.Sequential:
    """Reads a sample: 64, 16, 16, 1, 1."""
    features = nn.Sequential(
        nn.Conv2d(1, 2, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(2, 2, 3, padding=1), nn.ReLU(), nn.Conv2d(2, 2, 3, padding=1), nn.ReLU(),
    )  # fmt: skip
    return nn.Sequential(features, nn.Flatten(), nn.Linear(32, 8), nn.Tanh(), nn.Linear(8, 3))


def _kinds(stages: list[nn.Sequential]) -> list[list[str]]:
    return [[type(part).__name__ for part in stage] for stage in stages]


def test_a_sequential_is_cut_before_what_reads_an_array():
    stages = cut(_network(), 3, X)
    assert _kinds(stages) == [
        ["Conv2d", "ReLU", "MaxPool2d"],
        ["Conv2d", "ReLU"],
        ["Conv2d", "ReLU", "Flatten", "Linear", "Tanh", "Linear"],
    ]


@pytest.mark.parametrize("stages", [1, 2, 3, 4, 5])
def test_stages_compute_what_the_network_computes_with_its_own_modules(stages):
    network, x = _network(), X
    parts = cut(network, stages, X)
    assert len(parts) == stages
    for part in parts:
        x = part(x)
    assert torch.equal(x, network(X))
    held = {id(p) for part in parts for p in part.parameters()}
    assert held == {id(p) for p in network.parameters()}


def test_analog_layers_cost_what_digital_ones_do():
    assert _kinds(cut(to_analog(_network(), SOFT), 2, X)) == [
        ["AnalogConv2d", "ReLU", "MaxPool2d"],
        [
            "AnalogConv2d",
            "ReLU",
            "AnalogConv2d",
            "ReLU",
            "Flatten",
            "AnalogLinear",
            "Tanh",
            "AnalogLinear",
        ],
    ]


def test_the_elements_of_a_list_stay_whole():
    blocks = [nn.Sequential(nn.Flatten(), nn.Linear(64, 4)), nn.Tanh(), nn.Linear(4, 2)]
    for given in (blocks, nn.ModuleList(blocks)):
        stages = cut(given, 3, X)
        assert [stage[0] for stage in stages] == blocks


def test_a_sequential_that_does_more_than_call_its_modules_stays_whole():
    class Twice(nn.Sequential):
        def forward(self, x):
            return super().forward(super().forward(x))

    hooked = nn.Sequential(nn.Linear(64, 64), nn.Linear(64, 64))
    hooked.register_forward_hook(lambda module, x, y: 2 * y)
    network = nn.Sequential(nn.Flatten(), Twice(nn.Linear(64, 64), nn.Linear(64, 64)), hooked)
    assert _kinds(cut(network, 2, X)) == [["Flatten", "Twice"], ["Sequential"]]
    with pytest.raises(CutError, match="allowed is 1 to 2"):
        cut(network, 3, X)


class Gives(nn.Module):
    """Gives two tensors."""

    def forward(self, x):
        return x, x


class Residual(nn.Module):
    """No sequence."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)


def _tied():
    blocks = [nn.Flatten(), nn.Linear(64, 64), nn.Linear(64, 64)]
    blocks[2].weight = blocks[1].weight
    return blocks


REFUSED = {
    r"Residual: its forward cannot be followed without data": Residual,
    "block 1: found builtin": lambda: [nn.Flatten(), torch.relu],
    r"block 1 \(Linear\) does not run on \(2, 64\)": lambda: [nn.Flatten(), nn.Linear(63, 2)],
    r"block 1 \(Gives\): found tuple": lambda: [nn.Flatten(), Gives()],
    r"stages is 2, allowed is 1 to 1": lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 2)),
    r"2.weight in stage 2 is 1.weight in stage 1": _tied,
    r"found no block": list,
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_cannot_be_cut_is_named(message):
    with pytest.raises(CutError, match=message) as caught:
        cut(REFUSED[message](), 2, X)
    assert "\n" not in str(caught.value)


def test_arrays_shared_by_two_stages_are_refused():
    blocks = [nn.Flatten(), nn.Linear(64, 64), nn.Linear(64, 64)]
    blocks[2] = blocks[1]
    analog = to_analog(blocks, SOFT)
    with pytest.raises(CutError, match=r"2\..* in stage 2 is 1\..* in stage 1"):
        cut(analog, 2, X)
    assert len(cut(analog, 1, X)) == 1
