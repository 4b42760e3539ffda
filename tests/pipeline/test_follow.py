"""Models with a forward of their own: cut by following it, or refused for what a graph would not repeat."""

import copy
import random
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision import models
from torchvision.models.resnet import BasicBlock, ResNet

import analogpipe as ap
from analogpipe.pipeline.cut import CutError, cut

SOFT = ap.TileConfig(device=ap.SoftBounds(w_max=0.6, w_min=-0.6))
K, SIZE = 4, 2


def _resnet18() -> nn.Module:
    torch.manual_seed(0)
    return models.resnet18(num_classes=10)


def _small() -> nn.Module:
    """A ResNet of torchvision's with half of the blocks."""
    torch.manual_seed(0)
    return ResNet(BasicBlock, [1, 1, 1, 1], num_classes=10)


IMAGES = torch.randn(K * SIZE, 3, 32, 32, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(K * SIZE)


def _batch(b: int) -> tuple[Tensor, Tensor]:
    part = slice(b * SIZE, (b + 1) * SIZE)
    return IMAGES[part], LABELS[part]


def _run(stages: list[nn.Sequential], mode: str, mini_batch: int) -> ap.Pipeline:
    plan = ap.plan(mode, stages=len(stages), micro_batches=K, mini_batch=mini_batch)
    pipe = ap.Pipeline(stages, plan, loss=F.cross_entropy, batch=_batch, lr=lambda b: 0.002)
    pipe.run()
    return pipe


def _assert_same(one: nn.Module, other: nn.Module) -> None:
    state, others = one.state_dict(), other.state_dict()
    assert state.keys() == others.keys()
    assert [key for key, value in state.items() if not torch.equal(value, others[key])] == []


def test_resnet18_of_torchvision_is_cut_between_its_blocks() -> None:
    model = _resnet18()
    assert isinstance(model, ResNet)
    stages = cut(model, 8, IMAGES[:2])
    parts = [part for stage in stages for part in stage]
    blocks = [block for layer in (model.layer1, model.layer2, model.layer3) for block in layer]
    assert parts[:4] == [model.conv1, model.bn1, model.relu, model.maxpool]
    assert parts[4:10] == blocks
    assert parts[-1] is model.fc
    model.eval()
    x = IMAGES[:2]
    for stage in stages:
        x = stage.eval()(x)
    assert torch.equal(x, model(IMAGES[:2]))


@pytest.mark.parametrize("mode", ["sync", "sync-1f1b"])
def test_resnet18_in_four_stages_is_plain_torch_to_the_bit(mode: str) -> None:
    model, plain = _resnet18(), _resnet18()
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.002 / 2)
    for start in (0, 2):
        optimizer.zero_grad()
        for b in (start, start + 1):
            x, y = _batch(b)
            F.cross_entropy(plain(x), y).backward()
        optimizer.step()
    _run(cut(model, 4, IMAGES[:2]), mode, 2)
    _assert_same(model, plain)


def test_resnet18_in_async_is_its_blocks_by_hand() -> None:
    """The same stages, written down as a list, and other weights than without delay."""
    model, other, without = _resnet18(), _resnet18(), _resnet18()
    stages = cut(model, 4, IMAGES[:2])
    assert isinstance(other, ResNet)
    head = nn.Sequential(other.conv1, other.bn1, other.relu, other.maxpool)
    tail = nn.Sequential(other.avgpool, nn.Flatten(1), other.fc)
    rest = [*other.layer2, *other.layer3, *other.layer4]
    assert [len(stage) for stage in stages] == [4, 1, 1, 9]
    by_hand = [head, other.layer1[0], other.layer1[1], nn.Sequential(*rest, tail)]
    pipes = [_run(list(parts), "async", 1) for parts in (stages, map(nn.Sequential, by_hand))]
    _assert_same(model, other)
    assert torch.equal(pipes[0].losses, pipes[1].losses)
    _run(cut(without, 1, IMAGES[:2]), "async", 1)
    assert not torch.equal(next(model.parameters()), next(without.parameters()))


def test_a_resnet_on_arrays_trains_alike_in_one_stage_and_in_four() -> None:
    models_ = [ap.to_analog(_small(), SOFT, seed=0) for _ in range(3)]
    layers = [part for part in models_[0].modules() if isinstance(part, ap.AnalogConv2d)]
    assert len(layers) == 12
    before = layers[3].weight.clone()
    for model, stages, mode, n in zip(
        models_, (1, 4, 4), ("sync", "sync", "async"), (2, 2, 1), strict=True
    ):
        pipe = _run(cut(model, stages, IMAGES[:2]), mode, n)
        assert not pipe.losses.isnan().any()
    _assert_same(models_[0], models_[1])
    assert not torch.equal(layers[3].weight, before)
    fully = models_[2].get_submodule("fc")
    assert isinstance(fully, ap.AnalogLinear)
    assert not torch.equal(fully.weight, models_[0].get_submodule("fc").weight)


class Skip(nn.Module):
    """A shortcut around some modules."""

    def __init__(self, *inside: nn.Module) -> None:
        super().__init__()
        self.inside = nn.Sequential(*inside)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x + self.inside(x)
        return y


def _skips() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(),
        Skip(nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Tanh()),
        Skip(nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Tanh()),
        nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(64, 10),
    )  # fmt: skip


@pytest.mark.parametrize("analog", [False, True])
def test_a_sequential_with_skips_trains_alike_in_one_stage_and_in_four(analog: bool) -> None:
    made = [ap.to_analog(_skips(), SOFT, seed=0) if analog else _skips() for _ in range(2)]
    for model, stages in zip(made, (1, 4), strict=True):
        _run(cut(model, stages, IMAGES[:2]), "sync", 2)
    _assert_same(*made)
    kinds = [[type(part).__name__ for part in stage] for stage in cut(made[0], 4, IMAGES[:2])]
    assert kinds[1][0] == kinds[2][0] == "Skip"


def test_modules_in_a_model_are_opened_only_where_they_must_be() -> None:
    class Wrapped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.backbone, self.head = _small(), nn.Linear(10, 3)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.head(self.backbone(x).relu())
            return y

    model = Wrapped()
    first, second = cut(model, 2, IMAGES[:2])
    assert first[0] is model.backbone
    assert second[-1] is model.head
    assert [type(stage[0]).__name__ for stage in cut(model, 4, IMAGES[:2])] == [
        "Conv2d",
        "BasicBlock",
        "BasicBlock",
        "BasicBlock",
    ]
    with pytest.raises(CutError, match="stages is 99, allowed is 1 to 7"):
        cut(model, 99, IMAGES[:2])


class Text(nn.Module):
    """Whole numbers, a parameter of its own, a layer with two outputs, blocks in a loop."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(20, 8)
        self.place = nn.Parameter(torch.randn(6, 8))
        self.lstm = nn.LSTM(8, 8, batch_first=True)
        self.blocks = nn.ModuleList(Skip(nn.Linear(8, 8), nn.Tanh()) for _ in range(3))
        self.head = nn.Linear(8, 10)

    def forward(self, tokens: Tensor, scale: float = 2.0) -> Tensor:
        shifted = tokens + 1
        x = self.embed(shifted) * scale + self.place
        x, _ = self.lstm(x)
        for block in self.blocks:
            x = block(x)
        y: Tensor = self.head(x.mean(1))
        return y


def test_stages_exchange_one_tensor_through_which_gradients_pass() -> None:
    torch.manual_seed(0)
    model, plain = Text(), Text()
    plain.load_state_dict(model.state_dict())
    tokens = torch.randint(19, (K * SIZE, 6), generator=torch.Generator().manual_seed(0))
    stages = cut(model, 4, tokens[:2])
    assert any(parameter is model.place for parameter in stages[0].parameters())
    plan = ap.plan("sync", stages=4, micro_batches=K, mini_batch=K)

    def batch(b: int) -> tuple[Tensor, Tensor]:
        return tokens[SIZE * b : SIZE * (b + 1)], LABELS[SIZE * b : SIZE * (b + 1)]

    ap.Pipeline(stages, plan, loss=F.cross_entropy, batch=batch, lr=lambda b: 0.1).run()
    for b in range(K):
        x, y = batch(b)
        F.cross_entropy(plain(x), y).backward()
    torch.optim.SGD(plain.parameters(), lr=0.1 / K).step()
    _assert_same(model, plain)


def test_modes_stay_as_they_are() -> None:
    model = _small()
    frozen = [part.eval() for part in model.modules() if isinstance(part, nn.BatchNorm2d)]
    before = [copy.deepcopy(norm.running_mean) for norm in frozen]
    stages = cut(model, 4, IMAGES[:2])
    assert model.training
    assert not any(norm.training for norm in frozen)
    _run(stages, "async", 1)
    for norm, mean in zip(frozen, before, strict=True):
        assert mean is not None
        assert norm.running_mean is not None
        assert torch.equal(norm.running_mean, mean)


class Layers(nn.Module):
    """Two layers, which subclasses put together."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)
        self.norm = nn.BatchNorm1d(4)
        self.calls = 0

    def both(self, x: Tensor) -> Tensor:
        y: Tensor = self.second(self.first(x))
        return y


class OnData(Layers):
    def forward(self, x: Tensor) -> Tensor:
        return self.both(x) if x.sum() > 0 else x


class OnMode(Layers):
    def forward(self, x: Tensor) -> Tensor:
        return self.both(x) if self.training else self.first(x)


class Drops(Layers):
    def forward(self, x: Tensor) -> Tensor:
        return self.second(F.dropout(self.first(x), 0.5, self.training))


class Counts(Layers):
    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.both(x)


class Draws(Layers):
    def forward(self, x: Tensor) -> Tensor:
        return self.both(x) + torch.rand(4)


class Rolls(Layers):
    def forward(self, x: Tensor) -> Tensor:
        return self.both(x) * random.random()


class Makes(Layers):
    def forward(self, x: Tensor) -> Tensor:
        return self.both(x) + torch.arange(4)


class TakesTwo(Layers):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.both(x) + y


class GivesTwo(Layers):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.both(x), x


class NormsTwice(Layers):
    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.second(self.norm(self.first(x))))


def _hooked() -> nn.Module:
    model = TakesOne()
    model.register_forward_hook(lambda module, x, y: 2 * y)
    return model


class TakesOne(Layers):
    def forward(self, x: Tensor) -> Tensor:
        return self.both(x)


REFUSED: dict[str, Callable[[], nn.Module]] = {
    r"OnData: its forward cannot be followed without data \(symbolically traced": OnData,
    "OnMode: its forward does something else in evaluation mode": OnMode,
    "Drops: its forward does something else in evaluation mode": Drops,
    "Counts: its forward changes calls": Counts,
    "Draws: its forward draws random numbers that do not depend": Draws,
    "Rolls: its forward draws random numbers that do not depend": Rolls,
    "Makes: its forward makes a tensor without its input": Makes,
    r"TakesTwo: its forward cannot be followed without data \(.*missing 1 required": TakesTwo,
    "GivesTwo: its forward gives other than one tensor": GivesTwo,
    "TakesOne: its forward has hooks": _hooked,
    "norm.* in stage 2 is norm.* in stage 1": NormsTwice,
    r"TakesOne: its forward does not run on \(3, 5\)": TakesOne,
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_a_graph_would_not_repeat_is_refused(message: str) -> None:
    x = torch.randn(3, 5 if "5" in message else 4)
    model = REFUSED[message]()
    with pytest.raises(CutError, match=message) as error:
        cut(model, 2, x)
    assert "\n" not in str(error.value)
    assert model.training


def test_a_module_without_state_may_stand_in_several_stages() -> None:
    class Twice(Layers):
        def __init__(self) -> None:
            super().__init__()
            self.act = nn.Tanh()

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.act(self.second(self.act(self.first(x))))
            return y

    model = Twice()
    assert [list(stage) for stage in cut(model, 2, torch.randn(3, 4))] == [
        [model.first, model.act],
        [model.second, model.act],
    ]
