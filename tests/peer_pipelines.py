"""Pipelines of AIHWKit's models, and what they hold."""

from collections.abc import Callable
from typing import Any

import torch
from aihwkit.simulator.configs import FloatingPointRPUConfig, SingleRPUConfig, UnitCellRPUConfig
from aihwkit.simulator.configs.devices import ConstantStepDevice, IdealDevice
from aihwkit.simulator.parameters import IOParameters, UpdateParameters
from torch import Tensor, nn

import analogpipe as ap
from analogpipe.aihwkit.layers import AihwkitLayer
from peer_lenet import LOSS

PLAIN = dict.fromkeys(
    ("dw_min_dtod", "dw_min_std", "w_max_dtod", "w_min_dtod", "up_down_dtod"), 0.0
)


def exact() -> Any:
    """A configuration without noise, that learns as torch does."""
    return FloatingPointRPUConfig()


def noisy() -> Any:
    """AIHWKit's default."""
    return SingleRPUConfig(device=ConstantStepDevice())


def quiet(device: Any, **options: Any) -> Any:
    """Perfect reads, and single pulses that are sure."""
    kind = (
        SingleRPUConfig
        if isinstance(device, ConstantStepDevice | IdealDevice)
        else UnitCellRPUConfig
    )
    pulses = UpdateParameters(desired_bl=1, update_management=False, update_bl_management=False)
    perfect = {"forward": IOParameters(is_perfect=True), "backward": IOParameters(is_perfect=True)}
    return kind(device=device, update=pulses, **perfect, **options)


def pair(make: Callable[[], nn.Module]) -> tuple[Any, Any]:
    """Two models with the same weights and elements, the first of which is for a pipeline."""
    torch.manual_seed(0)
    one, other = ap.from_aihwkit(make()), ap.from_aihwkit(make())
    other.load_state_dict(one.state_dict())
    return one, ap.to_aihwkit(other)


def pipeline(
    net: Any, mode: str, stages: int, micro_batches: int, batch: Any, lr: float, **options: Any
) -> ap.Pipeline:
    """Return a pipeline of the stages that a model is cut into."""
    mini_batch = options.pop("mini_batch", 1)
    plan = ap.plan(mode, stages=stages, micro_batches=micro_batches, mini_batch=mini_batch)
    parts = ap.cut(net, stages=stages, example=batch(0)[0])
    options = {"loss": LOSS} | options
    return ap.Pipeline(parts, plan, batch=batch, lr=lambda b: lr, **options)


def weights(net: nn.Module) -> list[Tensor]:
    """All that a model holds: what is in its arrays, and its digital parameters."""
    state = ap.from_aihwkit(net).state_dict() if not is_ours(net) else net.state_dict()
    return [value for key, value in state.items() if ".extra." not in key]


def is_ours(net: nn.Module) -> bool:
    """Whether a model is prepared for pipelines."""
    return any(isinstance(part, AihwkitLayer) for part in net.modules())


def assert_same(ours: nn.Module, theirs: nn.Module) -> None:
    """Two models hold the same, to the bit."""
    for one, other in zip(weights(ours), weights(theirs), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)
