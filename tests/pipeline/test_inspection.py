"""Modules of users: what writes to its input works, what no stage can train exactly is refused by name."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.utils import parametrizations, parametrize

from analogpipe.pipeline.errors import StageError
from analogpipe.pipeline.pipeline import Pipeline
from analogpipe.schedule.modes import MODES, SYNC_MODES
from analogpipe.schedule.table import build
from stacks import Checkpointed
from tiny_network import WIDTH, batch, lr, same


def run(stages: list[nn.Module], mode: str = "sync", k: int = 8) -> Pipeline:
    n = 4 if mode in SYNC_MODES else 1
    table = build(mode, len(stages), k, n)
    pipeline = Pipeline(stages, table, loss=cross_entropy, batch=batch, lr=lr)
    pipeline.run()
    return pipeline


def linear(seed: int = 0) -> nn.Linear:
    torch.manual_seed(seed)
    return nn.Linear(WIDTH, WIDTH)


def state(pipeline: Pipeline) -> list[Tensor]:
    return [t for stage in pipeline.stages for t in stage.module.state_dict().values()]


@pytest.mark.parametrize("mode", MODES)
def test_a_stage_may_begin_by_writing_to_its_input(mode: str) -> None:
    pieces, whole = (
        [linear(), nn.Sequential(nn.ReLU(inplace=inplace), linear(1))] for inplace in (True, False)
    )
    assert same(state(run(pieces, mode)), state(run(whole, mode)))


def test_the_first_stage_does_not_write_to_the_data() -> None:
    x, target = batch(0)
    before = x.clone()
    stages = [nn.Sequential(nn.ReLU(inplace=True), linear()), linear(1)]
    table = build("async", 2, 8)
    Pipeline(stages, table, loss=cross_entropy, batch=lambda b: (x, target), lr=lr).run()
    assert torch.equal(x, before)


class Remembers(nn.Module):
    """A hidden state that goes from micro-batch to micro-batch."""

    def __init__(self, lasting: bool | None) -> None:
        super().__init__()
        if lasting is None:
            self.hidden = torch.zeros(WIDTH)
        else:
            self.register_buffer("hidden", torch.zeros(WIDTH), persistent=lasting)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.hidden
        self.hidden = 0.5 * self.hidden + x.detach().mean(0)
        return x


class Counts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x / self.calls


class Collects(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[float] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(float(x.detach().mean()))
        return x * self.seen[0]


class OwnStream(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stream = torch.Generator().manual_seed(0)

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.randn(x.shape, generator=self.stream)


class Clips(nn.Module):
    """Changes its weight as it is read."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            self.weight.clamp_(-0.5, 0.5)
        return x * self.weight


@pytest.mark.parametrize(
    ("module", "name"),
    [
        (Remembers(None), "1.hidden"),
        (Remembers(False), "1.hidden"),
        (Counts(), "1.calls"),
        (Collects(), "1.seen"),
        (OwnStream(), "1.stream"),
        (nn.Sequential(nn.Identity(), Counts()), "1.1.calls"),
        (Clips(), "1.weight"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
@pytest.mark.parametrize("mode", ["sequential", "sync", "async"])
def test_state_that_no_checkpoint_holds_is_refused(module: nn.Module, name: str, mode: str) -> None:
    with pytest.raises(StageError, match=f"^{name}: the module"):
        run([nn.Sequential(linear(), module), linear(1)], mode)


def test_buffers_that_a_backward_changes_are_refused() -> None:
    module = Checkpointed(nn.Sequential(linear(), nn.BatchNorm1d(WIDTH)))
    with pytest.raises(StageError, match=r"^module\.1\.running_mean: .* in its backward"):
        run([module, linear(1)])


def test_state_in_buffers_trains_and_is_restored() -> None:
    def made() -> Pipeline:
        stages = [nn.Sequential(linear(), Remembers(True)), linear(1)]
        table = build("async", 2, 8)
        return Pipeline(stages, table, loss=cross_entropy, batch=batch, lr=lr)

    whole, first, second = made(), made(), made()
    whole.run()
    first.run(until=7)
    second.load_state_dict(first.state_dict())
    second.run()
    assert same(state(whole), state(second))


class Shows(nn.Module):
    """Keeps what it gave for people to look at, and a mask that it makes once."""

    def forward(self, x: Tensor) -> Tensor:
        if not hasattr(self, "mask"):
            self.mask = torch.ones(WIDTH)
        self.last = x * self.mask
        return self.last


def test_what_is_written_before_it_is_read_trains() -> None:
    legacy = torch.nn.utils.weight_norm
    shown, plain = ([nn.Sequential(linear(), m), linear(1)] for m in (Shows(), nn.Identity()))
    assert same(state(run(shown)), state(run(plain)))
    with pytest.warns(FutureWarning, match="weight_norm"):
        old = legacy(linear(1))
    new = parametrizations.weight_norm(linear(1))
    old, new = (run([linear(), stage]) for stage in (old, new))
    assert torch.allclose(old.losses, new.losses)
    assert type(shown[0][1]) is Shows


def test_lazy_modules_are_refused() -> None:
    with pytest.raises(StageError, match=r"^stage 2: 0\.weight has no shape yet"):
        run([linear(), nn.Sequential(nn.LazyLinear(WIDTH))])


def test_modules_of_two_stages_are_refused() -> None:
    shared = linear()
    with pytest.raises(StageError, match=r"^stage 3: 0\.weight is 1\.weight of stage 1"):
        run([nn.Sequential(nn.Tanh(), shared), linear(1), nn.Sequential(shared)])
    tied = linear(1)
    tied.weight = nn.Parameter(shared.weight.detach()[:])  # other parameters, the same memory
    with pytest.raises(StageError, match=r"^stage 2: weight is weight of stage 1"):
        run([shared, tied])
    activation = nn.Tanh()  # without weights it may be anywhere
    run([nn.Sequential(linear(), activation), nn.Sequential(activation, linear(1))])


class Argmax(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.argmax(1)


def test_whole_numbers_between_stages_are_refused() -> None:
    stages = [nn.Sequential(linear(), Argmax()), nn.Embedding(WIDTH, WIDTH)]
    with pytest.raises(StageError, match=r"^stage 1 gives torch.int64, through which no gradient"):
        run(stages)


@pytest.mark.parametrize(
    ("context", "message"),
    [
        (torch.no_grad, "torch.no_grad around the run"),
        (torch.inference_mode, "torch.no_grad around the run"),
        (lambda: torch.autocast("cpu", torch.bfloat16), "torch.autocast around the run"),
        (parametrize.cached, "parametrize.cached around the run"),
    ],
)
def test_contexts_that_train_wrong_are_refused(context, message: str) -> None:
    with context(), pytest.raises(StageError, match=f"^found {message}"):
        run([linear(), linear(1)])


@pytest.mark.parametrize("how", ["none", "zero", "backward"])
@pytest.mark.parametrize("mode", ["sequential", "async"])
def test_gradients_that_others_leave_behind_change_nothing(how: str, mode: str) -> None:
    stages, same_stages = ([linear(), linear(1)] for _ in range(2))
    network = nn.Sequential(*stages)
    table = build(mode, 2, 8)
    one, other = (
        Pipeline(made, table, loss=cross_entropy, batch=batch, lr=lr)
        for made in (stages, same_stages)
    )
    one.run(until=table.cycles // 2)
    if how == "backward" and mode == "sequential":  # between two mini-batches nothing is pending
        network(batch(0)[0]).sum().backward()
    elif how != "backward":
        network.zero_grad(set_to_none=how == "none")
    one.run()
    other.run()
    assert same(state(one), state(other))


def test_thawing_a_stage_that_runs_is_refused() -> None:
    stages = [linear().requires_grad_(False), linear(1)]
    table = build("async", 2, 8)
    pipeline = Pipeline(stages, table, loss=cross_entropy, batch=batch, lr=lr)
    pipeline.run(until=5)
    stages[0].requires_grad_(True)
    with pytest.raises(StageError, match="other parameters are trainable than when the pipeline"):
        pipeline.run()
