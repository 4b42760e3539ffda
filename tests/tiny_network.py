"""A tiny network of eight blocks and its data, for the tests of the pipeline."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from analogpipe.device.parameters import SoftBounds
from analogpipe.layer.linear import AnalogLinear
from analogpipe.layer.mapped import linear
from analogpipe.pipeline.pipeline import Pipeline
from analogpipe.schedule.partition import partition
from analogpipe.schedule.table import build
from analogpipe.seeds import generator
from analogpipe.tile.config import TileConfig

BLOCKS, WIDTH, BATCH = 8, 6, 4


MIXED = TileConfig.parse(
    {
        "preset": "EcRam",
        "mixed_precision": {"n_d_bins": 20, "n_rows_per_transfer": 2, "random_row": True},
        "mapping": {"weight_scaling_omega": 0.6, "learn_out_scaling": True, "max_input_size": 4},
    }
)
"""Mixed precision with all that has a state or draws numbers."""


def blocks(
    seed: int = 0,
    *,
    norm: bool = False,
    analog: bool = False,
    mixed: bool = False,
    dropout: bool = False,
) -> list[nn.Module]:
    stream = generator(seed, "blocks")
    made: list[nn.Module] = []
    for i in range(BLOCKS):
        if analog:
            layer: nn.Module = AnalogLinear(
                WIDTH, WIDTH, TileConfig(device=SoftBounds()), seed=seed, name=f"block{i}"
            )
        elif mixed:
            layer = linear(WIDTH, WIDTH, MIXED, seed=seed, name=f"block{i}")
        else:
            layer = nn.Linear(WIDTH, WIDTH)
            with torch.no_grad():
                for p in layer.parameters():
                    p.uniform_(-0.6, 0.6, generator=stream)
        extra = [nn.BatchNorm1d(WIDTH)] * norm + [nn.Dropout(0.3)] * dropout
        made.append(nn.Sequential(layer, *extra, nn.Tanh()))
    return made


def batch(b: int) -> tuple[Tensor, Tensor]:
    stream = generator(7, "batch", b)
    x = torch.randn(BATCH, WIDTH, generator=stream)
    return x, torch.randint(0, WIDTH, (BATCH,), generator=stream)


def lr(b: int) -> float:
    return 0.3 / (1 + 0.1 * b)


def pipeline_parts(
    mode: str, stages: int, k: int, n: int = 1, *, prediction: bool = False, **kinds: bool
) -> tuple[list[nn.Module], dict[str, Any]]:
    """Modules and options of a pipeline."""
    made = blocks(**kinds)
    modules = [nn.Sequential(*made[p.start : p.stop]) for p in partition([1.0] * BLOCKS, stages)]
    options = {"loss": cross_entropy, "batch": batch, "lr": lr}
    options["prediction"] = 0.5 if prediction else None
    return [*modules], {"schedule": build(mode, stages, k, n), **options}


def pipeline(mode: str, stages: int, k: int, n: int = 1, **kinds: bool) -> Pipeline:
    modules, options = pipeline_parts(mode, stages, k, n, **kinds)
    return Pipeline(modules, **options)


def weights(run: Pipeline) -> list[Tensor]:
    """All weights and buffers, in the order of the blocks, whatever the number of stages."""
    return [t for stage in run.stages for t in stage.module.state_dict().values()]


def same(a: Sequence[Tensor], b: Sequence[Tensor]) -> bool:
    return len(a) == len(b) and all(
        torch.allclose(x, y, rtol=0, atol=0, equal_nan=True) for x, y in zip(a, b, strict=True)
    )


class Scale(nn.Module):
    """A layer of one weight."""

    def __init__(self, weight: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(weight, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * x


def scalar_batch(b: int) -> tuple[Tensor, Tensor]:
    x = torch.tensor([1.0 + 0.25 * (b % 5)], dtype=torch.float64)
    return x, 0.5 * x - 0.1 * (b % 3)


def half_square(y: Tensor, target: Tensor) -> Tensor:
    return (y - target).square().sum() / 2
