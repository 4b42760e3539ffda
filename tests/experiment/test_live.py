"""Whether backward passes use live weights, as measured at the layers: true ones and planted copies."""

from math import inf
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from analogpipe.experiment.execute_schedules import TILE, execute
from analogpipe.experiment.live import Watch, transposed
from analogpipe.layer.convert import analog_layer
from analogpipe.pipeline.pipeline import Pipeline
from analogpipe.profile.profile import load_profile
from analogpipe.profile.sections import Mode
from analogpipe.results.live import largest_deviation
from analogpipe.schedule.table import build
from analogpipe.seeds import generator
from tiny_network import batch, pipeline_parts

K = 40


class _Stashed(torch.autograd.Function):
    """A linear product whose backward uses the weight of the forward, whatever becomes of it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.copy, ctx.x = weight.detach().clone(), x
        return F.linear(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, *errors: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        (e,) = errors
        return e @ ctx.copy, e.t() @ ctx.x, e.sum(0)


class Stashing(nn.Linear):
    """A layer that secretly keeps a copy of its weight for the backward."""

    def forward(self, x: Tensor) -> Tensor:
        """As a linear layer."""
        found: Tensor = _Stashed.apply(x, self.weight, self.bias)  # type: ignore[no-untyped-call]
        return found


def run(mode: str, planted: int | None = None, **kinds: bool) -> Watch:
    """Execute a pipeline of four stages of two layers each; in stage ``planted`` the second one stashes."""
    modules, options = pipeline_parts(mode, 4, K, 4 if mode == "sync" else 1, **kinds)
    if planted is not None:
        block = list(modules[planted].children())[1]
        assert isinstance(block, nn.Sequential)
        block[0].__class__ = Stashing
    pipeline = Pipeline(modules, **options)
    watch = Watch([stage.module for stage in pipeline.stages])
    pipeline.run()
    return watch


@pytest.mark.parametrize("kinds", [{}, {"norm": True}, {"analog": True}], ids=str)
@pytest.mark.parametrize("mode", ["sequential", "sync", "async", "async-full-duplex"])
def test_the_engine_reads_live_weights(mode: str, kinds: dict[str, bool]) -> None:
    if kinds.get("analog"):
        modules, options = pipeline_parts(mode, 4, K, 4 if mode == "sync" else 1)
        modules = [_on_arrays(module, f"{i}") for i, module in enumerate(modules)]
        pipeline = Pipeline(modules, **options)
        watch = Watch([stage.module for stage in pipeline.stages])
        pipeline.run()
    else:
        watch = run(mode, **kinds)
    assert [seen.compared for seen in watch.seen] == [K, 2 * K, 2 * K, 2 * K]
    for seen in watch.seen:
        assert seen.deviation < 1e-6
    stale = mode.startswith("async")
    assert [seen.of_forward > 1e-3 for seen in watch.seen] == [stale, stale, stale, False]


def _on_arrays(module: nn.Module, name: str) -> nn.Module:
    """Put the linear layers of a stage on arrays that are read without noise."""
    for key, block in module.named_children():
        assert isinstance(block, nn.Sequential)
        block[0] = analog_layer(block[0], TILE, seed=0, name=f"{name}.{key}")  # type: ignore[arg-type]
    return module


@pytest.mark.parametrize("planted", [0, 1, 2])
def test_a_layer_that_stashes_its_weight_is_found_in_its_stage(planted: int) -> None:
    watch = run("async", planted)
    for stage, seen in enumerate(watch.seen):
        assert (seen.deviation > 1e-3) == (stage == planted)
    one = watch.seen[planted]
    assert one.deviation <= one.of_forward


def test_an_engine_that_stashes_is_found_in_every_stage_with_a_delay() -> None:
    watch = run("async-stash")
    assert [seen.deviation > 1e-3 for seen in watch.seen] == [True, True, True, False]
    for seen in watch.seen:
        assert seen.deviation == pytest.approx(seen.of_forward)


def test_watching_changes_nothing() -> None:
    found = []
    for watches in (False, True):
        modules, options = pipeline_parts("async", 4, K)
        pipeline = Pipeline(modules, **options)
        if watches:
            Watch(modules)
        pipeline.run()
        found.append(torch.cat([p.detach().flatten() for m in modules for p in m.parameters()]))
    assert torch.equal(found[0], found[1])


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"stride": 2, "padding": 1, "dilation": 2},
        {"groups": 2, "padding": "same"},
        {"padding": 1, "padding_mode": "circular"},
        {"padding": (2, 1), "padding_mode": "reflect", "stride": (1, 2)},
    ],
)
@pytest.mark.parametrize("analog", [False, True])
def test_convolutions_are_compared_by_their_transposed_product(
    settings: dict[str, Any], analog: bool
) -> None:
    layer: Any = nn.Conv2d(4, 6, 3, **settings)
    if analog:
        layer = analog_layer(layer, TILE, seed=0, name="conv")
    x = torch.randn(2, 4, 9, 8, generator=generator(0, "x")).requires_grad_()
    y = layer(x)
    e = torch.randn(y.shape, generator=generator(0, "e"))
    (found,) = torch.autograd.grad(y, x, e)
    torch.testing.assert_close(transposed(layer, layer.weight.detach(), e, x.shape), found)
    other = transposed(layer, layer.weight.detach() * 1.01, e, x.shape)
    assert not torch.allclose(other, found, rtol=1e-3, atol=1e-5)


def test_a_stale_convolution_is_found() -> None:
    def stage(*layers: nn.Module) -> nn.Module:
        return nn.Sequential(*layers)

    stages = [
        stage(nn.Unflatten(1, (1, 2, 3)), nn.Conv2d(1, 3, 2, padding=1), nn.Tanh()),
        stage(nn.Conv2d(3, 3, 3, padding=1), nn.ReLU(inplace=True)),
        stage(nn.Conv2d(3, 3, 2), nn.Flatten(), nn.Linear(18, 6)),
    ]
    for mode, stale in (("async", False), ("async-stash", True)):
        options: dict[str, Any] = {"loss": cross_entropy, "batch": batch, "lr": lambda b: 0.3}
        pipeline = Pipeline(stages, build(mode, 3, K), **options)
        watch = Watch([one.module for one in pipeline.stages])
        pipeline.run()
        assert [seen.compared for seen in watch.seen] == [0, K, 2 * K]
        assert (watch.seen[1].deviation > 1e-3) == stale
        assert watch.seen[2].deviation < 1e-6


def test_the_record_of_a_profile_holds_what_was_seen(tiny_profile: Path) -> None:
    profile = load_profile(tiny_profile)
    stash = Mode(schedule="async-stash")
    profile = profile.model_copy(update={"modes": {**profile.modes, "stash": stash}})
    _, weights = execute(profile)
    names = ["mode", "stages", "stage", "layers", "weights_digest", "in_place", "compared",
             "deviation", "of_forward"]  # fmt: skip
    assert list(weights) == names
    worst = weights.groupby(["layers", "mode"])[["compared", "deviation", "of_forward"]].max()
    assert (worst["compared"] > 0).all()
    assert worst["deviation"].drop(("digital", "stash")).max() < 1e-5
    assert worst.loc[("digital", "stash"), "deviation"] > 1e-3
    for layers in ("digital", "arrays"):
        assert worst.loc[(layers, "async"), "of_forward"] > 1e-3
    assert ("arrays", "stash") not in worst.index  # arrays cannot copy
    assert weights["in_place"].all()
    live = [name for name in profile.modes if name != "stash"]
    assert largest_deviation(weights, live) < 1e-5
    assert largest_deviation(weights, [*live, "stash"]) > 1e-3
    assert largest_deviation(weights[weights["compared"] == 0], live) == inf
    assert largest_deviation(weights, ["another"]) == inf
